"""Clients that attack a server, and what that costs it."""
