"""What every command prints to people: errors with a hint, and colour on a terminal.

Results go to standard output, everything else to standard error with a ``mtls-echo:`` prefix,
without capitalised initials and without full stops at the end. An error says what is wrong with
what, and ends with one hint that can be acted on. Nothing here imports more than click
until it is needed: help is printed with this module alone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
import textwrap
from collections.abc import Generator
from typing import IO, TYPE_CHECKING, Any, NoReturn, TextIO

import click

from mtls_echo_pki.printable import printable

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = "mtls-echo"

# What the exit statuses of `connect` and `endpoints` mean for one connection.
CONNECTION_STATUSES = """\
  3  no TCP connection
  4  we refused the server
  5  the server refused us
  6  closed or reset without an alert, or the echo was not what was sent; an error in HTTP
  7  timeout
  8  protocol mismatch: no common version, cipher or group, not TLS at all, or no echo server
  9  authenticated, but not authorised
"""

# The hint where standard output cannot be written.
REDIRECT = "redirect it to a file that can be written: > FILE"

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


@contextlib.contextmanager
def usage_errors() -> Generator[None]:
    """Say what is wrong with the arguments, and where to read about them."""
    try:
        yield
    except click.UsageError as error:
        raise usage_error(error) from error


def usage_error(error: click.UsageError) -> CommandError:
    """What is wrong with the arguments, and what to do, or else where to read about them."""
    message, hint = split_hint(_usage_message(error))
    see = f"see: {error.ctx.command_path if error.ctx else PROGRAM} --help"
    return CommandError(message, hint or see)


@contextlib.contextmanager
def value_errors(where: str, hint: str | None = None) -> Generator[None]:
    """Say which option has the wrong value; the hint is that of the error, if it has one."""
    try:
        yield
    except ValueError as error:
        message, own = split_hint(str(error))
        raise CommandError(f"{where}{message}", own or hint) from error


def split_hint(text: str) -> tuple[str, str | None]:
    """Of an error about a value, what is wrong and, behind a semicolon, what to do about it."""
    # What is quoted was written by the user, semicolons included.
    parts = re.fullmatch(r"""((?>"[^"]*"|(?<!\w)'[^']*'|[^;])*+); (.*)""", text, re.DOTALL)
    return (parts[1], parts[2]) if parts else (text, None)


def _usage_message(error: click.UsageError) -> str:
    """One line without a capital and a full stop."""
    told = error.format_message()
    if isinstance(error, click.NoSuchOption):
        told = f"No such option {error.option_name}{_like_option(error)}"
    # The argument that is a choice is called by its choices, which the rest names.
    told = re.sub(r"^Invalid value for '\{[^}]*\}': ", "", told)
    message = " ".join(told.split()).rstrip(".")
    return message[:1].lower() + message[1:]


def _like_option(error: click.NoSuchOption) -> str:
    """The options that are like one that there is not: click suggests what has a letter of it."""
    import difflib

    if error.option_name == "--color" and error.ctx is not None:
        return f"; it goes before the command: {PROGRAM} --color WHEN {error.ctx.info_name}"
    known = [
        name
        for option in (error.ctx.command.params if error.ctx is not None else ())
        if isinstance(option, click.Option) and not option.hidden
        for name in option.opts
    ]
    close = difflib.get_close_matches(error.option_name, known, cutoff=0.7)
    return f". Did you mean {' or '.join(close)}?" if close else ""


def complain(message: str, hint: str | None = None, *, file: IO[Any] | None = None) -> None:
    """Print an error and its hint; the words "error" and "hint" are coloured on a terminal."""
    first, *more = message.rstrip("\n").split("\n")
    say(first, label="error: ", colour="red", file=file)
    for line in more:
        _echo(f"  {printable(line)}", file)
    if hint is not None:
        say(hint, label="hint: ", colour="cyan", file=file)


def print_result(text: str) -> None:
    """Print a result to standard output; a terminal gets its lines wrapped, a pipe as they are."""
    width = width_of(sys.stdout)
    if width is not None:
        lines = (wrap_line(line, width, "  ") for line in text.split("\n"))
        text = "\n".join(each for line in lines for each in line)
    click.echo(text)


def say(text: str, *, label: str = "", colour: str = "", file: IO[Any] | None = None) -> None:
    """Print one line of information to standard error; it may quote what a peer wrote."""
    _echo(f"{PROGRAM}: {label}{printable(text)}", file, label, colour)


def _echo(line: str, file: IO[Any] | None, label: str = "", colour: str = "") -> None:
    """Print a line; a terminal gets it wrapped and, unless it is unwanted, with colour."""
    width = width_of(sys.stderr if file is None else file)
    if width is not None:
        line = "\n".join(wrap(line, width, "  "))
    if colour:
        line = line.replace(label, click.style(label, fg=colour, bold=True), 1)
    click.echo(line, file=file, err=file is None, color=colour_wanted())


# What `mtls-echo --color` says.
_colour: list[bool | None] = [None]


def choose_colour(when: str) -> None:
    """Have colour "always", "never" or, as without this, "auto": on a terminal that has it."""
    _colour[0] = {"always": True, "never": False, "auto": None}[when]


def colour_wanted() -> bool | None:
    """Whether output is coloured: True always, False never, None on a terminal.

    Unless `--color` says so, what the user has set for all programs counts
    (https://no-color.org), and what is known of the terminal.
    """
    if _colour[0] is not None:
        return _colour[0]
    return False if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else None


def width_of(stream: IO[Any] | None) -> int | None:
    """How many columns a stream's terminal has; None where it does not write to one."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80 if stream is not None else None
    except (OSError, ValueError):
        return None


def wrap(text: str, width: int, indent: str = "") -> list[str]:
    """Lines of whole words; those after the first are indented by as much more than the first."""
    start = text[: len(text) - len(text.lstrip())]
    lines = textwrap.wrap(
        re.sub(r"(?<=RFC) (?=\d)|(?<=\d) (?=§)", "\0", text),  # "RFC 5280 §6" is one word
        width,
        subsequent_indent=start + indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace("\0", " ") for line in lines]


def wrap_line(line: str, width: int, indent: str = "") -> list[str]:
    """Lines of whole words, by what the line is: a command, a label and its value, or text."""
    if len(line) <= width:
        return [line]
    if line.lstrip().startswith(f"{PROGRAM} "):
        return wrap_command(line, width, "    ")
    if command := re.search(rf"(?<=:) (?={PROGRAM} )", line):
        # On lines of its own it can be copied.
        before = wrap(line[: command.start()], width, indent)
        return [*before, *wrap_command(f"    {line[command.end() :]}", width, "    ")]
    start = re.match(r"(\s*)(\S+(?: \S+)*\s{2,})(?=\S)", line)
    if start is None:
        return wrap(line, width, indent)
    # "  2  usage" goes on below "usage", unless a word of it would not fit there.
    longest = max(map(len, line[start.end() :].split()))
    return wrap(line, width, " " * len(start[2]) if start.end() + longest <= width else "  ")


def wrap_command(command: str, width: int, indent: str = "") -> list[str]:
    """Lines of a shell command; an option and its value, and what is quoted, stay together."""
    if len(command) <= width:
        return [command]
    room = width - len(" \\")

    def together(words: re.Match[str]) -> str:
        fits = len(words[0]) <= room - len(indent)
        return words[0].replace(" ", "\0") if fits or words[0].startswith("'") else words[0]

    for unit in (r"'[^']*'", r"(?<= )--?\w\S* [^\s|-]\S*"):
        command = re.sub(unit, together, command)
    *lines, last = wrap(command, room, indent)
    return [*(f"{line} \\" for line in lines), last]


def broken_pipe() -> NoReturn:
    """End quietly when the reader of our standard output has gone (``mtls-echo … | head -1``)."""
    _give_up_output()
    raise SystemExit(141)  # 128 + SIGPIPE, what a shell reports for any other program


def unwritable_output(error: OSError) -> NoReturn:
    """End with an error: our standard output cannot be written (``mtls-echo … > /dev/full``)."""
    _give_up_output()
    reason = os.strerror(error.errno) if error.errno else str(error)
    told = f"standard output cannot be written: {reason[:1].lower()}{reason[1:]}"
    complain(told, REDIRECT)
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
    if (output := _output()) is not None:
        output.flush()


def _give_up_output() -> None:
    if (output := _output()) is not None:
        with contextlib.suppress(OSError):
            # The interpreter flushes standard output once more on its way out.
            os.dup2(os.open(os.devnull, os.O_WRONLY), output.fileno())


def _output() -> TextIO | None:
    return sys.stdout  # None when its descriptor was closed, which its type does not say


def this_command() -> str:
    """This program, as it can be called from here."""
    import shutil
    from pathlib import Path

    running = Path(sys.argv[0]).resolve()
    found = shutil.which(PROGRAM)
    if found is not None and Path(found).resolve() == running:
        return PROGRAM
    if running.name != PROGRAM:
        return f"{short_path(Path(sys.executable))} -m mtls_echo"
    return short_path(Path(sys.argv[0]).absolute())


def short_path(path: Path) -> str:
    """The shortest way to write a path from here, quoted for a shell."""
    import shlex
    from pathlib import Path

    for place, prefix in ((Path.cwd, ""), (Path.home, "~/")):
        try:
            base = place()
        except (OSError, RuntimeError):
            continue  # a deleted working directory; a user without a home
        if path.is_relative_to(base) and path != base:
            return prefix + shlex.quote(str(path.relative_to(base)))
    return shlex.quote(str(path))
