"""The status port: health, metrics, and why clients were refused, over plain HTTP."""
