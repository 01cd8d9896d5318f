"""Comparisons with other servers, measured in one run: `python -m benchmarks`."""
