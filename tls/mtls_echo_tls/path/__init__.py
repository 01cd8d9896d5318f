"""Certification paths: building them, the rules for each certificate, and their faults."""
