"""A TLS server: accept, authenticate, authorise, hand over to a handler, reload, drain."""
