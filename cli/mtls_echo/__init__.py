"""The `mtls-echo` command: mutual TLS to start, to watch and to copy."""

from __future__ import annotations

__version__ = "0.1.0"
