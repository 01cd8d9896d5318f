"""Text of which every character is one column wide, so that what is drawn around it fits.

Terminals do not agree on how wide some characters are, and a peer chooses names. So what might
not be exactly one column wide, or would move the cursor, is written as a number.
"""

from __future__ import annotations

import unicodedata

_DRAWN = frozenset("─═◀▶│")

# Parts of Hangul syllables that join the one before, and a filler that is not seen: of no width;
# and counting rods and tally marks, which became wide.
_ODD = (
    ("\u1160", "\u11ff"),
    ("\ud7b0", "\ud7ff"),
    ("\uffa0", "\uffa0"),
    ("\U0001d360", "\U0001d378"),
)


def one_column_each(text: str, *, ascii_only: bool = False) -> str:
    r"""The text with every character printable, and one column wide; others as ``\u4e2d``."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character
        if character in _DRAWN or (_is_one_column(character) and not ascii_only)
        else character.encode("unicode_escape", "surrogatepass").decode("ascii")
        for character in text
    )


def _is_one_column(character: str) -> bool:
    return (
        character.isprintable()
        # Marks are drawn over the character before, and most pictures are wide in some terminals.
        and unicodedata.category(character) not in ("Mn", "Mc", "Me", "So")
        and unicodedata.east_asian_width(character) not in "WF"
        and not any(first <= character <= last for first, last in _ODD)
    )
