"""From evidence to causes to a report."""
