"""One failure, played for real, and what both ends made of it.

Our server on the one end of a TCP connection over loopback, our client on the other, and between
them, where the failure needs it, somebody on the path who alters, swallows or forges. Nothing is
simulated: both ends diagnose what really reached them, each by itself, and the two reports are
joined afterwards by ``ClientHello.random``.

Nothing depends on the clock either. Where patience must end, whoever makes the other side wait
ends it (`Path.end_patience`), so that a slow machine shows the same failure as a fast one.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeAlias

import trio

from mtls_echo_client.session import Session
from mtls_echo_pki.flaws.flaw import TLSVersion
from mtls_echo_server.access import Access
from mtls_echo_server.handlers import echo
from mtls_echo_tls.denial import denial_line
from mtls_echo_tls.diagnosis.diagnose import diagnose
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.diagnosis.joint import Account, join
from mtls_echo_tls.diagnosis.report import Report
from mtls_echo_tls.stream.tcp import TCPStream
from mtls_echo_tls.stream.tls import TLSStream
from mtls_echo_tls.trace.messages import Message

MESSAGE = b"hello\n"

# Seconds that a whole encounter may take: against a hang only, it decides nothing.
_DEADLINE = 20.0


@dataclass
class Path:
    """What lies between client and server, for whoever stands there.

    Attributes:
        client, server: The connections towards each end.
        established: Set when the client has seen its first echo.
    """

    client: TCPStream
    server: TCPStream
    established: trio.Event = field(default_factory=trio.Event)
    _waiting: list[trio.CancelScope] = field(default_factory=list[trio.CancelScope])

    def await_with(self, scope: trio.CancelScope) -> None:
        """Note what limits the patience of an end."""
        self._waiting.append(scope)

    def end_patience(self) -> None:
        """Let both ends' deadlines pass now."""
        for scope in self._waiting:
            scope.cancel()


Interference: TypeAlias = Callable[[Path], Awaitable[None]]
Stranger: TypeAlias = Callable[[TCPStream], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """Who meets whom.

    Attributes:
        client, server: Our ends' contexts, or somebody who does not speak TLS at all.
        reference: Whom the client asks for (RFC 9525 §4).
        access: Whom the server admits once it knows them.
        interference: What somebody on the path does; None: there is nobody.
    """

    client: ssl.SSLContext | Stranger
    server: ssl.SSLContext | Stranger
    reference: str = "localhost"
    access: Access = field(default_factory=Access)
    interference: Interference | None = None


@dataclass(frozen=True)
class Seen:
    """What one end reported and recorded."""

    report: Report
    messages: tuple[Message, ...]


@dataclass(frozen=True)
class Sighting:
    """What came of an encounter.

    Attributes:
        version: The TLS version that was played.
        client, server: What our ends saw; None for one that does not speak TLS.
        account: Both together; None when only one of them is ours.
    """

    version: TLSVersion
    client: Seen | None
    server: Seen | None
    account: Account | None

    @property
    def alert(self) -> str | None:
        """The alert that crossed the wire, by its RFC 8446 name."""
        for seen in (self.client, self.server):
            if seen is not None and seen.report.alert is not None:
                return seen.report.alert.name
        return None


def play(setting: Setting, version: TLSVersion) -> Sighting:
    """Let the two meet, and return what they saw.

    Raises:
        trio.TooSlowError: Somebody hangs, which is a bug.
    """
    client, server = trio.run(_meet, setting)
    account = None if client is None or server is None else join(client.report, server.report)
    return Sighting(version, client, server, account)


async def _meet(setting: Setting) -> tuple[Seen | None, Seen | None]:
    seen: dict[str, Seen | None] = {}
    client, toward_client = _tcp_pair()
    # With nobody on the path, what the client is connected to is the server.
    toward_server, server = _tcp_pair() if setting.interference else (client, toward_client)
    path = Path(toward_client, toward_server)

    async def be_client() -> None:
        seen["client"] = await _be_client(setting, client, path)

    async def be_server() -> None:
        seen["server"] = await _be_server(setting, server, path)

    with trio.fail_after(_DEADLINE):
        try:
            async with trio.open_nursery() as world:
                if setting.interference is not None:
                    world.start_soon(setting.interference, path)
                async with trio.open_nursery() as ends:
                    ends.start_soon(be_client)
                    ends.start_soon(be_server)
                world.cancel_scope.cancel()
        finally:
            for stream in (client, toward_client, toward_server, server):
                stream.close()
    return seen["client"], seen["server"]


async def _be_client(setting: Setting, tcp: TCPStream, path: Path) -> Seen | None:
    if not isinstance(setting.client, ssl.SSLContext):
        async with tcp:
            await setting.client(tcp)
        return None
    stream = TLSStream(tcp, setting.client, server_name=setting.reference, trace=True)

    async def part() -> None:
        await stream.do_handshake()
        session = Session(stream, timeout=_DEADLINE)
        await session.echo(MESSAGE)
        path.established.set()
        if setting.interference is not None:
            # Whoever waits for the handshake to be over has something to act on.
            await session.echo(MESSAGE)

    return await _take_part(stream, part, path)


async def _be_server(setting: Setting, tcp: TCPStream, path: Path) -> Seen | None:
    if not isinstance(setting.server, ssl.SSLContext):
        async with tcp:
            await setting.server(tcp)
        return None
    stream = TLSStream(tcp, setting.server, server_side=True, trace=True)

    async def part() -> None:
        await stream.do_handshake()
        # As `mtls_echo_server.service` does it: told in one line, and a clean close.
        denial = setting.access.denial(stream.peer)
        if denial is None:
            await echo(stream)
        else:
            stream.evidence.denied = denial
            await stream.send_all(denial_line(denial))

    return await _take_part(stream, part, path)


async def _take_part(stream: TLSStream, part: Callable[[], Awaitable[None]], path: Path) -> Seen:
    async with stream:
        try:
            with trio.CancelScope() as patience:
                path.await_with(patience)
                await part()
            if patience.cancelled_caught:
                stream.expire()
        except TLSFailure:
            pass  # the evidence has it all
        # Before the stream is closed, which waits for the other end to close too.
        return Seen(diagnose(stream.evidence), tuple(stream.evidence.recorder.messages))


def _tcp_pair() -> tuple[TCPStream, TCPStream]:
    """Two ends of a TCP connection over loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
    return TCPStream(one), TCPStream(other)
