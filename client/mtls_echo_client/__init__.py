"""A TLS client whose success means something: connect, prove, verify every echo."""
