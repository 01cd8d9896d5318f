"""What a PKI on disk looks like, and whether it works."""
