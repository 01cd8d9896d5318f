"""TLS over trio: bytes in, bytes out, and alerts that arrive."""
