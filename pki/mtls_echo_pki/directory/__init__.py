"""A whole PKI on disk, and the commands that change it."""
