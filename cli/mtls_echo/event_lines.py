"""Events of a server as a terminal shows them: one short line each, coloured by how it went.

A log that is read elsewhere, in a file or by a program, says everything about each connection,
which is several lines of a terminal. Here an event of a connection is what a person who watches
wants to see at once: when, how it went, which address, who it was, and of a refusal which side
refused the other and why. It is cut where the terminal ends. What concerns the server itself, such
as a reload that failed, is rare and has to be acted on: it is wrapped, and complete.
"""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import click

from mtls_echo.console import colour_wanted, width_of, wrap
from mtls_echo_server.events import FINE, Event
from mtls_echo_server.log import text_of

if TYPE_CHECKING:
    from mtls_echo_tls.diagnosis.report import Report

_GREEN, _YELLOW, _RED = "green", "yellow", "red"

# How the events that begin with these words went. Others are about the server, and neutral.
_COLOURS = {
    "listening": _GREEN, "accepted": _GREEN, "echoed": _GREEN, "finished": _GREEN,
    "reloaded": _GREEN,
    "refused": _RED, "denied": _RED, "error": _RED, "cannot": _RED,
    "failed": _YELLOW, "cut": _YELLOW, "warning": _YELLOW, "not": _YELLOW,
}  # fmt: skip

# "accepted" and "finished" are the longest of the words that lines of connections begin with, and
# most addresses on this machine are so long.
_WORD, _ADDRESS = 8, 15

# "17:54:49 ", below which the text of an event goes on.
_CLOCK = 9

# Of a name that does not fit, this part of the line is shown at least, where all went well; and of
# a refusal, whose cause is to be seen too.
_PART_OF_NAME, _SMALL_PART = 3, 6

_ELSEWHERE = 80

_USUAL_ENDS = ("closed by the client", "closed by its handler")

_QUIET = frozenset({"accepted", "connection", "created", "worker-started"})


def wants_lines() -> bool:
    """Whether the log is for a person who watches: on a terminal, or where colour is asked for."""
    return width_of(sys.stderr) is not None or colour_wanted() is True


def is_kept_when_quiet(event: Event) -> bool:
    """Whether an event is one of the server and not of a client, or of what went well."""
    if event.name == "reload":
        return not event.details["ok"]
    return event.name not in _QUIET


class EventLines:
    """Makes the lines of an event.

    Args:
        in_full: Write all that there is to say of it, as elsewhere.
    """

    def __init__(self, *, in_full: bool = False) -> None:
        self._in_full = in_full
        wanted = colour_wanted()
        self._colour = width_of(sys.stderr) is not None if wanted is None else wanted

    def __call__(self, event: Event, start: str) -> str:
        """The lines of an event; ``start`` says when it was."""
        terminal = width_of(sys.stderr)
        columns = terminal or _ELSEWHERE
        of_client = event.name in ("accepted", "connection")
        if self._in_full and terminal is None:
            lines = text_of(event, start)
        elif of_client and not self._in_full:
            start = start[:_CLOCK]  # which worker it was is one of the details
            lines = self._of_client(event, start, columns)
        else:
            lines = "\n".join(wrap(text_of(event, start), columns, " " * _CLOCK))
        return self._coloured(lines, len(start)) + self._drawing(event, columns)

    def _of_client(self, event: Event, start: str, columns: int) -> str:
        where: str = event.details["peer_address"]
        word, _, said = event.text.partition(f" {where}: ")
        who: str | None = event.details.get("identity")
        report = event.report
        if report is None:
            said = event.text.rpartition(", ")[2]
        else:
            who = _holder(report)
            word = "echoed" if report.outcome == "echoed" else word.removesuffix(" by")
            said = _why(report, said)
        line = f"{start}{word:<{_WORD}} {where:<{_ADDRESS}} "
        fine = report is None or report.outcome in FINE
        least = columns // (_PART_OF_NAME if fine else _SMALL_PART)
        room = max(columns - len(line) - len(said) - 2, least)
        name = _cut(_narrow(who), room) if who else ""
        return _cut(f"{line}{name}{', ' if name else ''}{_narrow(said)}", columns)

    def _coloured(self, lines: str, begin: int) -> str:
        """Colour the word that says how it went."""
        word, between, rest = lines[begin:].partition(" ")
        colour = _COLOURS.get(word.rstrip(":"))
        if not self._colour or colour is None:
            return lines
        return f"{lines[:begin]}{click.style(word, fg=colour, bold=True)}{between}{rest}"

    def _drawing(self, event: Event, columns: int) -> str:
        """Draw the handshake of a traced connection."""
        if event.report is None or not event.report.trace:
            return ""
        from mtls_echo_tls.diagrams.full import NARROWEST
        from mtls_echo_tls.diagrams.narrow import sequence_within

        plain = not (sys.stderr.encoding or "").lower().startswith("utf")
        indent = 2 if columns >= NARROWEST + 2 else 0
        drawn = sequence_within(event.report, columns, indent=indent, ascii_only=plain)
        return "".join(f"\n{line}" for line in drawn)


def _holder(report: Report) -> str | None:
    if report.peer is None:
        return None
    return next(iter(report.peer.names), None) or report.peer.subject


def _why(report: Report, said: str) -> str:
    """How a connection ended, in few words: of a refusal which side refused the other, and why."""
    causes: list[str] = [*report.causes]
    first, *others = causes or [""]
    if len(others) == 1:
        first += f", or {others[0]}"
    elif others:
        first += f", or one of {len(others)} others"
    if first and report.outcome == "refused":
        judge = "us" if report.rejected_by == report.side else f"the {report.rejected_by}"
        return f"by {judge}: {first}"
    if first and report.outcome in ("denied", "failed") and said.startswith(report.summary):
        return f"{first}: {said}"
    if report.outcome not in FINE:
        return said
    how, _, traffic = said.partition(", ")
    traffic = re.sub(r"(\d+) bytes in, \1 bytes out", r"\1 bytes", traffic)
    return traffic if how in _USUAL_ENDS else f"{traffic}, {how}"


def _narrow(text: str) -> str:
    """Text in which each character is printable and has one column."""
    if text.isascii() and text.isprintable():
        return text
    from mtls_echo_tls.diagrams.columns import one_column_each

    return one_column_each(text)


def _cut(text: str, columns: int) -> str:
    return text if len(text) <= columns else f"{text[: columns - 1].rstrip(' ,;')}…"
