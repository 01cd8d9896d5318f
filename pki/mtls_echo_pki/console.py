"""How every command of this project speaks to a person: errors with a hint, colour on a terminal.

Results go to standard output, everything else to standard error with a ``mtls-echo:`` prefix,
without capitalised initials and without full stops at the end. An error says what is wrong with
what, and ends with one hint that can be acted on. Nothing here imports more than click.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from typing import IO, Any, NoReturn, TextIO

import click

from mtls_echo_pki.printable import printable

PROGRAM = "mtls-echo"

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


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
    first, *more = message.rstrip("\n").split("\n")
    say(first, label=click.style("error: ", fg="red", bold=True), file=file)
    for line in more:
        click.echo(f"  {printable(line)}", file=file, err=file is None)
    if hint is not None:
        say(hint, label=click.style("hint: ", fg="cyan", bold=True), file=file)


def say(text: str, *, label: str = "", file: IO[Any] | None = None) -> None:
    """Print one line of information to standard error; it may quote what a peer wrote."""
    click.echo(f"{PROGRAM}: {label}{printable(text)}", file=file, err=file is None)


def broken_pipe() -> NoReturn:
    """End quietly when the reader of our standard output has gone (``mtls-echo … | head -1``)."""
    _give_up_output()
    raise SystemExit(141)  # 128 + SIGPIPE, what a shell reports for any other program


def unwritable_output(error: OSError) -> NoReturn:
    """End with an error: our standard output cannot be written (``mtls-echo … > /dev/full``)."""
    _give_up_output()
    reason = os.strerror(error.errno) if error.errno else str(error)
    complain(f"standard output cannot be written: {reason[:1].lower()}{reason[1:]}")
    raise SystemExit(CommandError.exit_code)


def is_of_output(error: BaseException) -> bool:
    """Whether an error is one of writing standard output: then writing the rest fails again."""
    if not isinstance(error, OSError):
        return False
    if error.errno in _DISK_FULL and error.filename is None:
        return True  # unbuffered (PYTHONUNBUFFERED), there is no rest
    try:
        flush_output()
    except OSError:
        return True
    return False


def flush_output() -> None:
    """Write what is still buffered of our standard output; started with ``>&-``, we have none."""
    output = _output()
    if output is not None:
        output.flush()


def _give_up_output() -> None:
    output = _output()
    if output is not None:
        with contextlib.suppress(OSError):
            # The interpreter flushes standard output once more on its way out.
            os.dup2(os.open(os.devnull, os.O_WRONLY), output.fileno())


def _output() -> TextIO | None:
    return sys.stdout  # None when its descriptor was closed, which its type does not say
