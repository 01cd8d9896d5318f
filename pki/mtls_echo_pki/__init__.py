"""Certificates for tests: CAs in memory, a PKI on disk, and deliberately bad certificates."""
