"""Open standard output or standard error as a rich console that honours terminal and pipe."""

from __future__ import annotations

import sys

from rich.console import Console

from mtls_echo.console import is_colourless, width_of

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
    console = PipedConsole(
        highlight=False,
        emoji=False,
        markup=markup,
        stderr=stderr,
        color_system=None if is_colourless() else "auto",
    )
    width = width_of(sys.stderr if stderr else sys.stdout) or WIDTH
    if widest is not None:
        console.width = min(width, widest)
    elif console.is_dumb_terminal or not console.is_terminal:
        console.width = width
    return console
