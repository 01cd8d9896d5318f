"""`mtls-echo pki` and its sub-commands."""
