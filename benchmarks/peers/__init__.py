"""Foreign TLS stacks as the other end of each failure; see `benchmarks.accuracy`."""
