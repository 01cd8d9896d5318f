"""TLS stacks: how they are recognised, and which alert each sends for which fault."""
