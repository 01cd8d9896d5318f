"""What the chapters of the lesson are, as a terminal shows them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from mtls_echo.demo.blocks import Prose, Section, plain
from mtls_echo.lesson.chapters import CHAPTERS, ONWARD
from mtls_echo.lesson.page import chapter_text

PAGE = (Path(__file__).parents[2] / "docs" / "lesson.md").read_text("utf-8")

# Of a page, on a terminal with 24.
LINES = 22


def drawn(section: Section, width: int) -> list[str]:
    """The lines of a section: its title, and its blocks with an empty line above each."""
    lines = plain(Prose(section.title), width)
    for block in section.blocks:
        lines += ["", *plain(block, width)]
    return lines


def words(sections: Iterable[Section], width: int = 80) -> str:
    """All that some sections say, as one line."""
    return " ".join(" ".join("\n".join(drawn(each, width)) for each in sections).split())


def is_in_the_page(name: str, sections: Sequence[Section]) -> bool:
    """Whether docs/lesson.md says of a chapter what came of it now; else: `make docs`."""
    [chapter] = (each for each in (*CHAPTERS, ONWARD) if each.name == name)
    # OpenSSL from 3.5 on prefers a hybrid group; the page is written with an older one.
    text = chapter_text(chapter, sections).replace("X25519MLKEM768", "x25519")
    return f"\n{text}\n" in PAGE


def misfits(sections: Iterable[Section]) -> list[str]:
    """Sections that are more than a page of 80 columns, and lines wider than their terminal."""
    found: list[str] = []
    for section in sections:
        if len(drawn(section, 80)) > LINES:
            found.append(section.title)
        for width in (40, 60, 80, 100):
            found += [line for line in drawn(section, width) if len(line) > width]
    return found
