"""Server CPU, memory, start-up and issuance beside other servers: `python -m benchmarks.speed`."""
