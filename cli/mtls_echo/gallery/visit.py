"""A visit: one connection to an exhibit, and what the server saw of it.

Whether a client refused is for the server to say: a client may print an error and have sent its
request all the same, and an exit status proves nothing. So a visit keeps whether the handshake was
completed, and how much application data came.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import trio

from mtls_echo_tls.diagnosis.diagnose import diagnose
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.stream.tls import TLSStream

if TYPE_CHECKING:
    import ssl

    from mtls_echo.gallery.exhibit import Exhibit
    from mtls_echo_tls.diagnosis.report import Report
    from mtls_echo_tls.stream.tcp import TCPStream


class ExhibitStream(TLSStream):
    """The server's end of a TLS connection whose first record has been read already."""

    __slots__ = ()

    def begin(self, record: bytes) -> None:
        """Take the first record, before the handshake."""
        self.evidence.keep_first_bytes(record)
        self._records.feed(record)


@dataclass
class Visit:
    """One connection, and what becomes of it.

    Args:
        exhibit: What the client asked for.
        context: The exhibit's TLS configuration.
        transport: The connection, whose first record has been read.
        first: That record: the ClientHello, or what else the client sent.
        hold: For how long, in seconds, an exhibit keeps a client waiting that does so.
        server_name: As the client sent it (SNI).
        domain: Below which the exhibits have their names.
    """

    exhibit: Exhibit
    context: ssl.SSLContext
    transport: TCPStream
    first: bytes
    hold: float
    server_name: str | None = None
    domain: str = ""
    stream: ExhibitStream | None = field(default=None, init=False)
    established: bool = field(default=False, init=False)

    async def handshake(self, transport: trio.abc.HalfCloseableStream | None = None) -> TLSStream:
        """Complete the handshake.

        Raises:
            TLSFailure: The client refused us, or left.
        """
        self.stream = ExhibitStream(transport or self.transport, self.context, server_side=True)
        self.stream.begin(self.first)
        await self.stream.do_handshake()
        self.established = True
        return self.stream

    @property
    def received(self) -> int:
        """How many bytes of application data the client has sent."""
        return self.stream.received if self.stream is not None else 0

    @property
    def report(self) -> Report | None:
        """The server's report; None where it never spoke TLS."""
        return diagnose(self.stream.evidence) if self.stream is not None else None

    @property
    def line(self) -> str:
        """What happened, in one line; it may quote what the client sent."""
        report = self.report
        if report is None:
            return f"{self.exhibit.slug}: {self.exhibit.title}"
        if self.received:
            return f"{self.exhibit.slug}: accepted, {self.received} bytes came"
        if self.established:
            return f"{self.exhibit.slug}: the client left after the handshake, and sent nothing"
        alert = report.alert
        if alert is not None and alert.direction == "received":
            return f"{self.exhibit.slug}: the client refused, {alert.name} ({alert.code})"
        if report.rejected_by == "server":
            return f"{self.exhibit.slug}: we refused the client, {report.causes[0]}"
        return f"{self.exhibit.slug}: the client left during the handshake"

    @property
    def fields(self) -> dict[str, Any]:
        """For programs; JSON types."""
        return {
            "exhibit": self.exhibit.slug,
            "server_name": self.server_name,
            "established": self.established,
            "bytes_received": self.received,
            "report": self.report,
        }

    async def run(self) -> None:
        """Let the exhibit behave as it does; what goes wrong is in the report."""
        try:
            await self.exhibit.behave(self)
        except (TLSFailure, trio.BrokenResourceError):
            pass
        finally:
            await self._close()

    async def _close(self) -> None:
        if self.stream is not None and self.transport.is_open:
            await self.stream.aclose()
        self.transport.close()
