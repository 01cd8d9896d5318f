"""Bytes on disk, whole or not at all, and what PEM files say."""
