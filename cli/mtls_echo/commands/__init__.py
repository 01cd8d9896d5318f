"""The commands that do the work."""
