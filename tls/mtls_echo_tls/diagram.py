"""A handshake as a sequence diagram: who sent what, and where who was verified.

Messages of one flight share an arrow, as in RFC 8446's figures; a double line is protected, a
single one can be read by anybody on the path. Between the arrows stand the two moments that
mutual TLS is about and that no message shows: each side verifying the other.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from mtls_echo_tls.evidence import Side
from mtls_echo_tls.identity import common_name, end_entity, subject_alternative_names
from mtls_echo_tls.report import Report
from mtls_echo_tls.trace import ALERT, CHANGE_CIPHER_SPEC, Message, certificates_in, server_name_in

WIDTH = 76

_NO_BREAK = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class _Strokes:
    clear: str
    protected: str
    left: str
    right: str
    rail: str


_OTHER: dict[Side, Side] = {"client": "server", "server": "client"}

_UNICODE = _Strokes("─", "═", "◀", "▶", "│")
_ASCII = _Strokes("-", "=", "<", ">", "|")


def draw(
    messages: Sequence[Message], report: Report, *, width: int = WIDTH, ascii_only: bool = False
) -> list[str]:
    """The lines of the diagram, client on the left, each at most ``width`` columns.

    Args:
        messages: What one side recorded.
        report: The same side's report: who that side is, and who refused whom.
        width: Columns to fill, at least 40.
        ascii_only: For an output that has no box-drawing characters.
    """
    strokes = _ASCII if ascii_only else _UNICODE
    inner = width - 2
    lines = ["client" + "server".rjust(width - len("client"))]
    for row in _rows(messages, report):
        if isinstance(row, str):
            lines.append(strokes.rail + f" {row} ".center(inner) + strokes.rail)
        else:
            lines += _arrow(row, inner, strokes)
    return lines


@dataclass(frozen=True)
class _Arrow:
    sender: Side
    protected: bool
    labels: tuple[str, ...]


def _rows(messages: Sequence[Message], report: Report) -> Iterator[_Arrow | str]:
    # In TLS 1.3 ChangeCipherSpec means nothing; it is there for middleboxes (RFC 8446 §D.4).
    # close_notify belongs to the end of the connection, not to its handshake.
    tls13 = any(message.name == "EncryptedExtensions" for message in messages)
    shown = [
        message
        for message in messages
        if not (tls13 and message.content_type == CHANGE_CIPHER_SPEC)
        and message.name != "Alert close_notify"
    ]
    presented: set[Side] = set()
    accepted: set[Side] = set()
    for (sender, protected), run in groupby(
        shown, key=lambda message: (_sender(message, report.side), message.protected)
    ):
        flight = tuple(run)
        other = _OTHER[sender]
        if flight[0].content_type == ALERT:
            if report.rejected_by == sender:
                yield f"the {sender} refuses: {', or '.join(report.causes[:2])}"
        elif other in presented - accepted:
            # It went on after the other's certificate: so it has verified and accepted it.
            accepted.add(other)
            yield _accepted(other)
        if any(m.name == "Certificate" and certificates_in(m) for m in flight):
            presented.add(sender)
        yield _Arrow(sender, protected, tuple(_label(message) for message in flight))
    if report.outcome == "echoed":
        yield from (_accepted(side) for side in sorted(presented - accepted))
        yield "both send application data"


def _accepted(side: Side) -> str:
    return f"the {_OTHER[side]} verifies the {side}'s certificate: accepted"


def _sender(message: Message, recorder: Side) -> Side:
    return recorder if message.direction == "sent" else _OTHER[recorder]


def _label(message: Message) -> str:
    if message.name == "ClientHello":
        wanted = server_name_in(message)
        return f"ClientHello for {wanted}" if wanted else "ClientHello"
    if message.name == "Certificate":
        chain = certificates_in(message)
        leaf = end_entity(chain)
        if leaf is None:
            return "Certificate (none)" if not chain else "Certificate (unreadable)"
        names = [str(name.value) for name in subject_alternative_names(leaf)]
        return f"Certificate of {(common_name(leaf.subject) or next(iter(names), '?'))[:40]}"
    if message.content_type == ALERT:
        return message.name.lower()
    return message.name


def _arrow(arrow: _Arrow, inner: int, strokes: _Strokes) -> list[str]:
    """One flight: its labels wrapped, the head of the arrow on the first line."""
    stroke = strokes.protected if arrow.protected else strokes.clear
    to_server = arrow.sender == "client"
    # A label is wrapped as a whole: its own spaces do not break.
    flight = ", ".join(label.replace(" ", _NO_BREAK) for label in arrow.labels)
    lines = textwrap.wrap(flight, inner - 12, break_on_hyphens=False)
    drawn: list[str] = []
    for number, text in enumerate(line.replace(_NO_BREAK, " ") for line in lines):
        shaft = stroke * (inner - len(text) - 7) if number == 0 else " " * (inner - len(text) - 7)
        ends = stroke if number == 0 else " "
        if to_server:
            head = strokes.right if number == 0 else " "
            drawn.append(f" {ends * 2} {text} {shaft}{head} ")
        else:
            head = strokes.left if number == 0 else " "
            drawn.append(f" {head}{shaft} {text} {ends * 2} ")
    return [strokes.rail + line + strokes.rail for line in drawn]
