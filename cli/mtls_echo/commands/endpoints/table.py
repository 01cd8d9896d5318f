"""The table of endpoints: one line each, and below it what is wrong and what to do.

A table has no room for reasons: one that is cut off does not help, and one that is folded into a
column makes six lines of one. So the cause stands in the line, by its slug, where a healthy server
has its names; sentence and remedy stand below, once for all endpoints that fail alike. From 120
columns on there is room for groups, labels and all names.

Colour repeats what the words say, and never says more. What peers and files chose is escaped
(`mtls_echo_pki.printable`): a certificate must not be able to draw a line of this table.
"""

from __future__ import annotations

import bisect
import datetime
from collections.abc import Iterable, Sequence

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mtls_echo.commands.endpoints.text import cause, count, duration, explanation
from mtls_echo_client.endpoints.monitor.status import State, Status
from mtls_echo_client.endpoints.plan import Endpoint, Plan, Problem
from mtls_echo_pki.printable import printable
from mtls_echo_tls.diagnosis.report import describe

# From here on a table is drawn with all there is.
_WIDE = 120

# A certificate is near its end when it has less than this, or a third of its life if that is less.
_NEAR = datetime.timedelta(days=7)
_VERY_NEAR = datetime.timedelta(days=1)

# What most slugs of causes fit into.
_SLUG = 17

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
) -> RenderableType:
    """All of it, however long; ``in_full`` with what was compared for each kind of failure."""
    below = [*_reasons(statuses, in_full=in_full), *_problems(problems)]
    return Group(_table(statuses, console), Text(count(statuses)), *below)


def draw_screen(
    statuses: Sequence[Status], problems: Sequence[Problem], console: Console
) -> RenderableType:
    """As much as the terminal has lines for: what is not up comes first."""
    room = console.height - 3  # the count, the line that the cursor is on, and the next prompt
    blocks = [*_problems(problems), *_reasons(statuses, in_full=False)]
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


def _table(statuses: Sequence[Status], console: Console) -> Table:
    wide = console.width >= _WIDE
    table = _new_table(console)
    if wide:
        table.add_column("group", overflow="fold", max_width=24)
    table.add_column("endpoint", overflow="fold")
    for heading in ("state", "admitted", "TLS"):
        table.add_column(heading, no_wrap=True)
    table.add_column("peer, or cause", overflow="fold", min_width=_SLUG, max_width=40)
    for heading in ("expires", "echo"):
        table.add_column(heading, no_wrap=True, justify="right")
    group = None
    for status in statuses:
        name = Text(f"{printable(status.endpoint.group)}{'' if wide else ':'}")
        if not wide and name != group:
            table.add_row(name)
        group = name
        table.add_row(
            *([name] if wide else []),
            _where(status.endpoint, wide=wide),
            Text(status.state, style=_COLOURS[status.state]),
            _admission(status.endpoint, "yes" if status.admitted else "no"),
            _version(status, wide=wide),
            _peer(status, wide=wide),
            _expiry(status),
            Text(duration(status.round_trip)),
        )
    return table


def _new_table(console: Console) -> Table:
    close = console.width < _WIDE
    return Table(
        box=None, padding=(0, 1), collapse_padding=close, pad_edge=False, header_style="bold"
    )


def _where(endpoint: Endpoint, *, wide: bool) -> Text:
    text = Text(printable(str(endpoint.address)))
    if endpoint.written != str(endpoint.address):
        text.append(f"\n{printable(endpoint.written)}", style="dim")
    # Those that begin with __ say where it was found, which `origin` does too.
    labels = [f"{name}={value}" for name, value in endpoint.labels.items() if name[:2] != "__"]
    if wide and labels:
        text.append(f"\n{printable(', '.join(labels))}", style="dim")
    return text


def _admission(endpoint: Endpoint, otherwise: str) -> Text:
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
    return Group(*blank, text, *([Padding(below, (0, 0, 0, 2), expand=False)] if below else []))


def _problems(problems: Iterable[Problem]) -> list[RenderableType]:
    texts = [f"{printable(problem.where)}: {printable(problem.message)}" for problem in problems]
    return [Text.assemble(("problem: ", "bold yellow"), text) for text in texts]


# --- the plan ------------------------------------------------------------------------------------


def draw_plan(plan: Plan, console: Console) -> RenderableType:
    """Each endpoint, where its settings come from, and what they are."""
    wide = console.width >= _WIDE
    table = _new_table(console)
    for heading in ("endpoint", "group", "TLS settings from", "server name"):
        table.add_column(heading, overflow="fold")
    table.add_column("strict", no_wrap=True)
    if wide:
        table.add_column("written at", overflow="fold")
    for endpoint in plan.endpoints:
        cells = [
            _where(endpoint, wide=True),
            Text(printable(endpoint.group)),
            Text(printable(endpoint.tls.origin))
            if endpoint.tls
            else Text("plaintext", style="bold magenta"),
            Text(printable(endpoint.server_name or "-")),
            _admission(endpoint, "no"),
        ]
        table.add_row(*cells, *([Text(printable(endpoint.origin))] if wide else []))
    number = len(plan.endpoints)
    counted = Text("1 endpoint" if number == 1 else f"{number or 'no'} endpoints")
    return Group(table, counted, *_settings(plan), *_problems(plan.problems))


def _settings(plan: Plan) -> list[RenderableType]:
    """The files behind each place that settings come from, once."""
    blocks: list[RenderableType] = []
    for settings in dict.fromkeys(each.tls for each in plan.endpoints if each.tls is not None):
        version = settings.minimum_version.name.removeprefix("TLSv").replace("_", ".")
        lines = [f"verified by {settings.ca_file}"]
        if settings.cert_file:
            lines += [f"presenting {settings.cert_file}", f"with the key {settings.key_file}"]
        else:
            lines.append("presenting no certificate")
        lines.append(f"TLS {version} or later")
        blocks.append(Text(f"\n{printable(settings.origin)}", style="bold"))
        # What is copied from here is a path: whole, however long.
        blocks += [Text(f"  {printable(each)}", no_wrap=True, overflow="ignore") for each in lines]
    return blocks
