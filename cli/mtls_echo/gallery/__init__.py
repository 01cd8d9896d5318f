"""A gallery of TLS faults, each by a server of its own name, and a score for any client."""
