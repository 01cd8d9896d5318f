"""A TLS client that counts verified echoes as success, not handshakes."""
