"""Certificates, keys and CRLs as values in memory; no file is touched."""
