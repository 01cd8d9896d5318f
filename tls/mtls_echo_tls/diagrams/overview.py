"""Draw a handshake at a glance: the messages, and where each side verified the other.

Messages of one flight share an arrow, as in RFC 8446's figures; a double line is encrypted, a
single one can be read on the path. Between the arrows are the two moments that mutual TLS is about
and that no message shows: each side verifying the other (`mtls_echo_tls.diagrams.steps`).
`mtls_echo_tls.diagrams.full` draws the same with all its details.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from mtls_echo_tls.diagnosis.report import Report
from mtls_echo_tls.diagrams.columns import one_column_each
from mtls_echo_tls.diagrams.steps import annotated, is_tls13, sender
from mtls_echo_tls.sides import Side
from mtls_echo_tls.trace.decoding import TraceEntry, decoded
from mtls_echo_tls.trace.messages import Message

WIDTH = 76
NARROWEST = 36

_NO_BREAK = "\N{NO-BREAK SPACE}"

_LONGEST_NAME = 40

# Columns of an arrow besides its text, at least.
_ENDS = 12


@dataclass(frozen=True)
class Glyphs:
    """The characters that a diagram is drawn with."""

    clear: str
    protected: str
    left: str
    right: str
    border: str


UNICODE = Glyphs("─", "═", "◀", "▶", "│")
ASCII = Glyphs("-", "=", "<", ">", "|")


def draw(
    messages: Sequence[Message], report: Report, *, width: int = WIDTH, ascii_only: bool = False
) -> list[str]:
    """The lines of the diagram, client on the left, each at most ``width`` (36 or more) columns.

    The messages and the report are of the same side.
    """
    glyphs = ASCII if ascii_only else UNICODE
    inner = width - 2
    lines = ["client" + "server".rjust(width - len("client"))]
    for row in _rows(decoded(messages), report, inner - _ENDS, ascii_only=ascii_only):
        if isinstance(row, str):
            for line in textwrap.wrap(row, inner - 2, break_on_hyphens=False):
                lines.append(glyphs.border + f" {line} ".center(inner) + glyphs.border)
        else:
            lines += _arrow(row, inner, glyphs)
    return [one_column_each(line, ascii_only=ascii_only) for line in lines]


@dataclass(frozen=True)
class _Arrow:
    sender: Side
    protected: bool
    labels: tuple[str, ...]


def noteworthy(entries: Sequence[TraceEntry]) -> list[TraceEntry]:
    """The messages that mean something to the handshake."""
    # In TLS 1.3 ChangeCipherSpec has no meaning; it is there for middleboxes (RFC 8446 §D.4).
    # close_notify belongs to the end of the connection, not to its handshake.
    tls13 = is_tls13(entries)
    return [
        entry
        for entry in entries
        if not (tls13 and entry.name == "ChangeCipherSpec")
        and entry.fields.get("description") != "close_notify"
    ]


def _rows(
    entries: Sequence[TraceEntry], report: Report, room: int, *, ascii_only: bool
) -> Iterator[_Arrow | str]:
    shown = noteworthy(entries)
    flight: _Arrow | None = None
    for step in annotated(shown, report):
        if isinstance(step, str):
            if flight is not None:
                yield flight
            flight = None
            yield step
            continue
        side = sender(step, report)
        if flight is not None and (flight.sender, flight.protected) == (side, step.protected):
            flight = _Arrow(
                side, step.protected, (*flight.labels, label(step, room, ascii_only=ascii_only))
            )
            continue
        if flight is not None:
            yield flight
        flight = _Arrow(side, step.protected, (label(step, room, ascii_only=ascii_only),))
    if flight is not None:
        yield flight


def label(entry: TraceEntry, room: int, *, ascii_only: bool) -> str:
    """A message in a few words: its name, and which name or certificate is in it.

    A name that is longer than ``room`` is cut.
    """
    if entry.name == "ClientHello":
        wanted = entry.fields.get("server_name")
        return (
            f"ClientHello for {_name(str(wanted), room, ascii_only=ascii_only)}"
            if wanted
            else "ClientHello"
        )
    if entry.name in ("Certificate", "CompressedCertificate"):
        certificates = entry.fields.get("certificates")
        if not certificates:
            return f"{entry.name} ({'none' if certificates == [] else 'unreadable'})"
        return f"{entry.name} of {_name(holder(certificates[0]), room, ascii_only=ascii_only)}"
    if entry.name == "Alert":
        return f"alert {entry.fields.get('description', '')}".rstrip()
    return entry.name


def _name(text: str, room: int, *, ascii_only: bool) -> str:
    name = one_column_each(text, ascii_only=ascii_only)
    longest = min(_LONGEST_NAME, room)
    return name if len(name) <= longest else f"{name[: longest - 3]}..."


def holder(certificate: dict[str, Any]) -> str:
    """The holder of a certificate: its common name, or the first of its names."""
    for part in str(certificate.get("subject", "")).split(","):
        if part.startswith("CN="):
            return part[3:]
    return next(iter(certificate.get("names", [])), "?")


def _arrow(arrow: _Arrow, inner: int, glyphs: Glyphs) -> list[str]:
    """One flight: its labels wrapped, the head of the arrow on the first line."""
    stroke = glyphs.protected if arrow.protected else glyphs.clear
    to_server = arrow.sender == "client"
    room = inner - _ENDS
    # A label that fits is wrapped as a whole: its own spaces do not break.
    flight = ", ".join(
        text.replace(" ", _NO_BREAK) if len(text) < room else text for text in arrow.labels
    )
    lines = textwrap.wrap(flight, room, break_on_hyphens=False)
    drawn: list[str] = []
    for number, text in enumerate(line.replace(_NO_BREAK, " ") for line in lines):
        shaft = stroke * (inner - len(text) - 7) if number == 0 else " " * (inner - len(text) - 7)
        ends = stroke if number == 0 else " "
        if to_server:
            head = glyphs.right if number == 0 else " "
            drawn.append(f" {ends * 2} {text} {shaft}{head} ")
        else:
            head = glyphs.left if number == 0 else " "
            drawn.append(f" {head}{shaft} {text} {ends * 2} ")
    return [glyphs.border + line + glyphs.border for line in drawn]
