"""Key, certificates and trust: loading, checking and reloading them."""
