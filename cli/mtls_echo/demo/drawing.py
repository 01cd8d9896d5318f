"""Print one connection as `demo` and `observe` show it: a diagram, both reports, and their join.

A pipe gets 80 columns, a terminal as many as it has, up to 100; only a terminal gets colour.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mtls_echo import terminal
from mtls_echo.console import wrap, wrap_command
from mtls_echo_tls.diagnosis.joint import JointReport
from mtls_echo_tls.diagnosis.report import Report, describe
from mtls_echo_tls.diagrams.narrow import glance_within

if TYPE_CHECKING:
    from mtls_echo_tls.trace.messages import Message

# Longer lines of text are hard to read.
_WIDEST = 100

# With fewer, one report is below the other.
TWO_COLUMNS = 60

_INDENT = 2


def open_console() -> Console:
    """Standard output as wide as its terminal, 100 columns at most; 80 where it is not one."""
    return terminal.open_console(widest=_WIDEST, markup=True)


def is_plain(console: Console) -> bool:
    """Whether the output has no box-drawing characters."""
    return not console.encoding.lower().startswith("utf")


def bar(console: Console) -> str:
    """The character that horizontal lines are made of."""
    return "-" if is_plain(console) else "─"


def show_paragraph(console: Console, text: str) -> None:
    """Print sentences, and an empty line after them."""
    console.print("\n".join(wrap(text, console.width)), markup=False, soft_wrap=True)
    console.print()


def show_command(console: Console, command: str) -> None:
    """Print a command to paste, with ``\\`` at the end of lines where it does not fit."""
    lines = wrap_command(command, console.width - _INDENT, "    ")
    console.print(textwrap.indent("\n".join(lines), "  "), markup=False, soft_wrap=True)


def summary(mismatches: Sequence[str]) -> str:
    """What came of a whole demonstration."""
    return f"{len(mismatches)} things not as announced" if mismatches else "all as announced"


def outcome(mismatches: Sequence[str], announced: str) -> str:
    """What came of one step, as rich markup."""
    if mismatches:
        return f"[bold red]not as announced:[/] {'; '.join(mismatches)}"
    return f"[bold green]as announced:[/] {announced}"


def show_diagram(console: Console, messages: Sequence[Message], report: Report) -> None:
    """Print the handshake as one side recorded it."""
    plain = is_plain(console)
    for line in glance_within(messages, report, console.width, indent=_INDENT, ascii_only=plain):
        console.print(line, markup=False, soft_wrap=True)


def show_accounts(console: Console, client: Report | None, server: Report | None) -> None:
    """Print both reports side by side; None for a peer that does not speak TLS."""
    if console.width < TWO_COLUMNS:
        for side, report in (("client", client), ("server", server)):
            text = Text.assemble((f"what the {side} saw\n", "bold"), _described(report))
            console.print(Padding(text, (1, 0, 0, _INDENT)))
        return
    table = Table(box=None, expand=True, padding=(0, 1), header_style="bold")
    table.add_column("what the client saw", ratio=1, overflow="fold")
    table.add_column("what the server saw", ratio=1, overflow="fold")
    table.add_row(_described(client), _described(server))
    console.print()
    console.print(table)


def show_joined(console: Console, account: JointReport) -> None:
    """Print the joint report."""
    text = Text.assemble(("both together: ", "bold"), account.summary)
    console.print()
    console.print(Padding(text, (0, 0, 0, 2)))


def _described(report: Report | None) -> Text:
    if report is None:
        return Text("(does not speak TLS)", style="dim")
    message, hint = describe(report)
    first, *more = message.splitlines()
    text = Text(first)
    if report.outcome == "echoed" and report.tls is not None:
        more = [f"{report.tls.version}, {report.tls.cipher}"]
        if report.peer is not None:
            more.append(f"peer: {', '.join(report.peer.names)}")
    for line in more:
        # Two columns leave no room for the less likely causes and for OpenSSL's long symbols; the
        # report has them all.
        if line.startswith(("or:", "reason:")):
            continue
        label, _, value = line.partition(":")
        text.append(f"\n{label}:" if value else f"\n{label}", style="dim")
        text.append(f" {value.strip()}" if value else "")
    if hint:
        text.append("\nhint:", style="cyan")
        text.append(f" {hint}")
    return text
