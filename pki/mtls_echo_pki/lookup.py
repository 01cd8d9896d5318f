"""Look up what is asked for by name; a name that there is not is answered with those like it."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import TypeVar

Found = TypeVar("Found")


def look_up(kind: str, name: str, known: Mapping[str, Found], see: str) -> Found:
    """What goes by that name.

    Args:
        kind: What it is, in a word.
        see: The command that lists all of them.

    Raises:
        ValueError: There is none.
    """
    if name in known:
        return known[name]
    close = get_close_matches(name, known, n=3)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    raise ValueError(f'there is no {kind} "{name}"; {hint}see them all: {see}')
