"""Certificates that are bad in exactly one respect."""
