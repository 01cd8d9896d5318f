"""What a chapter of the lesson consists of: sections, and the blocks of text in them.

A chapter plays its scenes and returns what there is to say of them as data. The terminal and the
page in `docs/` are two ways to write the same blocks, so neither can say what the other does not.

In texts a word between backticks is code, and one between two asterisks is emphasised, as in
Markdown.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table as RichTable
from rich.text import Text

from mtls_echo.console import wrap, wrap_command
from mtls_echo.terminal import Whole
from mtls_echo_tls.diagnosis.report import Report
from mtls_echo_tls.diagrams.narrow import glance_within
from mtls_echo_tls.trace.messages import Message

# What is accepted, refused and encrypted looks the same in every chapter: in a diagram an event is
# red that is a refusal, and in a table a result that must not be, such as an attacker's success.
ACCEPTED, REFUSED, ENCRYPTED = "green", "red", "cyan"

INDENT = 2

# Columns of a line in `docs/`: of text, and of what a terminal shows there.
_PAGE_WIDTH = 100
_SCREEN_WIDTH = 76

_MARKED = re.compile(r"`(?P<code>[^`]+)`|\*\*(?P<strong>.+?)\*\*")


def good(text: str) -> Text:
    """Words about a result as it must be."""
    return Text(text, f"bold {ACCEPTED}")


def bad(text: str) -> Text:
    """Words about a result that must not be."""
    return Text(text, f"bold {REFUSED}")


@dataclass(frozen=True)
class Prose:
    """A paragraph."""

    text: str

    def render(self, width: int, *, ascii_only: bool) -> RenderableType:
        """What a terminal shows of it."""
        del width, ascii_only
        return Whole(marked(self.text))

    def markdown(self) -> str:
        """The paragraph, wrapped."""
        return "\n".join(wrap(self.text, _PAGE_WIDTH))


@dataclass(frozen=True)
class Bullets:
    """A list."""

    items: tuple[str, ...]

    def render(self, width: int, *, ascii_only: bool) -> RenderableType:
        """What a terminal shows of it."""
        del width, ascii_only
        grid = RichTable.grid(padding=(0, 1, 0, 0))
        for item in self.items:
            grid.add_row("-", Whole(marked(item)))
        return grid

    def markdown(self) -> str:
        """The list, wrapped."""
        lines = [line for item in self.items for line in wrap(f"- {item}", _PAGE_WIDTH, "  ")]
        return "\n".join(lines)


Cell: TypeAlias = "str | Text"


@dataclass(frozen=True)
class Table:
    """Columns under their headings; a cell may have several lines.

    Attributes:
        even: Whether all columns are equally wide, and a narrow terminal gets one below the other.
        labels: What each row of an even table is about, which a terminal shows above the cells;
            an empty one sets its row off.
    """

    headings: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    even: bool = False
    labels: tuple[str, ...] = ()

    def render(self, width: int, *, ascii_only: bool) -> RenderableType:
        """What a terminal shows of it."""
        del ascii_only
        if width < NARROW:
            each = self._below if self.even else self._listed
            count = len(self.headings) if self.even else len(self.rows)
            return Group(*(Whole(each(number)) for number in range(count)))
        table = RichTable(
            box=None, padding=(0, 2 if len(self.headings) > 2 else 1, 0, 0), expand=self.even,
            header_style="bold", pad_edge=False,
        )  # fmt: skip
        for heading in self.headings:
            table.add_column(Text(heading), ratio=1 if self.even else None, overflow="fold")
        for number, row in enumerate(self.rows):
            if self.labels:
                table.add_row(self._label(number))
            table.add_row(*map(_cell, row))
        return Padding(table, (0, 0, 0, INDENT if not self.even else 0), expand=False)

    def _listed(self, number: int) -> Text:
        """A row, with the headings of its cells."""
        first, *more = (_cell(value) for value in self.rows[number])
        first.stylize("bold")
        labelled = zip(self.headings[1:], more, strict=True)
        lines = [first, *(Text.assemble((f"{label}: ", "dim"), cell) for label, cell in labelled)]
        return Text("\n").join(lines)

    def _below(self, number: int) -> Text:
        """A column, under its heading."""
        lines = [Text(self.headings[number], "bold")]
        for place, row in enumerate(self.rows):
            lines += [self._label(place)] if self.labels else []
            lines.append(_cell(row[number]))
        last = number == len(self.headings) - 1
        return Text("\n").join(lines if last else [*lines, Text()])

    def _label(self, number: int) -> Text:
        return Text(f"{self.labels[number]}:" if self.labels[number] else "", "dim")

    def markdown(self) -> str:
        """The table; emphasised is what has a colour on a terminal."""
        rows = [[*self.headings], *([*map(_markdown_cell, row)] for row in self.rows)]
        if self.labels:
            rows = [[label, *row] for label, row in zip(("", *self.labels), rows, strict=True)]
        rows.insert(1, ["---"] * len(rows[0]))
        lines = [f"| {' | '.join(row)} |" for row in rows]
        return "\n".join(line.replace("|  |", "| |") for line in lines)


# A terminal with fewer columns has no room for two columns of text.
NARROW = 60


@dataclass(frozen=True)
class Diagram:
    """The diagram of a handshake, as one side recorded it."""

    messages: Sequence[Message]
    report: Report

    def render(self, width: int, *, ascii_only: bool) -> RenderableType:
        """What a terminal shows of it: what is encrypted, accepted and refused in colour."""
        lines = glance_within(
            self.messages, self.report, width, indent=INDENT, ascii_only=ascii_only
        )
        return Text("\n").join(coloured(lines))

    def markdown(self) -> str:
        """The diagram as text."""
        return _fenced(glance_within(self.messages, self.report, _SCREEN_WIDTH))


@dataclass(frozen=True)
class Transcript:
    """A command of this program, and what it printed; or several of them, to paste.

    Attributes:
        line: The command, or one on each line.
        prompt: What is before it.
    """

    line: str
    output: str = ""
    prompt: str = "$ "

    def render(self, width: int, *, ascii_only: bool) -> RenderableType:
        """What a terminal shows of it."""
        del ascii_only
        room, after = width - INDENT - len(self.prompt), " " * len(self.prompt)
        shown = Text("\n").join(
            Text.assemble((after if number else self.prompt, "dim"), (line, "bold"))
            for each in self.line.splitlines()
            for number, line in enumerate(wrap_command(each, room, "    "))
        )
        for text in self.output.rstrip().splitlines():
            for each in wrap(text, width - INDENT, "  "):
                shown.append(f"\n{each}")
        return Whole(shown, INDENT)

    def markdown(self) -> str:
        """The command and its output, as a terminal shows them."""
        commands = [f"$ {each}" for each in self.line.splitlines()]
        return _fenced([*commands, *self.output.rstrip().splitlines()], "shell-session")


@dataclass(frozen=True)
class Screen:
    """What a program shows, or what a file says: as it is.

    Attributes:
        shown: Lines, or anything that rich draws.
        kind: The language of the lines, for Markdown.
    """

    shown: RenderableType
    kind: str = ""

    def render(self, width: int, *, ascii_only: bool) -> RenderableType:
        """What a terminal shows of it."""
        del width, ascii_only
        return Padding(self.shown, (0, 0, 0, INDENT), expand=False)

    def markdown(self) -> str:
        """The same without colour."""
        written = io.StringIO()
        Console(file=written, width=_SCREEN_WIDTH, emoji=False, highlight=False).print(self.shown)
        return _fenced(
            [line.rstrip() for line in written.getvalue().rstrip().splitlines()], self.kind
        )


Block: TypeAlias = Prose | Bullets | Table | Diagram | Transcript | Screen


@dataclass(frozen=True)
class Section:
    """What is shown together, under a title.

    Attributes:
        mismatches: What was announced and did not happen.
    """

    title: str
    blocks: tuple[Block, ...]
    mismatches: tuple[str, ...] = ()


def unmet(claims: Mapping[str, bool]) -> tuple[str, ...]:
    """The claims that are not so, for `Section.mismatches`."""
    return tuple(f"not so: {claim}" for claim, holds in claims.items() if not holds)


# Called with what a scene waits for, when that is longer than a moment.
Status: TypeAlias = Callable[[str], None]


def plain(block: Block, width: int = _SCREEN_WIDTH) -> list[str]:
    """The lines of a block without colour, as a terminal of that width shows them."""
    written = io.StringIO()
    console = Console(file=written, width=width, emoji=False, highlight=False)
    console.print(block.render(width, ascii_only=False))
    return [line.rstrip() for line in written.getvalue().splitlines()]


def marked(text: str) -> Text:
    """The text with its code and its emphasis in a style, and without the marks."""
    found, end = Text(), 0
    for part in _MARKED.finditer(text):
        found.append(text[end : part.start()])
        found.append(part["code"] or part["strong"], "bold" if part["strong"] else "bold cyan")
        end = part.end()
    return found.append(text[end:])


def coloured(lines: Sequence[str]) -> list[Text]:
    """The lines of a diagram: each flight in one colour, and what came of each verification."""
    found, style = list[Text](), ""
    for line in lines:
        if re.search("[▶◀<>→←]", line):
            encrypted = ENCRYPTED if re.search("══|==", line) else ""
            style = f"bold {REFUSED}" if " alert" in line else encrypted
        elif _is_remark(line) and " refuses" in line:
            style = f"bold {REFUSED}"
        elif _is_remark(line) and re.search("verifies|accepted|both send", line):
            style = ACCEPTED
        found.append(Text(line, style))
    return found


def _is_remark(line: str) -> bool:
    """Whether it is centred between the borders, as what both ends do by themselves."""
    inner = line.strip()[1:-1]
    left, right = len(inner) - len(inner.lstrip()), len(inner) - len(inner.rstrip())
    return abs(left - right) <= 1


def _cell(value: Cell) -> Text:
    return marked(value) if isinstance(value, str) else value


def _markdown_cell(value: Cell) -> str:
    text = (
        value if isinstance(value, str) else f"**{value.plain}**" if value.style else value.plain
    )
    return text.replace("|", "\\|").replace("\n", "<br>")


def _fenced(lines: Sequence[str], kind: str = "") -> str:
    return "\n".join([f"```{kind}", *(line.rstrip() for line in lines), "```"])
