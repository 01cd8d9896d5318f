"""Recordings of a handshake: its messages, decoded."""
