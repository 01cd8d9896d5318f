"""Diagrams of a handshake, as text."""
