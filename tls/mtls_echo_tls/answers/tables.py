"""The tables of this room: tab-separated, with comments, and a source in the last column."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def rows(name: str) -> tuple[tuple[str, ...], ...]:
    """The rows of one table, in its order."""
    text = files("mtls_echo_tls.answers").joinpath(name).read_text("utf-8")
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return tuple(tuple(line.split("\t")) for line in lines)
