"""The table of endpoints: one line each, and below it what is wrong and what to do.

A table has no room for reasons: one that is cut off does not help, and one that is folded into a
column makes six lines of one. So the cause stands in the line, by its slug, where a healthy server
has its names; sentence and remedy stand below, once for all endpoints that fail alike. From 120
columns on there is room for groups, labels and all names. Where a table would break words, each
endpoint is on a line of its own, with its cells below it: in columns, or as a list in a line where
those do not fit either.

Colour repeats what the words say, and never says more. What peers and files chose is escaped
(`mtls_echo_pki.printable`): a certificate must not be able to draw a line of this table.
"""

from __future__ import annotations

import bisect
import datetime
from collections.abc import Iterable, Mapping, Sequence

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mtls_echo.commands.endpoints.text import cause, count, duration, explanation
from mtls_echo.terminal import WIDTH, Whole
from mtls_echo_client.endpoints.monitor.status import State, Status
from mtls_echo_client.endpoints.plan import Endpoint, Problem
from mtls_echo_pki.printable import printable
from mtls_echo_tls.diagnosis.report import describe

# From here on a table is drawn with all there is.
WIDE = 120

# A certificate is near its end when it has less than this, or a third of its life if that is less.
_NEAR = datetime.timedelta(days=7)
_VERY_NEAR = datetime.timedelta(days=1)

# What most slugs of causes fit into.
_SLUG = 17

# How far below its name the cells of an endpoint are.
INDENT = 2

_PEER = "peer, or cause"

# Endpoints that fail alike, named one by one.
_MOST_NAMED = 3

_COLOURS: dict[State, str] = {
    "connecting": "yellow",
    "up": "green",
    "down": "bold red",
    "dropped": "red",
}


# --- the table -----------------------------------------------------------------------------------


def draw(
    statuses: Sequence[Status],
    problems: Sequence[Problem],
    console: Console,
    *,
    in_full: bool = True,
    explained: Sequence[Status] | None = None,
) -> RenderableType:
    """All of it, however long.

    Args:
        in_full: With what was compared for each kind of failure.
        explained: Those of the statuses whose reasons are given; None for all.
    """
    reasons = _reasons(statuses if explained is None else explained, in_full=in_full)
    below = [*reasons, *problem_lines(problems)]
    return Group(_table(statuses, console, whole=True), Text(count(statuses)), *below)


def draw_screen(
    statuses: Sequence[Status], problems: Sequence[Problem], console: Console
) -> RenderableType:
    """As much as the terminal has lines for: what is not up comes first."""
    room = console.height - 3  # the count, the line that the cursor is on, and the next prompt
    blocks = [*problem_lines(problems), *_reasons(statuses, in_full=False)]
    # Half of it at the most, unless the table leaves more.
    rest = room - _height(_table(statuses, console), console) if len(statuses) < room else 0
    below = _fitting(blocks, max(room // 2, rest), console)
    room -= sum(_height(block, console) for block in below)
    shown = _most_urgent(statuses, room, console)
    counted = Text(count(statuses))
    if left_out := len(statuses) - len(shown):
        counted.append(f"; {left_out} of them not shown", style="dim")
    return Group(_table(shown, console), counted, *below)


def _most_urgent(statuses: Sequence[Status], room: int, console: Console) -> list[Status]:
    """As many as there are lines for, in their order: what is up is left out first, from below."""
    urgent = sorted(range(len(statuses)), key=lambda place: (statuses[place].state == "up", place))

    def first(number: int) -> list[Status]:
        return [statuses[place] for place in sorted(urgent[:number])]

    def lines(number: int) -> int:
        return _height(_table(first(number), console), console)

    # Each takes a line at least: what cannot fit need not be drawn to be measured.
    numbers = range(1, min(len(statuses), max(room, 1)) + 1)
    return first(max(1, bisect.bisect_right(numbers, room, key=lines)))


def _fitting(
    blocks: Sequence[RenderableType], room: int, console: Console
) -> list[RenderableType]:
    """Those that there are lines for, and how many there are besides."""
    kept: list[RenderableType] = []
    for left in range(len(blocks), 0, -1):
        block = blocks[-left]
        room -= _height(block, console)
        if room < (0 if left == 1 else 1):  # a line is kept to say that there are more
            return [*kept, Text(f"{left} more, for which this window has no lines", style="dim")]
        kept.append(block)
    return kept


def _height(block: RenderableType, console: Console) -> int:
    return len(console.render_lines(block, pad=False))


def _table(statuses: Sequence[Status], console: Console, *, whole: bool = False) -> RenderableType:
    wide = console.width >= WIDE
    names = [(_group(each, wide=wide), where(each.endpoint, wide=wide)) for each in statuses]
    rows = [_cells(status, wide=wide) for status in statuses]
    room = (
        console.width - 1 - max((line_width(name) for pair in names for name in pair), default=0)
    )
    fits = False
    if not wide and is_for_a_person(console):
        if _widths(rows, room) is None:
            return _stack(names, rows, console, whole=whole)
        fits = True
    table = new_table(console)
    if wide:
        table.add_column("group", overflow="fold", max_width=24)
    table.add_column("endpoint", overflow="fold", no_wrap=fits)
    for heading in ("state", "admitted", "TLS"):
        table.add_column(heading, no_wrap=True)
    table.add_column(_PEER, overflow="fold", min_width=_SLUG, max_width=40)
    for heading in ("expires", "echo"):
        table.add_column(heading, no_wrap=True, justify="right")
    before = None
    for (group, address), cells in zip(names, rows, strict=True):
        if not wide and group != before:
            table.add_row(group)
        before = group
        table.add_row(*([group] if wide else []), address, *cells.values())
    return table


def is_for_a_person(console: Console) -> bool:
    """Whether words have to be whole; what a pipe gets is a table in any case."""
    return console.is_terminal or console.width < WIDTH


def new_table(console: Console) -> Table:
    """A table without columns yet, with a space or two between those that come."""
    close = console.width < WIDE
    return Table(
        box=None, padding=(0, 1), collapse_padding=close, pad_edge=False, header_style="bold"
    )


def _cells(status: Status, *, wide: bool) -> dict[str, Text]:
    """What is known of an endpoint, by its heading."""
    return {
        "state": Text(status.state, style=_COLOURS[status.state]),
        "admitted": admission(status.endpoint, "yes" if status.admitted else "no"),
        "TLS": _version(status, wide=wide),
        _PEER: _peer(status, wide=wide),
        "expires": _expiry(status),
        "echo": Text(duration(status.round_trip)),
    }


def _widths(rows: Sequence[Mapping[str, Text]], room: int) -> dict[str, int] | None:
    """How wide each column is, if all have room without a broken word."""
    widths = {
        heading: max([len(heading), *(row[heading].cell_len for row in rows)])
        for heading in (rows[0] if rows else ())
    }
    if not widths:
        return widths
    left = room - sum(width + 1 for heading, width in widths.items() if heading != _PEER)
    widths[_PEER] = min(widths[_PEER], left)
    return widths if left >= max(_SLUG, _longest_word(row[_PEER] for row in rows)) else None


def line_width(text: Text) -> int:
    """The width of the longest of its lines."""
    return max(map(cell_len, text.plain.split("\n")))


def _longest_word(texts: Iterable[Text]) -> int:
    return max((cell_len(word) for text in texts for word in text.plain.split()), default=0)


# --- instead of a table that is too wide ---------------------------------------------------------


def _stack(
    names: Sequence[tuple[Text, Text]],
    rows: Sequence[Mapping[str, Text]],
    console: Console,
    *,
    whole: bool,
) -> RenderableType:
    """Each endpoint, and its cells below it."""
    room = console.width - INDENT
    widths = _widths(rows, room)
    lines: list[RenderableType] = []
    if widths is not None:
        headings = {heading: Text(heading, style="bold") for heading in widths}
        lines += [Text("endpoint", style="bold"), _aligned(headings, widths)]
    before = None
    for (group, address), cells in zip(names, rows, strict=True):
        if group != before:
            lines.append(group)
        before = group
        shown = Whole(address) if whole else address
        lines += [shown, _listed(cells, room) if widths is None else _aligned(cells, widths)]
    return Group(*lines)


def _aligned(cells: Mapping[str, Text], widths: Mapping[str, int]) -> RenderableType:
    row = Table.grid(padding=(0, 1))
    for heading, width in widths.items():
        is_number = heading in ("expires", "echo")
        row.add_column(width=width, overflow="fold", justify="right" if is_number else "left")
    row.add_row(*cells.values())
    return _indented(row)


def _listed(cells: Mapping[str, Text], room: int) -> RenderableType:
    """Those that there are, each with its heading where it does not speak for itself."""
    lines = [Text()]
    for heading, cell in cells.items():
        if cell.plain == "-":
            continue
        part = cell if heading in ("state", _PEER) else Text.assemble(f"{heading} ", cell)
        if lines[-1]:
            lines[-1].append(",")
            if lines[-1].cell_len + 1 + part.cell_len < room:
                part = Text.assemble(" ", part)
            else:
                lines.append(Text())
        lines[-1].append_text(part)
    return _indented(Group(*lines))


def _indented(block: RenderableType) -> Padding:
    return Padding(block, (0, 0, 0, INDENT), expand=False)


# --- cells ---------------------------------------------------------------------------------------


def _group(status: Status, *, wide: bool) -> Text:
    return Text(f"{printable(status.endpoint.group)}{'' if wide else ':'}")


def where(endpoint: Endpoint, *, wide: bool) -> Text:
    """Its address, how it was written and, ``wide``, its labels."""
    text = Text(printable(str(endpoint.address)))
    if endpoint.written != str(endpoint.address):
        text.append(f"\n{printable(endpoint.written)}", style="dim")
    # Those that begin with __ say where it was found, which `origin` does too.
    labels = [f"{name}={value}" for name, value in endpoint.labels.items() if name[:2] != "__"]
    if wide and labels:
        text.append(f"\n{printable(', '.join(labels))}", style="dim")
    return text


def admission(endpoint: Endpoint, otherwise: str) -> Text:
    """Whether it is always admitted; ``otherwise`` if that depends on its health."""
    if endpoint.strict:
        return Text("strict", style="bold")
    return Text(otherwise, style="dim" if otherwise == "no" else "")


def _version(status: Status, *, wide: bool) -> Text:
    if status.endpoint.tls is None:
        return Text("plaintext" if wide else "plain", style="bold magenta")
    return Text((status.version or "-").removeprefix("TLSv"))


def _peer(status: Status, *, wide: bool) -> Text:
    if status.state == "up":
        names = status.names if wide else status.names[:1]
        more = f" +{len(status.names) - 1}" if len(status.names) > len(names) else ""
        return Text((printable(", ".join(names)) or "-") + more)
    return Text(cause(status) or "-", style="red" if status.state != "connecting" else "")


def _expiry(status: Status) -> Text:
    if status.not_after is None:
        return Text("-")
    left = status.not_after - datetime.datetime.now(datetime.UTC)
    shown = duration(left.total_seconds())
    near = _near(status)
    if left >= near:
        return Text(shown)
    return Text(f"{shown}!", style="bold red" if left < min(_VERY_NEAR, near) else "yellow")


def _near(status: Status) -> datetime.timedelta:
    peer = status.report.peer if status.report else None
    if peer is None or status.not_after is None:
        return _NEAR
    return min(_NEAR, (status.not_after - datetime.datetime.fromisoformat(peer.not_before)) / 3)


# --- below the table -----------------------------------------------------------------------------


def _reasons(statuses: Iterable[Status], *, in_full: bool) -> list[RenderableType]:
    """Why those that are not up are not, once for all that fail alike."""
    alike: dict[tuple[str, str], list[Status]] = {}
    for status in statuses:
        if status.state != "up" and any(explanation(status)):
            alike.setdefault(explanation(status), []).append(status)
    return [_reason(group, in_full=in_full) for group in alike.values()]


def _reason(alike: Sequence[Status], *, in_full: bool) -> RenderableType:
    first = alike[0]
    summary, hint = explanation(first)
    names = ", ".join(str(status.endpoint.address) for status in alike[:_MOST_NAMED])
    if len(alike) > _MOST_NAMED:
        names += f" and {len(alike) - _MOST_NAMED} more"
    text = Text(f"{printable(names)}: ", style="bold")
    text.append(summary, style="not bold")
    more = describe(first.report)[0].splitlines()[1:] if in_full and first.report else []
    below = Text()
    if more and len(alike) > 1:
        # They fail alike, but not by the same certificate or the same bytes.
        below.append(f"seen at {printable(str(first.endpoint.address))}:\n", style="dim")
    for line in more:
        below.append(f"{printable(line)}\n")
    if hint:
        below.append("hint: ", style="cyan")
        below.append(hint)
    below.rstrip()
    blank = [Text()] if in_full else []
    if in_full:
        return Group(*blank, Whole(text), *([Whole(below, INDENT)] if below else []))
    return Group(*blank, text, *([_indented(below)] if below else []))


def problem_lines(problems: Iterable[Problem]) -> list[RenderableType]:
    """One line for each problem."""
    texts = [f"{printable(problem.where)}: {printable(problem.message)}" for problem in problems]
    return [Text.assemble(("problem: ", "bold yellow"), text) for text in texts]
