"""Show chapters on a terminal: page by page with a pause at each, or as one text.

A page is as tall as the terminal; the last line says which keys there are. What was shown scrolls
up and is not cleared. After a change of the terminal's size the next page has the new one.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
from bisect import bisect_right
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple, TypeAlias

import trio
from rich.console import Console, RenderableType
from rich.segment import Segment, Segments
from rich.status import Status as Spinner
from rich.text import Text

from mtls_echo import terminal
from mtls_echo.demo.blocks import Section, Status, bad
from mtls_echo.demo.drawing import bar, is_plain
from mtls_echo.lesson.chapters import Chapter, numbered

# Longer lines of text are hard to read.
_WIDEST = 80

# A page of a lower terminal scrolls.
_LOWEST = 10

Line: TypeAlias = list[Segment]


class _Page(NamedTuple):
    """What fits a terminal; its place are the chapter, the section and the page of that."""

    place: tuple[int, int, int]
    name: str
    lines: list[Line]


class Keys:
    """The keys of the terminal that is standard input."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def read(self) -> str:
        """Wait for a key, and return it.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed; also in the moment before the wait begins, where
                Python would notice it behind the next key only.
        """
        woken, waker = os.pipe()
        os.set_blocking(waker, False)
        before = signal.set_wakeup_fd(waker)
        try:
            select.select([self._descriptor, woken], [], [])
        finally:
            signal.set_wakeup_fd(before)
            os.close(woken)
            os.close(waker)
        # An arrow is one key and three bytes.
        return os.read(self._descriptor, 8).decode(errors="replace")

    def forget(self) -> None:
        """Drop the keys that were pressed while nothing was asked: they are for no page."""
        termios.tcflush(self._descriptor, termios.TCIFLUSH)


_BACK = frozenset(("b", "p", "\x7f", "\x1b[D", "\x1b[A", "\x1b[5~"))
_QUIT = frozenset(("q", "Q", "\x04", ""))


def open_console() -> Console:
    """Standard output, at most 80 columns wide."""
    return terminal.open_console(widest=_WIDEST)


def is_screen(console: Console) -> bool:
    """Whether it is a terminal, and one that has a height."""
    return console.is_terminal and not console.is_dumb_terminal


def show(console: Console, chapters: Sequence[Chapter], *, quiet: bool = False) -> list[str]:
    """Play chapters and print them one after the other.

    Args:
        console: Where to.
        chapters: Which.
        quiet: Print only what did not happen as announced.

    Returns:
        What did not happen as announced.
    """
    mismatches: list[str] = []
    for chapter in chapters:
        played = _play(console, chapter)
        shown = [each for each in played if each.mismatches or not quiet]
        mismatches += show_sections(console, chapter, shown)
    return mismatches


def show_sections(console: Console, chapter: Chapter, sections: Sequence[Section]) -> list[str]:
    """Print what a chapter has to say; return what did not happen as announced."""
    for section in sections:
        for part in _parts(console, chapter, section):
            _print(console, [*_lines(console, part), []])
    return [mismatch for section in sections for mismatch in section.mismatches]


def show_paged(console: Console, chapters: Sequence[Chapter], keys: Keys) -> list[str]:
    """Play chapters and print a page at a time, each when a key was pressed.

    Returns:
        What did not happen as announced, as far as it was shown.
    """
    mismatches: list[str] = []
    played: list[tuple[Chapter, list[Section]]] = []
    made: list[_Page] = []
    left, at, size = list(chapters), 0, console.size
    while True:
        if at == len(made):
            if not left:
                return mismatches
            chapter = left.pop(0)
            sections = _play(console, chapter)
            if made:
                keys.forget()
            mismatches += [each for section in sections for each in section.mismatches]
            played.append((chapter, sections))
            made += _pages_of(console, len(played) - 1, chapter, sections)
        place = made[at].place
        pressed = _turn(console, made[at], keys, is_last=not left and at + 1 == len(made))
        if pressed in _QUIT:
            return mismatches
        console.width = terminal.width_now(_WIDEST)
        if console.size != size:
            size = console.size
            made = [
                page
                for number, (chapter, sections) in enumerate(played)
                for page in _pages_of(console, number, chapter, sections)
            ]
            at = bisect_right([page.place for page in made], place) - 1
        at = max(at - 1, 0) if pressed in _BACK else at + 1


def _pages_of(
    console: Console, index: int, chapter: Chapter, sections: Sequence[Section]
) -> list[_Page]:
    """The pages of a chapter in a terminal of this size."""
    made = [
        ((index, number, part), lines)
        for number, section in enumerate(sections)
        for part, lines in enumerate(pages(console, chapter, section))
    ]
    name = numbered(chapter)
    return [
        _Page(place, f"{name}, page {number} of {len(made)}", lines)
        for number, (place, lines) in enumerate(made, start=1)
    ]


def _play(console: Console, chapter: Chapter) -> list[Section]:
    with _status(console) as status:
        return trio.run(chapter.play, status)


@contextmanager
def _status(console: Console) -> Generator[Status]:
    """A line that says what is waited for, on a terminal; it is gone afterwards."""
    if not is_screen(console):
        yield lambda _: None
        return
    with ExitStack() as stack:
        shown: list[Spinner] = []

        def say(text: str) -> None:
            if not shown:
                spinner = "line" if is_plain(console) else "dots"
                shown.append(stack.enter_context(console.status("", spinner=spinner)))
            shown[0].update(Text(text))

        yield say


def _parts(console: Console, chapter: Chapter, section: Section) -> Iterator[RenderableType]:
    """The title of a section, its blocks, and what did not happen as announced."""
    yield _title(console, chapter, section)
    for block in section.blocks:
        yield block.render(console.width, ascii_only=is_plain(console))
    for mismatch in section.mismatches:
        yield bad(f"not as announced: {mismatch}")


def _title(console: Console, chapter: Chapter, section: Section, more: str = "") -> RenderableType:
    text = f"{bar(console) * 2} {numbered(chapter)}: {section.title}{more} "
    return terminal.Whole(Text(text.ljust(console.width, bar(console)), "bold"))


def pages(console: Console, chapter: Chapter, section: Section) -> Iterator[list[Line]]:
    """A section's lines, as many at a time as the terminal has; whole blocks, if they fit."""
    room = max(console.height, _LOWEST) - 1
    [title, *blocks] = (_lines(console, part) for part in _parts(console, chapter, section))
    again = _lines(console, _title(console, chapter, section, ", continued"))
    page = [*title]
    for block in blocks:
        if len(page) > 1 and len(page) + 1 + len(block) > room:
            yield page
            page = [*again]
        page += [[], *block]
        while len(page) > room:
            yield page[:room]
            page = [*again, [], *page[room:]]
    yield page


def _turn(console: Console, page: _Page, keys: Keys, *, is_last: bool) -> str:
    """Print a page and wait for a key; the prompt is on the terminal's last line, then gone."""
    _print(console, [*page.lines, *([[]] * (console.height - 1 - len(page.lines)))])
    space = "end" if is_last else "on"
    console.print(Text(f"{page.name}   space: {space}   b: back   q: quit", "dim"), end="")
    pressed = keys.read()
    console.print("\r".ljust(console.width), end="\r")
    return pressed


def _lines(console: Console, part: RenderableType) -> list[Line]:
    """The lines of a part, without the blanks that fill them: what is copied has none either."""
    # Not by `Console.render_lines`, which crops a word that is wider than the terminal.
    rendered = console.render(part, console.options.update(width=console.width))
    return [_without_blanks(line) for line in Segment.split_lines(rendered)]


def _without_blanks(line: Line) -> Line:
    kept = [*line]
    while kept and not kept[-1].text.strip():
        kept.pop()
    if kept:
        last = kept.pop()
        kept.append(Segment(last.text.rstrip(), last.style))
    return kept


def _print(console: Console, lines: Sequence[Line]) -> None:
    for line in lines:
        console.print(Segments([*line, Segment.line()]), end="", soft_wrap=True)


@contextmanager
def pressed_keys() -> Generator[Keys | None]:
    """How to read a key from the terminal; None where standard input is not one."""
    if not sys.stdin.isatty():
        yield None
        return
    import tty

    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        # Without waiting for the end of a line, and without showing what is typed.
        tty.setcbreak(descriptor)
        yield Keys(descriptor)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
