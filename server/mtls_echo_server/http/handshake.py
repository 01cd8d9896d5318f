"""What a client is told of its own connection: the report, its ClientHello, its certificate.

The recorded messages are read here, on demand: of a connection that does not speak HTTP they are
forgotten unread. Everything is as bounded as a report is (`mtls_echo_tls.path.summaries`,
`mtls_echo_tls.trace.decoding`), and nothing is told of any other connection.
"""

from __future__ import annotations

import datetime
from typing import Any, cast

import msgspec

from mtls_echo_server.connection import Connection
from mtls_echo_tls.diagnosis.diagnose import diagnose
from mtls_echo_tls.diagnosis.report import Report
from mtls_echo_tls.trace.decoding import TraceEntry, entries

_DAY = datetime.timedelta(days=1)


class Handshake:
    """The handshake of an established connection, as the server saw it.

    Attributes:
        report: So far; its ``trace`` is None unless the server was to record each.
        messages: Of the handshake, decoded.
        hello: What the client offered: the fields of its first ClientHello.
        client: Its certificate; None if it presented none.
        chain: What it presented, DER.
    """

    def __init__(self, connection: Connection) -> None:
        self.report: Report = diagnose(connection.evidence)
        self.messages: list[TraceEntry] = entries(connection.evidence.recorder)
        hellos = (m.fields for m in self.messages if m.name == "ClientHello")
        self.hello: dict[str, Any] | None = next(hellos, None)
        self.chain: tuple[bytes, ...] = connection.evidence.peer_chain
        self.client = self._client()

    def _client(self) -> dict[str, Any] | None:
        peer = self.report.peer
        if peer is None:
            return None
        summary = cast("dict[str, Any]", msgspec.to_builtins(peer))
        return {**summary, "days_left": round(time_left(peer.not_after) / _DAY, 1)}

    def traced(self) -> Report:
        """The report with its messages, for a diagram."""
        return msgspec.structs.replace(self.report, trace=self.messages)

    def value(self) -> dict[str, Any]:
        """All of it but the messages, as JSON types."""
        report = cast("dict[str, Any]", msgspec.to_builtins(self.report))
        return {**report, "hello": self.hello, "client": self.client}


def time_left(not_after: str) -> datetime.timedelta:
    """How long until then, a time of RFC 3339; less than nothing when it has passed."""
    return datetime.datetime.fromisoformat(not_after) - datetime.datetime.now(datetime.UTC)
