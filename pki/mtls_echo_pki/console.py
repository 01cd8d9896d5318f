"""How every command of this project speaks to a person: errors with a hint, colour on a terminal.

Results go to standard output, everything else to standard error with a ``mtls-echo:`` prefix,
without capitalised initials and without full stops at the end. An error says what is wrong with
what, and ends with one hint that can be acted on. Nothing here imports more than click.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import IO, Any, NoReturn

import click

PROGRAM = "mtls-echo"


class CommandError(click.ClickException):
    """Ends a command with an error message, a hint and an exit status; never a traceback.

    Args:
        message: What is wrong with what; more lines are indented under the first.
        hint: What to do about it.
    """

    # Usage, configuration or unusable files; what happens on a connection has statuses of its own.
    exit_code = 2

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message and the hint to standard error."""
        complain(self.message, self.hint, file=file)


def complain(message: str, hint: str | None = None, *, file: IO[Any] | None = None) -> None:
    """Print an error and its hint; the words "error" and "hint" are coloured on a terminal."""
    first, *more = message.splitlines() or [""]
    say(f"{click.style('error:', fg='red', bold=True)} {first}", file=file)
    for line in more:
        click.echo(f"  {line}", file=file, err=file is None)
    if hint is not None:
        say(f"{click.style('hint:', fg='cyan', bold=True)} {hint}", file=file)


def say(text: str, *, file: IO[Any] | None = None) -> None:
    """Print one line of information to standard error."""
    click.echo(f"{PROGRAM}: {text}", file=file, err=file is None)


def broken_pipe() -> NoReturn:
    """End quietly when the reader of our standard output has gone (``mtls-echo … | head -1``)."""
    with contextlib.suppress(OSError):
        # The interpreter flushes standard output once more on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(141)  # 128 + SIGPIPE, what a shell reports for any other program
