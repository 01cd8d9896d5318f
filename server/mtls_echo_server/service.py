"""One client never harms another: that is the whole art of accepting connections.

Everything here follows from it.

* **Accepting outlives shortage.** Without a free descriptor or memory `accept(2)` fails, and the
  connection stays in the kernel's queue: it is tried again. While ``max_connections`` clients
  are served nothing is accepted: whoever exceeds them waits in that queue and costs us nothing.
* **A stranger gets a deadline, and a place of its own.** Until it is authenticated, a client has
  ``handshake_timeout`` seconds in all, however slowly it trickles bytes; and however many
  strangers there are, they take no place from a client (`mtls_echo_server.pending`).
* **A friend gets one too**, which is re-armed each time the handler waits for data. One scope per
  connection, moved: a new one around each receive costs 27 to 60 % of the throughput.
* **A handler's bug ends its own connection**, is logged, and goes no further.

**Stopping** is the same in the small (``max_connection_age``) and in the large (`Server.stop`):
a connection *retires*. An echo has no end of a request at which to close, so silence takes its
place: a connection on which nothing has arrived for a second (`QUIET`, in `connection`) has
nothing in flight and gets its close_notify. One that has been idle is closed at once, a busy one
goes on until it pauses or closes, and what is still open when ``grace_period`` has passed is cut
off. A handshake has nothing to finish: no stranger delays a stop.

**A refusal after the handshake is not an alert.** An authenticated client that may not enter is
told so in one line of application data (`mtls_echo_tls.denial`) and a clean close. And whoever
speaks HTTP to this port is answered in HTTP, since no browser could show an alert.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import socket
import ssl
import traceback
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, TypeAlias, cast

import trio

from mtls_echo_pki.files.durable import os_reason
from mtls_echo_server import events as _events
from mtls_echo_server.access import Access
from mtls_echo_server.admission import Admission, ContextSource
from mtls_echo_server.connection import Connection, Limits, first_bytes
from mtls_echo_server.events import Events
from mtls_echo_server.handlers import echo
from mtls_echo_server.log import EventLog
from mtls_echo_server.pending import Strangers, Visit
from mtls_echo_tls.address import Address
from mtls_echo_tls.denial import denial_line
from mtls_echo_tls.diagnosis.diagnose import diagnose
from mtls_echo_tls.diagnosis.evidence import Evidence
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.stream.delivery import CLOSE_TIMEOUT
from mtls_echo_tls.stream.hub import Hub, open_hub
from mtls_echo_tls.stream.tcp import TCPStream
from mtls_echo_tls.stream.tls import TLSStream

Handler: TypeAlias = Callable[[TLSStream], Awaitable[object]]

# Seconds until a failed accept is tried again: long enough for others to close a connection.
ACCEPT_AGAIN = 0.1

# Connections accepted before other tasks have a turn.
_AT_ONCE = 16

_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

_CLIENT_AUTH = {
    ssl.CERT_NONE: "none",
    ssl.CERT_OPTIONAL: "optional",
    ssl.CERT_REQUIRED: "required",
}


class Stopped(NamedTuple):
    """What became of the clients that were being served when a server began to stop."""

    drained: int
    aborted: int


class Server:
    """Accepts, authenticates, authorises and serves, until it is stopped.

    Args:
        context: From `server_context`; or a function that returns the current one, so that keys
            and trust can change while serving (`mtls_echo_tls.material.reloader.Reloader`). It is
            asked for when a client's first bytes have arrived, and again before the client is
            served.
        handler: Serves one authenticated client. It may raise `TLSFailure`, which is the
            client's affair; anything else is a bug, logged. It does not close the stream: when
            it returns, or its time is over, the service does, with close_notify.
        access: Who may enter.
        limits: How long and how much.
        events: Called with every event. None: a line of text each on standard error, so that a
            refusal is never silent.
        trace: Record each connection's handshake, for its report.
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
    ) -> None:
        self._context: ContextSource = (
            (lambda: context) if isinstance(context, ssl.SSLContext) else context
        )
        self._handler = handler
        self._admission = Admission(access or Access(), self._context)
        self._limits = limits or Limits()
        self._events: Events = events or EventLog()
        self._trace = trace
        self._slots = trio.Semaphore(self._limits.max_connections)
        self._strangers = Strangers(self._limits.max_strangers)
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

        Args:
            sockets: Listening and non-blocking (`mtls_echo_server.listeners.listen`). Closed
                when this returns.
            task_status: Started with the addresses, when clients may connect.
        """
        open_at_stop = 0
        try:
            addresses = [self._announce(sock) for sock in sockets]
            async with open_hub() as self._hub, trio.open_nursery() as self._tasks:
                async with trio.open_nursery() as accepting:
                    for sock in sockets:
                        accepting.start_soon(self._accept, sock, self._tasks)
                    accepting.start_soon(self._count_floods)
                    task_status.started(addresses)
                    await self._stop.wait()
                    accepting.cancel_scope.cancel()
                for sock in sockets:
                    sock.close()
                cut_off_at = trio.current_time() + self._limits.grace_period
                self._strangers.send_away()
                open_at_stop = len(self._open)
                self._events(_events.stopping(open_at_stop, self._limits.grace_period))
                await self._retire()
                self._tasks.cancel_scope.deadline = cut_off_at
        finally:
            for sock in sockets:
                sock.close()
            stopped = Stopped(max(open_at_stop - self._aborted, 0), self._aborted)
            self._flush(final=True)
            self._events(_events.stopped(*stopped))
        return stopped

    def stop(self) -> None:
        """Stop accepting, and let open connections finish; called again, cut them off."""
        if self._stop.is_set() and self._tasks is not None:
            self._tasks.cancel_scope.cancel()
        self._stop.set()

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
        client_auth = _CLIENT_AUTH[self._context().verify_mode]
        self._events(_events.listening(host, port, client_auth=client_auth, pid=os.getpid()))
        return Address(host, port)

    async def _count_floods(self) -> None:
        while True:
            await trio.sleep(1.0)
            self._flush()

    def _flush(self, *, final: bool = False) -> None:
        if isinstance(self._events, EventLog):
            self._events.flush(final=final)

    # --- accepting -------------------------------------------------------------------------------

    async def _accept(self, listener: socket.socket, tasks: trio.Nursery) -> None:
        while True:
            await trio.lowlevel.wait_readable(listener)
            for _ in range(_AT_ONCE):
                if not await self._accept_one(listener, tasks):
                    break

    async def _accept_one(self, listener: socket.socket, tasks: trio.Nursery) -> bool:
        """Accept a connection, and return whether there was one."""
        if self._slots.value == 0:
            self._events(_events.full(self._limits.max_connections))
            async with self._slots:
                pass  # there is one, for whoever proves itself first
        try:
            sock, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return False  # or the client has thought better of it
        except OSError as error:
            if error.errno == errno.EBADF:
                raise  # somebody closed our socket: a bug, and no use in trying again
            self._events(_events.accept_error(os_reason(error)))
            if error.errno in _SHORTAGES:
                self._strangers.make_room()
            await trio.sleep(ACCEPT_AGAIN)
            return False
        visit = Visit(address[0], trio.current_time() + self._limits.handshake_timeout)
        self._strangers.enter(visit)
        tasks.start_soon(self._attend, sock, visit, str(Address(*address[:2])))
        return True

    async def _attend(self, sock: socket.socket, visit: Visit, where: str) -> None:
        """Serve one client, and let nothing that goes wrong get any further."""
        try:
            await self._serve(TCPStream(sock), visit, where)
        except* Exception as bugs:
            text = "".join(traceback.format_exception(bugs))
            self._events(_events.error(where, _innermost(bugs), text))
        finally:
            sock.close()
            self._strangers.leave(visit)

    # --- one connection --------------------------------------------------------------------------

    async def _serve(self, transport: TCPStream, visit: Visit, where: str) -> None:
        connection: Connection | None = None
        ended: str | None = None
        try:
            with visit.scope:
                size = await first_bytes(transport)
                # No earlier: who is silent for a while must meet what is in use afterwards.
                connection = Connection(
                    transport,
                    self._context(),
                    self._limits,
                    trace=self._trace,
                    scope=visit.scope,
                    hub=self._hub,
                )
                if await self._authenticate(connection, size):
                    await self._enter(connection, visit, where)
            if connection is not None and not visit.ended:
                ended = self._how_it_ended(connection, visit)
        finally:
            # Before the stream is closed, which takes until the client closes too.
            if connection is None:
                self._report_silence(visit, where)
            else:
                self._report_end(connection, visit, where, ended)
                if not connection.close_at_once():
                    visit.leave()
                    self._strangers.enter(visit)
                    with visit.scope:
                        await connection.aclose()

    async def _authenticate(self, connection: Connection, size: int) -> bool:
        """Whether the client proved itself, as far as the context demands it."""
        with contextlib.suppress(TLSFailure):
            connection.begin(size)
            await connection.do_handshake()
            await trio.lowlevel.checkpoint_if_cancelled()  # it may have come too late
            connection.scope.deadline = math.inf
        return not connection.broken

    async def _enter(self, connection: Connection, visit: Visit, where: str) -> None:
        """Serve a client that may enter, as soon as there is a place."""
        while await self._admit(connection):
            try:
                self._slots.acquire_nowait()
            except trio.WouldBlock:
                await self._slots.acquire()
            try:
                if not self._admission.is_current(connection):
                    continue  # while it waited for a place, something changed
                visit.admitted = True
                self._strangers.leave(visit)
                await self._handle(connection, where)
            finally:
                self._slots.release()
            break

    def _report_silence(self, visit: Visit, where: str) -> None:
        """Tell of a client that has sent nothing in time, or in the time there was."""
        evidence = Evidence("server", stage="handshake")
        evidence.timed_out = visit.scope.cancelled_caught and not visit.ended
        evidence.abandoned = not evidence.timed_out
        ended = "failure" if evidence.timed_out else "crowded" if visit.crowded_out else "abort"
        self._report(where, evidence, ended)

    def _report_end(
        self, connection: Connection, visit: Visit, where: str, ended: str | None
    ) -> None:
        if ended is None and (visit.ended or trio.current_effective_deadline() == -math.inf):
            self._aborted += visit.admitted
            connection.abandon()
            ended = "crowded" if visit.crowded_out else "abort"
        self._report(
            where,
            connection.evidence,
            ended or "error",
            received=connection.received,
            sent=connection.sent,
        )

    def _report(
        self, where: str, evidence: Evidence, ended: str, *, received: int = 0, sent: int = 0
    ) -> None:
        self._events(
            _events.connection(
                where,
                diagnose(evidence),
                ended=ended,
                received=received,
                sent=sent,
                silent=not evidence.first_bytes,
            )
        )

    async def _admit(self, connection: Connection) -> bool:
        """Whether the client may enter; tells it when not."""
        reason = self._admission.denial(connection)
        if reason is None:
            return True
        connection.evidence.denied = reason
        with (
            contextlib.suppress(TLSFailure),
            trio.move_on_after(self._limits.handshake_timeout),
        ):
            await connection.send_all(denial_line(reason))
        return False

    async def _handle(self, connection: Connection, where: str) -> None:
        self._events(_events.accepted(where, connection.peer, connection.evidence.version))
        self._open.add(connection)
        try:
            await self._handler(connection)
        except* TLSFailure:
            pass  # the evidence has it all
        finally:
            self._open.discard(connection)
            self._departures.unpark_all()

    def _how_it_ended(self, connection: Connection, visit: Visit) -> str:
        timed_out = visit.scope.cancelled_caught
        if timed_out and not connection.at_rest:
            if visit.admitted and (connection.overdue or not connection.broken):
                connection.abandon()  # it was at work
            else:
                connection.expire()  # in its handshake; or while sending: it does not read
        if connection.evidence.denied is not None:
            return "denied"
        if connection.broken:
            cut_short = timed_out and not connection.evidence.failed
            return "interrupted" if cut_short else "failure"
        if connection.finished:
            return "client"
        if not timed_out:
            return "handler"
        if self._stop.is_set():
            return "drain"
        return "age" if connection.retired else "idle"


def _innermost(bugs: BaseException) -> str:
    """The exception in one line, out of the groups that nurseries wrap around it."""
    if isinstance(bugs, BaseExceptionGroup):
        nested = cast("BaseExceptionGroup[BaseException]", bugs).exceptions
        return "; ".join(_innermost(bug) for bug in nested)
    return f"{type(bugs).__name__}: {bugs}"
