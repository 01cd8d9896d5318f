"""What an error means: the answer to a text, and how it is drawn."""
