"""What every command prints to people: errors with a hint, and colour on a terminal.

Results go to standard output, everything else to standard error with a ``mtls-echo:`` prefix,
without capitalised initials and without full stops at the end. An error says what is wrong with
what, and ends with one hint that can be acted on. Nothing here imports more than click
until it is needed: help is printed with this module alone.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import re
import sys
import textwrap
from collections.abc import Generator, Iterable, Mapping
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

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class CommandGroup(click.Group):
    """A group of commands that prints its help when called without one.

    It suggests a command for a name that it does not have: one of its own, or of a group in it.

    Args:
        elsewhere: Of commands that are imported when they are used, the modules, in which they
            have the same names.
    """

    def __init__(
        self, *args: Any, elsewhere: Mapping[str, str] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._elsewhere = elsewhere or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of its commands."""
        return sorted([*self.commands, *self._elsewhere])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name."""
        if cmd_name not in self._elsewhere:
            return super().get_command(ctx, cmd_name)
        module = importlib.import_module(self._elsewhere[cmd_name])
        command: click.Command = getattr(module, cmd_name)
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the arguments; without any, print the help and end with success."""
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help())
            ctx.exit()
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the first argument names."""
        name = args[0]
        if name.startswith("-") or ctx.resilient_parsing or self.get_command(ctx, name):
            return super().resolve_command(ctx, args)
        suggested = (
            f" Did you mean {' or '.join(found)}?" if (found := self._like(ctx, name)) else ""
        )
        raise click.UsageError(f"No such command {name!r}.{suggested}", ctx)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands, each with its whole first sentence."""
        with formatter.section("Commands"):
            formatter.write_dl(self.summaries(ctx))

    def summaries(self, ctx: click.Context) -> list[tuple[str, str]]:
        """Each command and what it does."""
        found = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        return [(name, each.get_short_help_str(limit=1000)) for name, each in found if each]

    def _like(self, ctx: click.Context, name: str) -> list[str]:
        import difflib

        own = self.list_commands(ctx)
        inner = {
            sub: f"'{each} {sub}'"
            for each in own
            if isinstance(group := self.get_command(ctx, each), click.Group)
            for sub in group.list_commands(ctx)
        }
        close = [f"'{each}'" for each in difflib.get_close_matches(name, own)]
        return close or [inner[each] for each in difflib.get_close_matches(name, inner)]


class HelpFormatter(click.HelpFormatter):
    """Formats help with words whole, in a narrow terminal too.

    click breaks words at hyphens, what is longer than its column anywhere, and examples not at
    all; and it writes at least fifty columns.
    """

    def __init__(
        self, indent_increment: int = 2, width: int | None = None, max_width: int | None = None
    ) -> None:
        if width is None:
            width = max(min(_columns(), max_width or 80) - 2, _NARROWEST)
        super().__init__(indent_increment, width)

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        """Write the usage line; what does not fit goes on below the first argument."""
        start = f"{'Usage: ' if prefix is None else prefix}{prog} "
        room = max([20, *map(len, args.split())])
        indent = len(start) if len(start) + room <= self.width else 4
        lines = wrap(f"{start}{args}", self.width, " " * indent)
        self.write("".join(f"{line}\n" for line in lines))

    def write_text(self, text: str) -> None:
        """Write paragraphs, and wrap the lines of those that click would leave as they are."""
        lines: list[str] = []
        is_raw = False
        for line in text.splitlines():
            is_raw = line.strip() == "\b" or (is_raw and line != "")
            fits = not is_raw or len(line) <= self.width - self.current_indent
            lines += [line] if fits else wrap_line(line, self.width - self.current_indent)
        super().write_text(_unbreakable("\n".join(lines)))

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        """Write a list of terms and what they mean, for which half of the width stays at least."""
        rows = list(rows)
        room = self.width - self.current_indent - col_spacing
        longest = max((len(word) for _, meaning in rows for word in meaning.split()), default=0)
        unbreakable = [
            (
                "\n".join(wrap(" " * self.current_indent + term, self.width, "    ")).lstrip(),
                meaning,
            )
            for term, meaning in ((term, _unbreakable(meaning)) for term, meaning in rows)
        ]
        col_max = max(1, min(col_max, room - max(longest, self.width // 2)))
        super().write_dl(unbreakable, col_max, col_spacing)

    def getvalue(self) -> str:
        """What was written."""
        return super().getvalue().replace(_HYPHEN, "-")


# Help is not written in fewer columns.
_NARROWEST = 20


def _columns() -> int:
    """The width of the terminal: as `shutil` has it, which imports what unpacks archives."""
    with contextlib.suppress(ValueError):
        if (columns := int(os.environ.get("COLUMNS", ""))) > 0:
            return columns
    with contextlib.suppress(OSError):  # standard output is closed, or no terminal
        return os.get_terminal_size(1).columns or 80
    return 80


_HYPHEN = "\N{NON-BREAKING HYPHEN}"


def _unbreakable(text: str) -> str:
    return text.replace("-", _HYPHEN)


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
        raise CommandError(usage_message(error), help_hint(error)) from error


def help_hint(error: click.UsageError) -> str:
    """Where to read about the arguments."""
    return f"see: {error.ctx.command_path if error.ctx else PROGRAM} --help"


def usage_message(error: click.UsageError) -> str:
    """What is wrong with the arguments: one line without a capital and a full stop."""
    message = " ".join(error.format_message().split()).rstrip(".")
    return message[:1].lower() + message[1:]


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
    click.echo(line, file=file, err=file is None, color=False if is_colourless() else None)


def is_colourless() -> bool:
    """Whether the user wants no colour (https://no-color.org), or the terminal has none."""
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"


def width_of(stream: IO[Any] | None) -> int | None:
    """How many columns a stream's terminal has; None where it does not write to one."""
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80 if stream is not None else None
    except (OSError, ValueError):
        return None


def wrap(text: str, width: int, indent: str = "") -> list[str]:
    """Lines of whole words; those after the first are indented by as much more than the first."""
    start = text[: len(text) - len(text.lstrip())]
    return textwrap.wrap(
        text,
        width,
        subsequent_indent=start + indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


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
    *lines, last = (line.replace("\0", " ") for line in wrap(command, room, indent))
    return [*(f"{line} \\" for line in lines), last]


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
