"""Sessions with an echo server: proved by the first echo, not by the handshake.

In TLS 1.3 the server verifies the client's certificate after the client is done (RFC 8446 §2), so
a client about to be refused has "connected" too; and a server may know who we are and still deny
us. Nothing here is called a success before bytes of ours have come back, each of them compared.

An echo server that cannot get rid of echoes stops reading. A client that only sends until it is
done then waits for the server, which waits for the client: both directions run at once, and what
is in flight is bounded (`EchoQueue`). A deadline runs while echoes are due and is re-armed by each
arrival: it limits silence, not the length of a conversation.
"""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, Protocol

import trio

from mtls_echo_client.dial import Prologue, open_tcp, speak
from mtls_echo_client.echo_queue import PIECE, EchoQueue
from mtls_echo_tls.address import Address, reference_identifier
from mtls_echo_tls.answers.answer import heard
from mtls_echo_tls.denial import DENIAL
from mtls_echo_tls.diagnosis.context_info import context_info
from mtls_echo_tls.diagnosis.diagnose import diagnose
from mtls_echo_tls.diagnosis.evidence import Evidence
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.diagnosis.report import Report
from mtls_echo_tls.path.certificates import PeerIdentity
from mtls_echo_tls.stream.tcp import Exclusive, TCPStream
from mtls_echo_tls.stream.tls import TLSStream

if TYPE_CHECKING:
    import ssl

# The longest denial line (`mtls_echo_tls.denial`).
_HEAD = 512


class Layer(Protocol):
    """Makes a TLS connection on one of TCP."""

    def __call__(
        self, transport: TCPStream, context: ssl.SSLContext, /, *, server_name: str
    ) -> TLSStream:
        """As `TLSStream`."""
        ...


Source = Callable[[], Awaitable[bytes]]
Sink = Callable[[bytes], Awaitable[object]]


async def connect(
    host: str,
    port: int,
    context: ssl.SSLContext,
    *,
    server_name: str | None = None,
    timeout: float = 10.0,  # noqa: ASYNC109  it goes on to limit each echo
    trace: bool = False,
    prologue: Prologue | None = None,
    layer: Layer | None = None,
) -> Session:
    """Connect and complete the handshake.

    Use it as ``async with await connect(...) as session:``. The server is authenticated then;
    whether it accepts us, the first echo shows.

    Args:
        host, port: A host name or an IP address, and the TCP port.
        context: From `client_context`.
        server_name: The reference identifier (RFC 9525 §4) and SNI, if not ``host``.
        timeout: Seconds for connecting and the handshake together; afterwards, the longest
            silence while echoes are due.
        trace: Keep the handshake's messages: the report has them as ``trace``.
        prologue: What a protocol says in the clear before TLS begins (STARTTLS).
        layer: Makes the TLS connection on that of TCP, if it is to be an odd one.

    Raises:
        TLSFailure: There was no TCP connection, the handshake failed, or time ran out.
        ValueError: The name to verify is neither a host name nor an IP address.
    """
    name = reference_identifier(server_name or host)
    deadline = trio.current_time() + timeout
    evidence = Evidence("client", name, context_info=context_info(context))
    evidence.recorder.requested = trace
    transport = await open_tcp(Address(host, port), evidence, deadline)
    if prologue is not None:
        await speak(prologue, transport, evidence, deadline)
    make: Layer = layer or partial(TLSStream, trace=trace)
    stream = make(transport, context, server_name=name)
    try:
        with trio.CancelScope(deadline=deadline) as scope:
            await stream.do_handshake()
        if scope.cancelled_caught:
            raise stream.expire()
    except BaseException:
        # Lingers after a refusal of ours, so that the server can read the alert.
        await stream.aclose()
        raise
    return Session(stream, timeout=timeout)


class Session:
    """A handshaken connection to an echo server; from `connect`.

    Args:
        stream: The TLS connection, owned by this object from now on.
        timeout: The longest silence, in seconds, while echoes or an answer are due.

    Attributes:
        stream: The TLS connection.
    """

    def __init__(self, stream: TLSStream, *, timeout: float = 10.0) -> None:
        self.stream = stream
        self._timeout = timeout
        self._due = EchoQueue()
        self._head: bytes = b""  # the first bytes received: a denial line has no other place
        self._answer = b""  # received, and not given out: it may become a denial line
        self._input_ended = False
        self._receiving = trio.CancelScope()
        self._diagnosed: tuple[tuple[Evidence, int], Report] | None = None
        self._busy = Exclusive("another task is echoing or receiving on this session")

    @property
    def evidence(self) -> Evidence:
        """What is known of the connection so far."""
        return self.stream.evidence

    @property
    def report(self) -> Report:
        """What it means; diagnosed again only when more is known than before."""
        known = copy.copy(self.evidence), len(self.evidence.recorder.messages)
        if self._diagnosed is None or self._diagnosed[0] != known:
            self._diagnosed = known, diagnose(self.evidence)
        return self._diagnosed[1]

    @property
    def echoed(self) -> int:
        """How many bytes have come back, verified."""
        return self._due.echoed

    @property
    def peer(self) -> PeerIdentity | None:
        """Who the server proved to be."""
        return self.stream.peer

    async def __aenter__(self) -> Session:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None or isinstance(error, Exception):
            await self.aclose()
        else:
            # Ctrl-C or a cancellation: no waiting for the server's close_notify.
            await trio.aclose_forcefully(self.stream)

    async def aclose(self) -> None:
        """See `TLSStream.aclose`."""
        await self.stream.aclose()

    async def echo(self, data: bytes) -> None:
        """Send ``data`` and return when the same bytes have come back.

        Raises:
            TLSFailure: They did not; see `echo_all`.
            ValueError: ``data`` is empty, and would prove nothing.
        """
        if not data:
            raise ValueError("an empty echo proves nothing")
        remaining = [data]

        async def source() -> bytes:
            return remaining.pop() if remaining else b""

        async def sink(_: bytes) -> None:
            pass

        await self.echo_all(source, sink)

    async def echo_all(self, source: Source, sink: Sink) -> None:
        """Send all that ``source`` yields, many pieces in flight, and verify each echo.

        Returns when the source has ended and its last byte has come back; an empty source proves
        nothing (`echoed` is 0).

        Args:
            source: Returns the next bytes to send, ``b""`` at the end. Pieces need not be lines;
                it may wait as long as it likes.
            sink: Is given what has come back, verified, in order. While it takes its time the
                server waits, and no deadline runs.

        Raises:
            TLSFailure: The server refused or denied us, altered an echo, ended the connection
                before everything had come back, or was silent for too long while echoes were due.
            trio.BusyResourceError: Another task is echoing: whose bytes came back?
            trio.ClosedResourceError: The session was closed.
            Exception: Whatever ``source`` or ``sink`` raised.
        """
        errors: list[Exception] = []

        async def either(task: Callable[[], Awaitable[None]]) -> None:
            # The first error ends both directions and is raised as itself, not in a group; what
            # the other one then finds is a consequence of it.
            try:
                await task()
            except Exception as error:
                errors.append(error)
                nursery.cancel_scope.cancel()

        with self._busy:
            self._input_ended = False
            async with trio.open_nursery() as nursery:
                nursery.start_soon(either, lambda: self._send(source))
                await either(lambda: self._receive(sink))
        if errors:
            self._look_for_last_words()
            raise errors[0]

    async def send(self, data: bytes) -> None:
        """Send ``data`` to a server that answers something else than an echo; see `receive`.

        Raises:
            TLSFailure: The server refused or denied us, or the connection failed.
        """
        try:
            await self.stream.send_all(data)
        except TLSFailure:
            self._look_for_last_words()
            raise

    async def receive(self) -> bytes:
        """Receive the next bytes of an answer.

        A line that denies us, or a close, is not taken for an answer or the end of one.

        Returns:
            At least one byte: TLS keeps no message boundaries.

        Raises:
            TLSFailure: The server refused or denied us, closed the connection, or was silent
                for too long.
            trio.BusyResourceError, trio.ClosedResourceError: As for `echo_all`.
        """
        ended = False
        with self._busy:
            with trio.move_on_after(self._timeout) as scope:
                while not ended and (not self._answer or self._may_be_denial()):
                    try:
                        data = await self.stream.receive_some()
                    except TLSFailure:
                        self._look_for_last_words()
                        raise
                    self._answer += data
                    ended = not data
            if scope.cancelled_caught:
                raise self.stream.expire()
            answer, self._answer = self._answer, b""
        if not self._head:
            self.evidence.read_denial(answer)
        if self.evidence.denied is None and answer:
            self._keep_head(answer)
            return answer
        if self.evidence.denied is None and not self._unheard:
            self.evidence.close_early(f"before {'more' if self._head else 'any'} answer had come")
        raise TLSFailure(self.evidence)

    def _may_be_denial(self) -> bool:
        """Whether what has come of the answer may be the beginning of a denial line."""
        answer = self._answer
        return (
            not self._head
            and answer[: len(DENIAL)] == DENIAL[: len(answer)]
            and len(answer) < _HEAD
            and not answer.endswith(b"\n")
        )

    async def _send(self, source: Source) -> None:
        while piece := await source():
            for start in range(0, len(piece), PIECE):
                part = piece[start : start + PIECE]
                await self._due.wait_for_room(part)
                # Queued before it is sent: its echo may be here before send_all() returns.
                if not self._due:
                    self._receiving.deadline = trio.current_time() + self._timeout
                self._due.put(part)
                await self.stream.send_all(part)
        self._input_ended = True
        if not self._due:
            self._receiving.cancel()

    async def _receive(self, sink: Sink) -> None:
        while not (self._input_ended and not self._due):
            deadline = trio.current_time() + self._timeout if self._due else float("inf")
            data: bytes | None = None
            with trio.CancelScope(deadline=deadline) as self._receiving:
                data = await self.stream.receive_some()
            if data is None:
                if self._input_ended and not self._due:
                    return
                raise self.stream.expire()
            self._keep_head(data)
            if not data or not self._due.take(data):
                await self._reject(data)
            await sink(data)

    async def _reject(self, data: bytes) -> NoReturn:
        """Say what came in place of the echo: a denial, the end, or other bytes."""
        if self._head and self._head[: len(DENIAL)] == DENIAL[: len(self._head)]:
            with trio.move_on_after(self._timeout):
                await self._complete_head()
            self.evidence.read_denial(self._head)
        answer = heard(data) if not self.echoed else None
        if self.evidence.denied is None:
            if answer is not None:
                self.evidence.hear(answer)
            elif data:
                self.evidence.mismatch(self._due.difference(data))
            elif not self._unheard:
                self.evidence.close_early(self._due.state())
        raise TLSFailure(self.evidence)

    @property
    def _unheard(self) -> bool:
        # A close_notify where TLS 1.3 owed us a verdict is evidence enough by itself.
        return self.evidence.stage == "first-read"

    async def _complete_head(self) -> None:
        while len(self._head) < _HEAD and not self._head.endswith(b"\n"):
            data = await self.stream.receive_some()
            if not data:
                return
            self._keep_head(data)

    def _look_for_last_words(self) -> None:
        """A server that denies us may close while we are still sending: its line is found then."""
        if self.evidence.late_data:
            self.evidence.read_denial(self._head + self.evidence.late_data)

    def _keep_head(self, data: bytes) -> None:
        self._head += data[: _HEAD - len(self._head)]
