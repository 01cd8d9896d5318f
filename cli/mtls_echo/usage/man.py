"""`mtls-echo man`: manual pages, made of the commands' help.

A page is troff with the macros of man(7). Each command has one of its own, as git's have:
``mtls-echo-serve(1)``. Nothing is written twice: what the help says, a page says.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mtls_echo.console import PROGRAM, say, value_errors
from mtls_echo.parameters import writing
from mtls_echo.usage.help import ANY_NUMBER, SectionedCommand
from mtls_echo_pki.lookup import look_up

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_EPILOG = f"""\b
examples:
  {PROGRAM} man serve | man -l -
      Read one of them.
  {PROGRAM} man --write ~/.local/share/man/man1
      Write all of them where man finds them.
"""


def _complete(ctx: click.Context, _: click.Parameter, begun: str) -> list[CompletionItem]:
    """The commands that begin so, of the group that is named already."""
    from click.shell_completion import CompletionItem

    command: click.Command | None = ctx.find_root().command
    for word in ctx.params.get("words") or ():
        command = command.get_command(ctx, word) if isinstance(command, click.Group) else None
    names = command.list_commands(ctx) if isinstance(command, click.Group) else []
    return [CompletionItem(name) for name in names if name.startswith(begun)]


@click.command(epilog=_EPILOG)
@click.argument("words", metavar="[COMMAND]...", nargs=-1, shell_complete=_complete)
@click.option(
    "--write",
    "folder",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Write the pages of all commands into DIR, which is made if it does not exist.",
)
@click.pass_context
def man(ctx: click.Context, words: tuple[str, ...], folder: Path | None) -> None:
    """Print the manual page of COMMAND, or of mtls-echo itself.

    The pages are made of the help: what one says, the other says.
    """
    pages = dict(_contexts(ctx.find_root()))
    if folder is None:
        named = {" ".join(path): each for path, each in pages.items()}
        with value_errors(""):
            chosen = look_up("command", " ".join(words), named, "mtls-echo --help")
        click.echo(page(chosen, pages), nl=False)
        return
    if words:
        raise click.UsageError("--write is for the pages of all commands; leave out COMMAND")
    with writing(str(folder)):
        folder.mkdir(parents=True, exist_ok=True)
        for path, each in pages.items():
            (folder / f"{'-'.join((PROGRAM, *path))}.1").write_text(page(each, pages), "utf-8")
    say(f"wrote {len(pages)} pages into {folder}")


def _contexts(
    ctx: click.Context, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Context]]:
    """The context of each command, by its words."""
    yield path, ctx
    if isinstance(ctx.command, click.Group):
        for name in ctx.command.list_commands(ctx):
            command = ctx.command.get_command(ctx, name)
            if command is not None:
                inner = click.Context(command, info_name=name, parent=ctx)
                yield from _contexts(inner, (*path, name))


def page(ctx: click.Context, pages: dict[tuple[str, ...], click.Context]) -> str:
    """The manual page of a command."""
    from mtls_echo import __version__

    command, name = ctx.command, ctx.command_path.replace(" ", "-")
    pieces = " ".join(command.collect_usage_pieces(ctx))
    written = _paragraphs(command.help or "") + _paragraphs(command.epilog or "")
    described = [each for each in written if not _HEADING.match(each)]
    lines = [
        f'.TH "{name.upper()}" "1" "" "{PROGRAM} {__version__}" "User Commands"',
        ".SH NAME",
        f"{_escaped(name)} \\- {_escaped(_title(command.help or ''))}",
        ".SH SYNOPSIS",
        f"\\fB{_escaped(ctx.command_path)}\\fR {_escaped(pieces)}",
        ".SH DESCRIPTION",
        *_text(described),
    ]
    for heading, options in _options(ctx):
        lines += [f".SH {heading.upper()}"]
        for term, meaning in options:
            lines += [".TP", f"\\fB{_escaped(term.replace(*ANY_NUMBER))}\\fR", _escaped(meaning)]
    if isinstance(command, click.Group):
        lines += [".SH COMMANDS"]
        for each in command.list_commands(ctx):
            found = command.get_command(ctx, each)
            meaning = found.get_short_help_str(1000) if found is not None else ""
            lines += [".TP", f"\\fB{_escaped(f'{name}-{each}')}\\fR(1)", _escaped(meaning)]
    for each in written:
        if begun := _HEADING.match(each):
            lines += _section(begun, each[begun.end() :])
    others = sorted({"-".join((PROGRAM, *path)) for path in pages if len(path) < 2} - {name})
    lines += [".SH SEE ALSO", ", ".join(f"\\fB{_escaped(each)}\\fR(1)" for each in others)]
    return "\n".join(lines) + "\n"


def _options(ctx: click.Context) -> list[tuple[str, list[tuple[str, str]]]]:
    if isinstance(ctx.command, SectionedCommand):
        return ctx.command.options_by_heading(ctx)
    records = [
        record
        for each in ctx.command.get_params(ctx)
        if isinstance(each, click.Option) and (record := each.get_help_record(ctx))
    ]
    return [("Options", records)]


def _paragraphs(text: str) -> list[str]:
    """The paragraphs of a help text; one whose lines are to stay begins with a backspace."""
    text = inspect.cleandoc(text).partition("\f")[0].replace("\b\n", "\b")
    return [each.strip("\n") for each in re.split(r"\n\s*\n", text) if each.strip()]


# "examples:" over lines that stay, "exit status (of the last connection):", "exit status: 0 made".
_HEADING = re.compile(r"\x08([a-z ]+?)(?: \((.*)\))?:\n|(exit status): ")


def _text(paragraphs: list[str]) -> Iterator[str]:
    for each in paragraphs:
        if each.startswith("\b"):
            yield from _lines(each[1:])
        else:
            yield from (".PP", _escaped(" ".join(each.split())))


def _section(heading: re.Match[str], text: str) -> Iterator[str]:
    yield f".SH {(heading[1] or heading[3]).upper()}"
    if heading[2]:
        yield f"{_escaped(heading[2][:1].upper() + heading[2][1:])}:"
    yield from _lines(text) if heading[1] else (_escaped(" ".join(text.split())),)


def _lines(text: str) -> Iterator[str]:
    yield from (".nf", *map(_escaped, inspect.cleandoc(text).splitlines()), ".fi")


def _title(sentence: str) -> str:
    """The first sentence, as the line that `apropos` shows."""
    sentence = re.split(r"\.(?:\s|$)", " ".join(sentence.split()))[0]
    return sentence[:1].lower() + sentence[1:] if sentence[1:2].islower() else sentence


def _escaped(text: str) -> str:
    """Text in which nothing is an instruction, and hyphens are those that options begin with."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    text = "".join(each if each.isascii() else f"\\[u{ord(each):04X}]" for each in text)
    return f"\\&{text}" if text.startswith((".", "'")) else text
