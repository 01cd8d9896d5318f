"""Draw a handshake in full: one arrow per message, with its time, its size and its fields.

A double line is encrypted, a single one can be read on the path. The diagram is made from a
report, so one that was logged as JSON can be drawn later, on either side.

Parts of it are untrusted (names in a certificate, protocols, CAs). Characters that would move the
cursor, or are not exactly one column wide, are written as numbers; and no line is longer than the
given width.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any, cast

from mtls_echo_tls.diagnosis.report import Report
from mtls_echo_tls.diagrams.columns import one_column_each
from mtls_echo_tls.diagrams.overview import ASCII, UNICODE, Glyphs
from mtls_echo_tls.diagrams.steps import annotated, is_tls13, sender
from mtls_echo_tls.trace.decoding import TraceEntry

WIDTH = 80
NARROWEST = 60

_TIME = 9  # columns: "123456.7 "
_LABEL = 12  # columns: "certificate", the longest, and a gap
MOST_LINES = 3  # of one field: the first few names of a list are enough
_ROOM = 80  # characters of a list, so that it has no more lines than that
_ASIDE = 4  # columns by which a server's fields are further to the right

# The labels of fields whose names in the report are too long, or abbreviations.
_LABELS = {
    "alpn": "protocol", "cipher_suite": "suite", "cipher_suites": "suites",
    "server_name": "server name", "key_shares": "key for", "signature_algorithm": "signature",
    "signature_algorithms": "signatures", "resumption": "to resume", "early_data": "early data",
    "renegotiation": "renegotiate", "update_requested": "requested", "description": "alert",
}  # fmt: skip

# Fields of the report that a diagram has no room for.
_NOT_DRAWN = frozenset({
    "certificate_types", "certificate_compression", "uncompressed_size", "ticket_size",
    "code", "messages",
})  # fmt: skip


def sequence(report: Report, *, width: int = WIDTH, ascii_only: bool = False) -> list[str]:
    """The lines of the diagram, client on the left, each at most ``width`` (60 or more) columns.

    Without a trace there is nothing to draw.
    """
    entries = report.trace or []
    if not entries:
        return []
    glyphs = ASCII if ascii_only else UNICODE
    inner = width - _TIME - 2
    tls13 = is_tls13(entries)
    lines = [f"{'ms':>{_TIME - 1}} client{'server'.rjust(width - _TIME - len('client'))}"]
    for step in annotated(entries, report):
        if isinstance(step, str):
            for text in textwrap.wrap(f"* {step} *", inner - 2, break_on_hyphens=False):
                remark = text.center(inner)
                lines.append(" " * _TIME + glyphs.border + remark + glyphs.border)
        else:
            to_server = sender(step, report) == "client"
            lines.append(_arrow(step, to_server, inner, glyphs))
            shift = 4 if to_server else 4 + _ASIDE
            for text in _details(step, shift, inner - 1, tls13=tls13, ascii_only=ascii_only):
                lines.append(" " * _TIME + glyphs.border + text.ljust(inner) + glyphs.border)
    clear, protected = glyphs.clear * 2, glyphs.protected * 2
    lines.append(f"{'':{_TIME}}{clear} readable on the path  {protected} encrypted")
    return [one_column_each(line, ascii_only=ascii_only) for line in lines]


def _arrow(entry: TraceEntry, to_server: bool, inner: int, glyphs: Glyphs) -> str:
    stroke = glyphs.protected if entry.protected else glyphs.clear
    size = f" {entry.size} byte{'' if entry.size == 1 else 's'} "
    name = f" {entry.name} "
    shaft = stroke * (inner - len(name) - len(size) - 6)
    if to_server:
        body = f"{stroke * 2}{name}{shaft}{size}{stroke * 3}{glyphs.right}"
    else:
        body = f"{glyphs.left}{stroke * 3}{size}{shaft}{name}{stroke * 2}"
    return f"{entry.time_ms:>{_TIME - 1}.1f} {glyphs.border}{body}{glyphs.border}"


def _details(
    entry: TraceEntry, shift: int, width: int, *, tls13: bool, ascii_only: bool
) -> Iterator[str]:
    """The fields of a message, as lines of at most ``width`` columns.

    A word that has no room beside its label, such as a cipher suite's name, is below it.
    """
    for label, value in facts(entry, tls13=tls13):
        text = one_column_each(value, ascii_only=ascii_only)
        column = shift + (_LABEL if label else 0)
        longest = max(map(len, text.split()), default=0)
        start = max(1, min(column, width - longest))
        lines = textwrap.wrap(
            text, width - start, break_on_hyphens=False, max_lines=MOST_LINES
        ) or [""]
        beside = " " * shift + label
        if start < column and label:
            yield beside
        else:
            yield beside.ljust(start) + lines.pop(0)
        yield from (" " * start + line for line in lines)


def facts(entry: TraceEntry, *, tls13: bool) -> Iterator[tuple[str, str]]:
    """The fields of a message that a reader wants to see, each a label and a text."""
    fields = entry.fields
    if entry.name == "left out":
        yield "messages", f"{fields['messages']} more, too many to keep"
    if entry.name == "ChangeCipherSpec":
        yield "", ("no meaning: for middleboxes only" if tls13 else "from here on I encrypt")
    if entry.name == "HelloRetryRequest":
        yield "", "say hello again, with a key for this group"
    for key, value in fields.items():
        label = _LABELS.get(key, key.replace("_", " "))
        if key == "certificates":
            yield from _certificates(value)
        elif key == "authorities":
            yield "issued by", _listed(value) if value else "any CA"
        elif key == "lifetime":
            yield label, f"{value} seconds"
        elif key == "description":
            yield label, f"{value} ({fields['code']})"
        elif key == "resumption":
            yield label, f"an earlier session, by {' or '.join(value)}"
        elif key == "resumed":
            yield label, "yes: the earlier session's certificates count, none is sent"
        elif key not in _NOT_DRAWN:
            yield label, _text(value)


def _certificates(chain: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    if not chain:
        yield "certificate", "none: it presents no certificate"
    for number, summary in enumerate(chain):
        if "unreadable" in summary:
            yield "certificate", f"unreadable, {summary['unreadable']} bytes"
            continue
        subject, names = summary["subject"], ", ".join(summary["names"])
        yield ("certificate" if number == 0 else "issuer's"), subject or "(no subject, only names)"
        if names:
            yield "  names", names
        yield "  issued by", summary["issuer"]
        yield (
            "  valid",
            f"{_moment(summary['not_before'])} to {_moment(summary['not_after'])} UTC",
        )


def _moment(stamp: str) -> str:
    return stamp[:16].replace("T", " ")


def _text(value: object) -> str:
    if isinstance(value, list):
        return _listed(cast("list[str]", value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _listed(names: list[str]) -> str:
    """The first names of a list, and how many more there are."""
    shown: list[str] = []
    room = _ROOM
    for name in names:
        room -= len(name) + 2
        if room < 0 and shown:
            break
        shown.append(name)
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
