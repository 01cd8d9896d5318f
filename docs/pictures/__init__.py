"""The pictures of the documentation, made by a command: `make pictures`."""
