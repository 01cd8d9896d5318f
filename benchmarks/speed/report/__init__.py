"""The results as text, as a picture, and beside the goals."""
