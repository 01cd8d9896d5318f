"""Write `docs/lesson.md`: the lesson to read, from what happens when its scenes are played.

It has the same sections as `mtls-echo demo`, in Markdown. What differs from run to run is replaced
by dots, so that a test can write the page anew and compare.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import trio

from mtls_echo.demo.blocks import Section
from mtls_echo.lesson.chapters import CHAPTERS, ONWARD, Chapter

_PREAMBLE = """\
# The lesson

What TLS is, what mutual TLS adds, and how both fail: nine chapters that build on each other. This
is the text of `mtls-echo demo`, which shows it page by page in a terminal, and in colour.
Everything in it has happened: `make docs` makes the certificates, connects, attacks, and writes
down what both ends said. Dots stand for what is another each time.

In the diagrams `──` can be read on the path, and `══` is encrypted.
"""

# What differs from run to run, and what stands for it.
_VARIABLE = tuple(
    (re.compile(pattern, re.MULTILINE), replacement)
    for pattern, replacement in (
        # An encrypted record, but for its header; and a secret.
        (r"^(17 03 03 00 2a)(?: [0-9a-f]{2}){11} .*\n(?:[0-9a-f]{2} .*\n)*", r"\1 …\n"),
        (r"(?:[0-9a-f]{2} ){11}[0-9a-f]{2}(?= \|)", "…"),
        (r"[\d,]+ (?=bytes\*\*|echoes|connections\b)", "… "),
        (r"[\d.]+ ms", "… ms"),
        # A slow machine needs a certificate that lives a little longer.
        (r"(?<=--lifetime )\d+s", "8s"),
        (r"(?<=expires in )\d+ (?=seconds)", "8 "),
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "…"),
        # Serial numbers, and the names of CAs made by `pki init`.
        (r"\b[0-9a-f]{38,40}\b", "…"),
        (r"\bCA(\s)[0-9a-f]{6}\b", r"CA\1…"),
    )
)

_PORT = re.compile(r"(?<=127\.0\.0\.1:)\d{5}")

# The last column of the table of endpoints, as wide as its widest time.
_ECHO = re.compile(r"^((?:endpoint|127\.0\.0\.1:\d+) .*?) +(echo|… ms|-)$", re.MULTILINE)


def write(played: Sequence[tuple[Chapter, Sequence[Section]]]) -> str:
    """The page, as Markdown."""
    chapters = (chapter_text(chapter, sections) for chapter, sections in played)
    return "\n\n".join([_PREAMBLE.rstrip(), _contents(), *chapters]) + "\n"


def _contents() -> str:
    return "\n".join(
        f"{number}. [{_capital(chapter.title)}](#{number}-{_anchor(chapter.title)})"
        for number, chapter in enumerate(CHAPTERS, start=1)
    )


def chapter_text(chapter: Chapter, sections: Sequence[Section]) -> str:
    """One chapter of the page, as Markdown."""
    parts = [f"## {_capital(chapter.title)}"]
    if chapter in CHAPTERS:
        parts = [
            f"## {CHAPTERS.index(chapter) + 1}. {_capital(chapter.title)}",
            f"On a terminal: `mtls-echo demo --chapter {chapter.name}`",
        ]
    for section in sections:
        parts.append(f"### {_capital(section.title)}")
        parts += [mask(block.markdown()) for block in section.blocks]
    return renumbered("\n\n".join(parts))


def mask(text: str) -> str:
    """The text without what differs from run to run."""
    for pattern, replacement in _VARIABLE:
        text = pattern.sub(replacement, text)
    return _ECHO.sub(lambda row: f"{row[1]} {row[2]:>5}", text)


def renumbered(text: str) -> str:
    """The text with ports in the order in which they come: 40001, 40002, …"""
    ports: dict[str, str] = {}
    return _PORT.sub(lambda port: ports.setdefault(port[0], str(40001 + len(ports))), text)


def _capital(title: str) -> str:
    return title[:1].upper() + title[1:]


def _anchor(title: str) -> str:
    return re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")


async def play_all() -> list[tuple[Chapter, list[Section]]]:
    """Play every chapter."""
    return [(chapter, await chapter.play(lambda _: None)) for chapter in (*CHAPTERS, ONWARD)]


if __name__ == "__main__":
    print(write(trio.run(play_all)), end="")
