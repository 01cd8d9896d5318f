"""A handshake as a list of messages, for a terminal in which the diagrams have no room.

``→`` goes to the server, ``←`` to the client. Nothing is left out that the diagram of the same
kind has; but for the arrows and the columns it reads the same.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from mtls_echo_tls.diagnosis.report import Report
from mtls_echo_tls.diagrams import full, overview
from mtls_echo_tls.diagrams.columns import one_column_each
from mtls_echo_tls.diagrams.steps import annotated, is_tls13, sender
from mtls_echo_tls.trace.decoding import TraceEntry, decoded
from mtls_echo_tls.trace.messages import Message

# Less than a word of a sentence is unreadable, and text has to go somewhere.
_LEAST = 12
_HANGING = 4


def sequence_within(
    report: Report, columns: int, *, indent: int = 0, ascii_only: bool = False
) -> list[str]:
    """The diagram of `full.sequence` in so many columns; the list, where it has no room."""
    width = min(columns - indent, full.WIDTH - indent)
    if width >= full.NARROWEST:
        lines = full.sequence(report, width=width, ascii_only=ascii_only)
        return [" " * indent + line for line in lines]
    entries = report.trace or []
    if not entries:
        return []
    return _listed(
        entries, report, full.NARROWEST, columns, indent, in_full=True, ascii_only=ascii_only
    )


def glance_within(
    messages: Sequence[Message],
    report: Report,
    columns: int,
    *,
    indent: int = 0,
    ascii_only: bool = False,
) -> list[str]:
    """The diagram of `overview.draw` in so many columns; the list, where it has no room."""
    width = min(columns - 2 * indent, overview.WIDTH)
    if width >= overview.NARROWEST:
        lines = overview.draw(messages, report, width=width, ascii_only=ascii_only)
        return [" " * indent + line for line in lines]
    entries = overview.noteworthy(decoded(messages))
    # As much is left free on the right.
    needed = overview.NARROWEST + indent
    return _listed(entries, report, needed, columns, indent, in_full=False, ascii_only=ascii_only)


def _listed(
    entries: Sequence[TraceEntry],
    report: Report,
    width: int,
    columns: int,
    indent: int,
    *,
    in_full: bool,
    ascii_only: bool,
) -> list[str]:
    room = max(columns - indent, _LEAST)
    needed = f"the diagram needs {width + indent} columns; this terminal has {columns}"
    lines = textwrap.wrap(needed, room)
    right, left = ("->", "<-") if ascii_only else ("→", "←")
    tls13 = is_tls13(entries)
    for step in annotated(entries, report):
        if isinstance(step, str):
            lines += _wrapped("* ", step, room)
            continue
        arrow = right if sender(step, report) == "client" else left
        secret = ", encrypted" if step.protected else ""
        size = f"{step.size} byte{'' if step.size == 1 else 's'}"
        if in_full:
            text = f"{step.name}, {size}{secret}, at {step.time_ms:.1f} ms"
        else:
            text = f"{overview.label(step, room - _HANGING, ascii_only=ascii_only)}{secret}"
        lines += _wrapped(f"{arrow} ", text, room)
        for label, value in full.facts(step, tls13=tls13) if in_full else ():
            text = one_column_each(value, ascii_only=ascii_only)
            text = f"{label.strip()}: {text}" if label else text
            lines += _wrapped("  ", text, room, most=full.MOST_LINES + 1)
    return [" " * indent + line for line in lines]


def _wrapped(start: str, text: str, room: int, most: int | None = None) -> list[str]:
    return textwrap.wrap(
        text,
        room,
        initial_indent=start,
        subsequent_indent=" " * _HANGING,
        break_on_hyphens=False,
        # Only a word that has no room on a line of its own.
        break_long_words=max(map(len, text.split()), default=0) > room - _HANGING,
        max_lines=most,
    )
