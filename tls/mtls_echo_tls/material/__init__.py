"""From files to a snapshot of them, and to the next context."""
