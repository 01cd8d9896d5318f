"""Open standard output or standard error as a rich console that honours terminal and pipe."""

from __future__ import annotations

import re
import sys

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from mtls_echo.console import colour_wanted, width_of

# What a pipe gets.
WIDTH = 80


class PipedConsole(Console):
    """A console whose reader may leave early."""

    def on_broken_pipe(self) -> None:
        """Let the error out: rich would end the process from inside a nursery."""
        raise  # the BrokenPipeError that rich is handling


def open_console(
    *, stderr: bool = False, widest: int | None = None, markup: bool = False
) -> Console:
    """A console as wide as its terminal; 80 columns where it is not one.

    Args:
        stderr: Standard error in place of standard output.
        widest: At most so many columns, whatever the terminal has.
        markup: Whether ``[bold]`` and its like are instructions; never for what others wrote.
    """
    colour = colour_wanted()
    console = PipedConsole(
        highlight=False,
        emoji=False,
        markup=markup,
        stderr=stderr,
        # rich finds out by itself what a terminal has, and takes a pipe to have none.
        color_system="auto" if colour is None else "standard" if colour else None,
        no_color=False if colour else None,
    )
    width = width_of(sys.stderr if stderr else sys.stdout) or WIDTH
    if widest is not None:
        console.width = min(width, widest)
    elif console.is_dumb_terminal or not console.is_terminal:
        console.width = width
    return console


def width_now(widest: int) -> int:
    """The columns that standard output has by now, at most so many."""
    return min(width_of(sys.stdout) or WIDTH, widest)


class Whole:
    """A text that is wrapped between its words: what is copied from it is a host or a path.

    A word that is wider than the terminal is broken by that, which copies it whole; not on a
    screen that is drawn again and again, whose lines have to be counted.
    """

    def __init__(self, text: Text, indent: int = 0) -> None:
        self._text = text
        self._indent = indent

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = options.max_width - self._indent
        for whole in self._text.split("\n", allow_blank=True):
            for line in whole.divide(_between_words(whole.plain, room)):
                line.rstrip()
                line.pad_left(self._indent)
                line.no_wrap, line.overflow = True, "ignore"
                yield line


def _between_words(text: str, room: int) -> list[int]:
    """Where lines begin that have room, or are a word."""
    found, width = list[int](), 0
    for word in re.finditer(r"\S+\s*", text):
        if width and width + cell_len(word[0].rstrip()) > room:
            found.append(word.start())
            width = 0
        width += cell_len(word[0])
    return found
