"""Play one failure: connect our client and our server, and return both reports.

The two are the ends of a TCP connection over loopback; where the failure needs it, a middlebox
between them alters, drops or forges data. Nothing is simulated: each end diagnoses what it really
received, by itself, and the two reports are joined afterwards by ``ClientHello.random``.

Nothing depends on the clock. Where a deadline must pass, the middlebox that keeps an end waiting
ends it (`TCPPath.cut_deadlines`), so that a slow machine shows the same failure as a fast one.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import trio

from mtls_echo.vocabulary import COMMAND_LINE
from mtls_echo_client.session import Session
from mtls_echo_pki.flaws.flaw import TLSVersion
from mtls_echo_server.access import Access
from mtls_echo_server.handlers import echo
from mtls_echo_tls.denial import denial_line
from mtls_echo_tls.diagnosis.context_info import with_vocabulary
from mtls_echo_tls.diagnosis.diagnose import diagnose
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.diagnosis.joint import JointReport, join_reports
from mtls_echo_tls.diagnosis.report import Report
from mtls_echo_tls.stream.tcp import TCPStream
from mtls_echo_tls.stream.tls import TLSStream
from mtls_echo_tls.trace.messages import Message

MESSAGE = b"hello\n"

# Seconds for one failure, against a hang only: no result depends on it.
_DEADLINE = 20.0


@dataclass
class TCPPath:
    """The two TCP connections of a middlebox, one to each end."""

    client: TCPStream
    server: TCPStream
    # Set when the client has seen its first echo.
    established: trio.Event = field(default_factory=trio.Event)
    _deadlines: list[trio.CancelScope] = field(default_factory=list[trio.CancelScope])

    def add_deadline(self, scope: trio.CancelScope) -> None:
        """Register the scope in which an end waits."""
        self._deadlines.append(scope)

    def cut_deadlines(self) -> None:
        """Make both ends' deadlines pass now."""
        for scope in self._deadlines:
            scope.cancel()


Middlebox: TypeAlias = Callable[[TCPPath], Awaitable[None]]
PlainPeer: TypeAlias = Callable[[TCPStream], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Setup:
    """The two ends of a connection, and what is between them.

    Attributes:
        client, server: The contexts of our ends, or a peer that does not speak TLS.
        reference: The client's reference identifier (RFC 9525 §4).
        access: Which authenticated clients the server admits.
        middlebox: What alters the connection; None: nothing does.
    """

    client: ssl.SSLContext | PlainPeer
    server: ssl.SSLContext | PlainPeer
    reference: str = "localhost"
    access: Access = field(default_factory=Access)
    middlebox: Middlebox | None = None


@dataclass(frozen=True)
class EndResult:
    """What one end reported and recorded."""

    report: Report
    messages: tuple[Message, ...]


@dataclass(frozen=True)
class PlayedFailure:
    """The result of one failure in one version of TLS.

    Attributes:
        client, server: None for a peer that does not speak TLS.
        account: Both reports joined; None when only one of the ends is ours.
    """

    version: TLSVersion
    client: EndResult | None
    server: EndResult | None
    account: JointReport | None

    @property
    def reports(self) -> tuple[Report | None, Report | None]:
        """The client's report and the server's."""
        client, server = (end.report if end else None for end in (self.client, self.server))
        return client, server

    @property
    def alert(self) -> str | None:
        """The alert that crossed the wire, by its RFC 8446 name."""
        alerts = (each.alert for each in self.reports if each is not None)
        return next((alert.name for alert in alerts if alert is not None), None)


def play(setup: Setup, version: TLSVersion) -> PlayedFailure:
    """Connect the two ends, and return their results.

    Raises:
        trio.TooSlowError: An end hangs, which is a bug.
    """
    client, server = trio.run(_connect, setup)
    account = None
    if client is not None and server is not None:
        account = join_reports(client.report, server.report, vocabulary=COMMAND_LINE)
    return PlayedFailure(version, client, server, account)


async def _connect(setup: Setup) -> tuple[EndResult | None, EndResult | None]:
    results: dict[str, EndResult | None] = {}
    client, to_client = _tcp_pair()
    # Without a middlebox the client is connected to the server itself.
    to_server, server = _tcp_pair() if setup.middlebox else (client, to_client)
    path = TCPPath(to_client, to_server)

    async def talk(stream: TLSStream) -> None:
        session = Session(stream, timeout=_DEADLINE)
        await session.echo(MESSAGE)
        path.established.set()
        if setup.middlebox is not None:
            # More data, for a middlebox that waits for the end of the handshake.
            await session.echo(MESSAGE)

    async def answer(stream: TLSStream) -> None:
        # As in `mtls_echo_server.service`: a line that says why, and a clean close.
        denial = setup.access.denial(stream.peer)
        if denial is None:
            await echo(stream)
        else:
            stream.evidence.deny(denial)
            await stream.send_all(denial_line(denial))

    async def run_client() -> None:
        name = setup.reference
        results["client"] = await _run_end(setup.client, client, path, talk, server_name=name)

    async def run_server() -> None:
        results["server"] = await _run_end(setup.server, server, path, answer)

    with trio.fail_after(_DEADLINE):
        try:
            async with trio.open_nursery() as nursery:
                if setup.middlebox is not None:
                    nursery.start_soon(setup.middlebox, path)
                async with trio.open_nursery() as ends:
                    ends.start_soon(run_client)
                    ends.start_soon(run_server)
                nursery.cancel_scope.cancel()
        finally:
            for stream in (client, to_client, to_server, server):
                stream.close()
    return results["client"], results["server"]


async def _run_end(
    end: ssl.SSLContext | PlainPeer,
    tcp: TCPStream,
    path: TCPPath,
    talk: Callable[[TLSStream], Awaitable[None]],
    *,
    server_name: str | None = None,
) -> EndResult | None:
    """Run the server, or with a ``server_name`` the client."""
    if not isinstance(end, ssl.SSLContext):
        async with tcp:
            await end(tcp)
        return None
    context, is_server = with_vocabulary(end, COMMAND_LINE), server_name is None
    stream = TLSStream(tcp, context, server_name=server_name, server_side=is_server, trace=True)
    async with stream:
        try:
            with trio.CancelScope() as deadline:
                path.add_deadline(deadline)
                await stream.do_handshake()
                await talk(stream)
            if deadline.cancelled_caught:
                stream.expire()
        except TLSFailure:
            pass  # the evidence has it all
        # Before the stream is closed, since that waits for the other end to close too.
        return EndResult(diagnose(stream.evidence), tuple(stream.evidence.recorder.messages))


def _tcp_pair() -> tuple[TCPStream, TCPStream]:
    """Two ends of a TCP connection over loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
    return TCPStream(one), TCPStream(other)
