"""A handshake, message by message."""
