"""HTML of which every part is escaped unless it is markup already.

Most of what these pages show was chosen by a peer: names in a certificate may hold tags, and
characters that turn the text around them (U+202E) or hide. A string becomes text: tags are
escaped, what does not print is written as its number, and each value stands in an element of its
own direction (``<bdi>``), so that a name in Hebrew turns nothing but itself.
"""

from __future__ import annotations

import base64
import hashlib
import unicodedata
from html import escape
from pathlib import Path
from typing import TypeAlias

from mtls_echo_server.http.site import HTML, NOTHING, HTTPResponse


class Markup(str):
    """A string that is HTML."""

    __slots__ = ()


Content: TypeAlias = str | None

# Characters of one value; what has more is cut, and says so.
_LONGEST = 2000

# Values of one list; a certificate may have ten thousand names.
MOST_LISTED = 64


def text(value: str, most: int = _LONGEST) -> Markup:
    """Text for a page: escaped, visible, and cut where it is too long."""
    shown = value if len(value) <= most else f"{value[: most - 1]}…"
    if not (shown.isascii() and shown.isprintable()):
        shown = "".join(c if _is_harmless(c) else _number(c) for c in shown)
    return Markup(escape(shown))


def _is_harmless(character: str) -> bool:
    """Whether it shows, and changes nothing that does not belong to it."""
    # Combining marks pile up on what stands before them, as far as across other lines.
    mark = unicodedata.category(character) in ("Mn", "Me", "Cf")
    return character == "\n" or (character.isprintable() and not mark)


def _number(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode()


def tag(name: str, *content: Content, **attributes: str | None) -> Markup:
    """An element; strings in it are escaped, None is left out; ``class_`` stands for class."""
    given = "".join(
        f' {key.rstrip("_")}="{text(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    inner = "".join(
        part if isinstance(part, Markup) else text(part) for part in content if part is not None
    )
    return Markup(f"<{name}{given}>{inner}</{name}>")


def group(*parts: Content) -> Markup:
    """Parts one after the other."""
    return Markup("".join(p if isinstance(p, Markup) else text(p) for p in parts if p is not None))


def value(content: str) -> Markup:
    """A value that another side chose, which turns nothing around it."""
    return tag("bdi", content)


def values(listed: list[str], *, most: int = MOST_LISTED) -> Markup:
    """Several such values, each a word that is not broken if it can be helped."""
    shown = [tag("code", value(one)) for one in listed[:most]]
    if len(listed) > most:
        shown.append(tag("em", f"and {len(listed) - most} more"))
    return Markup(" ".join(shown)) if shown else tag("em", "none")


def fields(*rows: tuple[str, Content]) -> Markup:
    """Names and values, one below the other; a value of None leaves its row out."""
    return tag(
        "dl",
        *(
            tag("div", tag("dt", name), tag("dd", content))
            for name, content in rows
            if content is not None
        ),
    )


def section(title: str, *content: Content, note: str | None = None) -> Markup:
    """A part of a page, with a heading."""
    heading = tag("h2", title)
    return tag("section", heading, tag("p", note, class_="note") if note else None, *content)


# Light and dark, from a phone's width up, without a font or a picture.
_STYLE = Path(__file__).with_name("page.css").read_text("utf-8")

_POLICY = NOTHING.replace(
    "default-src 'none'",
    "default-src 'none'; img-src data:; style-src 'sha256-"
    + base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    + "'",
)


def page(
    title: str,
    *content: Markup,
    status: int = 200,
    headers: tuple[tuple[str, str], ...] = (),
    refresh: int | None = None,
) -> HTTPResponse:
    """A whole page, which may load and run nothing; ``refresh``: every so many seconds, itself."""
    again = Markup(f'<meta http-equiv="refresh" content="{refresh}">') if refresh else Markup()
    document = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f'<link rel="icon" href="data:,">{again}{tag("title", title)}'
        f"<style>{_STYLE}</style></head><body>{''.join(content)}</body></html>\n"
    )
    return HTTPResponse(status, HTML, document.encode("utf-8", "replace"), headers, _POLICY)
