"""The command `mtls-echo gallery`, and `mtls-echo gallery judge`."""
