"""Help that fits the terminal, options under headings, and suggestions for mistyped commands.

Nothing here imports more than click until it is needed: help is printed with this and
`mtls_echo.console` alone.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import os
from collections.abc import Iterable, Mapping
from typing import Any

import click

from mtls_echo.console import wrap, wrap_line


class ParentCommand(click.Group):
    """A group that knows which of its commands an error is about."""

    def invoke(self, ctx: click.Context) -> Any:
        """Call the command; its parser's errors, which do not say whose they are, are its own."""
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            name = ctx.invoked_subcommand
            if error.ctx is None and name and (command := self.get_command(ctx, name)):
                error.ctx = click.Context(command, parent=ctx, info_name=name)
            raise


class CommandGroup(ParentCommand):
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
        _examples_last(self)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of its commands."""
        return sorted([*self.commands, *self._elsewhere])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of this name."""
        if cmd_name in self._elsewhere:
            command = getattr(importlib.import_module(self._elsewhere[cmd_name]), cmd_name)
        else:
            command = super().get_command(ctx, cmd_name)
        return None if command is None else _examples_last(command)

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


def _examples_last(command: click.Command) -> click.Command:
    """Put the examples that a docstring ends with below the options, where others have theirs."""
    text, begin, examples = inspect.cleandoc(command.help or "").partition("\b\nexamples:\n")
    if begin and not command.epilog:
        command.help, command.epilog = text.rstrip(), begin + examples
    return command


class SectionedCommand(click.Command):
    """A command whose many options are listed under headings.

    Args:
        sections: Each heading with the names of its parameters, separated by spaces. What is in
            none of them comes last.
    """

    def __init__(
        self, *args: Any, sections: Mapping[str, str] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.sections = {name: each.split() for name, each in (sections or {}).items()}

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, each under its heading."""
        for heading, options in self.options_by_heading(ctx):
            with formatter.section(heading):
                formatter.write_dl(options)

    def options_by_heading(self, ctx: click.Context) -> list[tuple[str, list[tuple[str, str]]]]:
        """Each heading, with its options and their help."""
        records = {
            each.name: record
            for each in self.get_params(ctx)
            if isinstance(each, click.Option) and (record := each.get_help_record(ctx)) is not None
        }
        found = [
            (heading, [records.pop(name) for name in names if name in records])
            for heading, names in self.sections.items()
        ]
        return [each for each in (*found, ("Other options", [*records.values()])) if each[1]]


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
        rows = [(term.replace(*ANY_NUMBER), meaning) for term, meaning in rows]
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


# click's name for a number with a least value, which is said beside it.
ANY_NUMBER = ("INTEGER RANGE", "N")

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
