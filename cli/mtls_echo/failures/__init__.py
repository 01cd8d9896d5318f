"""Every failure that can be played, seen from both ends."""
