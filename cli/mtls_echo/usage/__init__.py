"""How the command explains itself: help, suggestions, completion, manual pages."""
