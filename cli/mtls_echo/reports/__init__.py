"""Formats of reports that several commands write."""
