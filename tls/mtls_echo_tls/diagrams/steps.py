"""The messages of a handshake, annotated with what they imply: which side has accepted or refused.

No message says "I have verified your certificate". That a side goes on after the other's
Certificate implies it, and that is the moment which mutual TLS is about. Both diagrams of a
handshake (`mtls_echo_tls.diagrams.overview`, `mtls_echo_tls.diagrams.full`) show it between the
messages.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mtls_echo_tls.diagnosis.report import Report
from mtls_echo_tls.sides import Side, peer_of
from mtls_echo_tls.trace.decoding import TraceEntry

_CERTIFICATES = ("Certificate", "CompressedCertificate")


def sender(entry: TraceEntry, report: Report) -> Side:
    """The side that sent a message, by its direction as seen from the reporting side."""
    return report.side if entry.direction == "sent" else peer_of(report.side)


def is_tls13(entries: Sequence[TraceEntry]) -> bool:
    """Whether the handshake was, or became, one of TLS 1.3."""
    return any(entry.fields.get("version") == "TLSv1.3" for entry in entries)


def annotated(entries: Sequence[TraceEntry], report: Report) -> Iterator[TraceEntry | str]:
    """The messages in order, with a remark before each that implies something.

    The report is of the side that recorded them.
    """
    tls13 = is_tls13(entries)
    presented: set[Side] = set()
    accepted: set[Side] = set()
    finished = report.outcome != "echoed"
    for entry in entries:
        side = sender(entry, report)
        other = peer_of(side)
        if entry.name == "Alert":
            closing = entry.fields.get("description") == "close_notify"
            if closing and not finished:
                finished = True
                yield from _success(presented - accepted)
            elif report.rejected_by == side and not closing:
                yield f"the {side} refuses: {_few(report.causes)}"
        elif other in presented - accepted and not (tls13 and entry.name == "ChangeCipherSpec"):
            # It went on after the other's certificate, so it has verified and accepted it. (In
            # TLS 1.3 ChangeCipherSpec has no meaning, RFC 8446 §D.4.)
            accepted.add(other)
            yield _accepted(other)
        if entry.name in _CERTIFICATES and entry.fields.get("certificates"):
            presented.add(side)
        yield entry
    if not finished:
        yield from _success(presented - accepted)


def _few(causes: Sequence[str]) -> str:
    """At most two slugs: a remark is one line."""
    few = causes if len(causes) <= 2 else (causes[0], f"one of {len(causes) - 1} others")
    return ", or ".join(few)


def _success(pending: set[Side]) -> Iterator[str]:
    yield from (_accepted(side) for side in sorted(pending))
    yield "both send application data"


def _accepted(side: Side) -> str:
    return f"the {peer_of(side)} verifies the {side}'s certificate: accepted"
