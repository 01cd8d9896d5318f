"""A handshake, drawn."""
