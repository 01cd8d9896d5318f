"""The plan of endpoints: each one, where its settings come from, and what they are.

It is a table where that has room for all words whole, and otherwise a list: what is copied from
here is a path or an address.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Console, Group, RenderableType
from rich.text import Text

from mtls_echo.commands.endpoints.table import (
    INDENT,
    WIDE,
    admission,
    is_for_a_person,
    line_width,
    new_table,
    problem_lines,
    where,
)
from mtls_echo_client.endpoints.plan import Endpoint, Plan
from mtls_echo_pki.printable import printable


def draw_plan(plan: Plan, console: Console) -> RenderableType:
    """Each endpoint, where its settings come from, and what they are."""
    wide = console.width >= WIDE
    number = len(plan.endpoints)
    counted = Text("1 endpoint" if number == 1 else f"{number or 'no'} endpoints")
    drawn = _plan_table([_planned(endpoint, wide=wide) for endpoint in plan.endpoints], console)
    return Group(drawn, counted, *_settings(plan), *problem_lines(plan.problems))


def _planned(endpoint: Endpoint, *, wide: bool) -> dict[str, Text]:
    """What is planned for an endpoint, by its heading."""
    plaintext = Text("plaintext", style="bold magenta")
    cells = {
        "endpoint": where(endpoint, wide=True),
        "group": Text(printable(endpoint.group)),
        "TLS settings from": Text(printable(endpoint.tls.origin)) if endpoint.tls else plaintext,
        "server name": Text(printable(endpoint.server_name or "-")),
        "strict": admission(endpoint, "no"),
    }
    return {**cells, "written at": Text(printable(endpoint.origin))} if wide else cells


def _plan_table(rows: Sequence[Mapping[str, Text]], console: Console) -> RenderableType:
    widths = {
        heading: max([len(heading), *(line_width(row[heading]) for row in rows)])
        for heading in (rows[0] if rows else ())
    }
    gap = 1 if console.width < WIDE else 2
    fits = sum(widths.values()) + gap * (len(widths) - 1) <= console.width
    if not fits and is_for_a_person(console):
        return Group(*(line for row in rows for line in _planned_lines(row)))
    table = new_table(console)
    for heading in widths:
        table.add_column(heading, overflow="fold", no_wrap=fits or heading == "strict")
    for row in rows:
        table.add_row(*row.values())
    return table


def _planned_lines(cells: Mapping[str, Text]) -> list[RenderableType]:
    """An endpoint, and below it what is planned: each on a line that is whole, however long."""
    (_, endpoint), *more = cells.items()
    label = max(len(heading) for heading, _ in more)
    lines: list[RenderableType] = [endpoint]
    for heading, cell in more:
        name = Text(f"{' ' * INDENT}{heading.ljust(label)}  ", style="dim")
        lines.append(Text("", no_wrap=True, overflow="ignore").append_text(name).append_text(cell))
    return lines


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
