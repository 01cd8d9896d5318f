"""A server: accept, authenticate, authorise, serve, stop; one client never harms another.

* **An unauthenticated client has a deadline, and a slot of its own.** It has ``handshake_timeout``
  seconds in all, however slowly it trickles bytes; and however many such connections there are,
  they take no place from an authenticated client (`mtls_echo_server.pending`).
* **An authenticated client has an idle deadline**, reset each time the handler waits for data. One
  scope per connection, moved: a new one around each receive costs 27 to 60 % of the throughput.
* **A bug in a handler ends its own connection**, is logged, and goes no further.

**Stopping** is the same for one connection (``max_connection_age``) and for all (`Server.stop`): a
connection *retires*. An echo has no end of a request at which to close, so silence takes its
place: a connection on which nothing has arrived for a second (`QUIET`, in `connection`) has
nothing in flight and gets its close_notify. One that has been idle is closed at once, a busy one
goes on until it pauses or closes, and what is still open when ``grace_period`` has passed is cut
off. A handshake has nothing to finish: it does not delay a stop.

**A refusal after the handshake is not an alert.** An authenticated client that is not authorised
gets one line of application data (`mtls_echo_tls.denial`) and a clean close. A client that speaks
HTTP to this port gets an answer in HTTP, since no browser could show an alert.
"""

from __future__ import annotations

import contextlib
import math
import os
import socket
import ssl
import time
import traceback
from collections.abc import Sequence
from typing import NamedTuple

import trio

from mtls_echo_server import events as _events
from mtls_echo_server.accepting import Acceptor
from mtls_echo_server.access import Access
from mtls_echo_server.admission import Admission, ContextSource
from mtls_echo_server.connection import Connection, Limits, first_record
from mtls_echo_server.events import Ended, Events
from mtls_echo_server.handlers import Denier, Handler, echo, say_denied
from mtls_echo_server.listeners import listen
from mtls_echo_server.log import EventLog
from mtls_echo_server.pending import PendingConnections, Slot, unbegun
from mtls_echo_tls.address import Address
from mtls_echo_tls.diagnosis.diagnose import diagnose
from mtls_echo_tls.diagnosis.evidence import Evidence
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.sides import TransportEnd
from mtls_echo_tls.stream.delivery import CLOSE_TIMEOUT
from mtls_echo_tls.stream.hub import Hub, open_hub
from mtls_echo_tls.stream.tcp import TCPStream


class Stopped(NamedTuple):
    """How many of the clients that were served when a server began to stop finished or did not."""

    drained: int
    aborted: int


class Server:
    """Accepts, authenticates, authorises and serves, until it is stopped.

    Args:
        context: From `server_context`; or a function that returns the current one, so that keys
            and trust can change while serving (`mtls_echo_tls.material.reloader.Reloader`). It is
            called when a client's first record has arrived, and again before the client is served.
        handler: Serves one authenticated client. It may raise `TLSFailure`, which ends the
            connection; anything else is a bug, logged. It does not close the stream: when it
            returns, or its time is over, the service does, with close_notify.
        access, limits: Which authenticated clients are served, how long and how many.
        events: Called with every event. None: a line of text each on standard error, so that a
            refusal is never silent.
        trace: Record each connection's handshake, for its report.
        deny: Tells an authenticated client why it is not authorised.
        keep_recording: Leave it to the handler when the messages of a handshake are forgotten.
    """

    def __init__(
        self,
        context: ssl.SSLContext | ContextSource,
        handler: Handler = echo,
        *,
        access: Access | None = None,
        limits: Limits | None = None,
        events: Events | None = None,
        trace: bool = False,
        deny: Denier = say_denied,
        keep_recording: bool = False,
    ) -> None:
        self._context: ContextSource = (
            (lambda: context) if isinstance(context, ssl.SSLContext) else context
        )
        self._handler = handler
        self._admission = Admission(access or Access())
        self._limits = limits or Limits()
        self._log: EventLog | None = None
        if events is None:
            events = self._log = EventLog()
        self._events: Events = events
        self._trace = trace
        self._say_denied = deny
        self._keep_recording = keep_recording
        self._capacity = trio.Semaphore(self._limits.max_connections)
        self._pending = PendingConnections(
            self._limits.max_pending, self._limits.max_pending_per_network
        )
        self._open: set[Connection] = set()
        self._departures = trio.lowlevel.ParkingLot()
        self._stop = trio.Event()
        self._tasks: trio.Nursery | None = None
        self._aborted = 0
        self._hub: Hub | None = None

    async def run(
        self,
        sockets: Sequence[socket.socket],
        *,
        task_status: trio.TaskStatus[list[Address]] = trio.TASK_STATUS_IGNORED,
    ) -> Stopped:
        """Serve until `stop`; cancelled, cut off every connection at once.

        The listening sockets (`mtls_echo_server.listeners.listen`) are closed when this returns.
        It has started, with their addresses, when clients may connect.
        """
        open_at_stop = 0
        try:
            addresses = [self._announce(sock) for sock in sockets]
            async with open_hub() as self._hub, trio.open_nursery() as self._tasks:
                acceptor = Acceptor(
                    self._pending, self._capacity, self._limits, self._events, self._attend
                )
                async with trio.open_nursery() as accepting:
                    accepting.start_soon(self._pending.expire)
                    for sock in sockets:
                        accepting.start_soon(acceptor.run, sock, self._tasks)
                    if self._log is not None:
                        accepting.start_soon(self._log.run)
                    task_status.started(addresses)
                    await self._stop.wait()
                    accepting.cancel_scope.cancel()
                for sock in sockets:
                    sock.close()
                cut_off_at = trio.current_time() + self._limits.grace_period
                self._pending.cancel_all()
                open_at_stop = len(self._open)
                self._events(_events.stopping(open_at_stop, self._limits.grace_period))
                await self._retire()
                self._tasks.cancel_scope.deadline = cut_off_at
        finally:
            for sock in sockets:
                sock.close()
            stopped = Stopped(max(open_at_stop - self._aborted, 0), self._aborted)
            self._events(_events.stopped(*stopped))
        return stopped

    def stop(self) -> None:
        """Stop accepting, and let open connections finish; called again, cut them off."""
        if self._stop.is_set() and self._tasks is not None:
            self._tasks.cancel_scope.cancel()
        self._stop.set()

    @property
    def connections(self) -> int:
        """How many clients are being served."""
        return len(self._open)

    async def _retire(self) -> None:
        """Retire every connection, and wait until the idle ones have their close_notify.

        Or with a grace period of 0 they would be cut off in place of being closed.
        """
        idle = {connection for connection in self._open if connection.retire()}
        with trio.move_on_after(CLOSE_TIMEOUT):
            while idle & self._open:
                await self._departures.park()

    def _announce(self, sock: socket.socket) -> Address:
        host, port = sock.getsockname()[:2]
        client_auth = self._context().verify_mode.name.removeprefix("CERT_").lower()
        self._events(_events.listening(host, port, client_auth=client_auth, pid=os.getpid()))
        return Address(host, port)

    # --- one connection --------------------------------------------------------------------------

    async def _attend(self, sock: socket.socket, slot: Slot, where: str) -> None:
        """Serve one client; what goes wrong goes no further than an event."""
        try:
            await self._serve(TCPStream(sock), slot, where)
        except* Exception as bugs:
            text = "".join(traceback.format_exception(bugs))
            self._events(_events.error(where, _events.innermost(bugs), text))
        finally:
            sock.close()
            self._pending.remove(slot)

    async def _serve(self, transport: TCPStream, slot: Slot, where: str) -> None:
        connection: Connection | None = None
        ended: Ended | None = None
        begun = bytearray()
        try:
            with slot.scope:
                size, end = await first_record(transport, begun)
                # Not before the first record: a client that stayed silent across a reload must
                # get the new context.
                connection = Connection(
                    transport,
                    self._context(),
                    self._limits,
                    trace=self._trace,
                    scope=slot.scope,
                    hub=self._hub,
                )
                connection.keep_recording = self._keep_recording
                if await self._authenticate(connection, size, end):
                    self._pending.authenticated(slot)
                    await self._admit(connection, slot, where)
            if connection is not None and not slot.cancelled:
                ended = connection.conclude(admitted=slot.admitted, stopping=self._stop.is_set())
        finally:
            # Before the stream is closed, which takes until the client closes too.
            if connection is None:
                self._report(where, *unbegun(slot, begun))
            else:
                self._report_end(connection, slot, where, ended)
                if not connection.close_at_once():
                    slot.begin_closing()
                    self._pending.add(slot)
                    with slot.scope:
                        await connection.aclose()

    async def _authenticate(self, connection: Connection, size: int, end: TransportEnd) -> bool:
        """Whether the client proved itself, as far as the context demands it."""
        try:
            connection.begin(size, end)
            await connection.do_handshake()
        except TLSFailure:
            return False
        await trio.lowlevel.checkpoint_if_cancelled()  # it may have come too late
        return True

    async def _admit(self, connection: Connection, slot: Slot, where: str) -> None:
        """Serve an authorised client as soon as there is capacity; deny any other."""
        while True:
            context = self._context()
            if connection.verified_with is context:
                self._admission.remember_issuers(connection)
            reason = self._admission.denial(connection, context)
            if reason is not None:
                await self._deny(connection, reason)
                return
            connection.verified_with = context
            waited = False
            try:
                self._capacity.acquire_nowait()
            except trio.WouldBlock:
                await self._capacity.acquire()
                waited = True
            try:
                if connection.verified_with is not self._context():
                    continue  # a reload while the client waited: verify it again
                if waited:  # what was valid then need not be now
                    reason = self._admission.reverify(connection, context, waited=True)
                if reason is None:
                    slot.admitted = True
                    self._pending.remove(slot)
                    await self._handle(connection, where)
            finally:
                self._capacity.release()
            if reason is not None:
                await self._deny(connection, reason)
            return

    async def _deny(self, connection: Connection, reason: str) -> None:
        connection.evidence.deny(reason)
        timeout = trio.move_on_after(self._limits.handshake_timeout)
        with contextlib.suppress(TLSFailure), timeout:
            await self._say_denied(connection, reason)

    async def _handle(self, connection: Connection, where: str) -> None:
        evidence = connection.evidence
        took = time.perf_counter() - evidence.started
        self._events(_events.accepted(where, connection.peer, evidence.version, took))
        self._open.add(connection)
        try:
            await self._handler(connection)
        except* TLSFailure:
            pass  # it is in the evidence
        finally:
            self._open.discard(connection)
            if self._departures:
                self._departures.unpark_all()

    # --- how it ended ----------------------------------------------------------------------------

    def _report_end(
        self, connection: Connection, slot: Slot, where: str, ended: Ended | None
    ) -> None:
        if ended is None and (slot.cancelled or trio.current_effective_deadline() == -math.inf):
            self._aborted += slot.admitted
            connection.abandon()
            ended = "crowded" if slot.evicted else "abort"
        received, sent = connection.received, connection.sent
        if not received:
            connection.evidence.leave_unused()
        self._report(
            where, connection.evidence, ended or "error", received, sent, connection.requests
        )

    def _report(
        self,
        where: str,
        evidence: Evidence,
        ended: Ended,
        received: int = 0,
        sent: int = 0,
        requests: int = 0,
    ) -> None:
        self._events(
            _events.connection(
                where,
                diagnose(evidence),
                ended=ended,
                received=received,
                sent=sent,
                requests=requests,
                silent=not evidence.first_bytes,
                version=evidence.version or evidence.recorder.chosen_version(),
            )
        )


async def serve(
    context: ssl.SSLContext | ContextSource,
    addresses: str | Sequence[str] = "127.0.0.1:8443",
    handler: Handler = echo,
    *,
    access: Access | None = None,
    limits: Limits | None = None,
    events: Events | None = None,
    trace: bool = False,
    task_status: trio.TaskStatus[list[Address]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled: a `Server`, with its arguments, for a nursery.

    ::

        addresses = await nursery.start(serve, context, "127.0.0.1:0")

    The addresses, ``HOST:PORT``, are one or several; port 0 is any free one. It has started, with
    those that clients may connect to.

    Raises:
        ListenError: An address cannot be listened on.
        ValueError: An address is not ``HOST:PORT``.
    """
    server = Server(context, handler, access=access, limits=limits, events=events, trace=trace)
    wanted = [addresses] if isinstance(addresses, str) else list(addresses)
    # In a thread: a host name may have to be looked up.
    sockets = await trio.to_thread.run_sync(listen, wanted)
    await server.run(sockets, task_status=task_status)
