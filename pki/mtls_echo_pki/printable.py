"""What others wrote is shown, never obeyed: on a terminal some characters give orders.

A name in a certificate may hold an escape sequence that clears the screen, a line feed that
forges a second line of a log, or U+202E, which turns the text behind it around. Whoever issued
the certificate chose it, and a refused peer's certificate was issued by anybody. Each such
character is written out here, so that it can be seen and does nothing.
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
