"""`mtls-echo endpoints`: its runs, its table and its JSON."""
