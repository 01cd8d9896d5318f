"""Escape characters that a terminal would obey, in text that others wrote.

A name in a certificate may hold an escape sequence that clears the screen, a line feed that
forges a second line of a log, or U+202E, which turns the text behind it around. Its issuer chose
it, and a refused peer's certificate may be from any issuer. Each such character is written out
here, so that it can be seen and does nothing.
"""

from __future__ import annotations


def printable(text: str) -> str:
    r"""The text on one line: what would move the cursor is written as ``\x1b`` or ``\u202e``."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in text
    )
