"""`mtls-echo demo --rotation`: certificates change under load."""
