"""A certification path, and what is wrong with it."""
