"""One client and many servers, each group of them with TLS settings of its own."""
