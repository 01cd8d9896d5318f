"""HTTP/1.1, bounded in every respect: a page about its own handshake for each TLS client."""
