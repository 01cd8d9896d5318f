"""Other people's servers, each configured for mutual TLS and run by a test: one module each."""
