"""An accepted connection: a TLS stream with a deadline that moves, and its limits.

Three limits bear on a connection, and one cancel scope serves them all: its deadline is set again
when the handler begins to wait for data, to the earliest of

* the end of the client's silence (``idle_timeout``),
* the moment at which it retires, by age or because the server stops, but not before it has been
  silent for `QUIET` seconds, or while half a request has arrived,
* the moment at which it is cut off whatever it does (age and ``grace_period``).

While the handler waits nothing is half sent, so a scope that ends then leaves an intact stream,
and the service closes it with close_notify. The deadline is set again when data has arrived, too:
the handler has as long to answer as the client had to send. A scope that ends then has
interrupted an answer, or a send to a client that does not read, and close_notify would call that
complete: the connection is broken off instead.
"""

from __future__ import annotations

import contextlib
import math
import ssl
from dataclasses import dataclass, replace

import trio

from mtls_echo_server.events import Ended
from mtls_echo_tls.sides import TransportEnd
from mtls_echo_tls.stream.answering import AnsweringStream
from mtls_echo_tls.stream.hub import Hub
from mtls_echo_tls.stream.records import missing_of_handshake
from mtls_echo_tls.stream.tcp import SCRATCH, TCPStream

# A connection that retires is closed after this many seconds without data: more than a round trip
# anywhere on earth, so nothing that the client sent before is still on its way.
QUIET = 1.0

# Moving a deadline costs as much as a record does: it is moved a little further than it has to be,
# and then not at every message. No client is cut off early, and none later than by this much, in
# seconds and as a part of the idle timeout.
_SLACK, _SLACK_PART = 0.25, 1 / 64

# Or a server for two clients would evict a third for being the second in its handshake.
LEAST_PENDING = 64

# By default one network can make the server keep no more than 55 MiB.
MOST_PER_NETWORK = 1000

# The first bytes of a plaintext HTTP request; "PRI " begins HTTP/2 (RFC 9113 §3.4).
_HTTP = (b"GET ", b"POST", b"HEAD", b"PUT ", b"OPTI", b"DELE", b"PATC", b"CONN", b"TRAC", b"PRI ")
_HTTP_TEXT = b"This port speaks TLS, and you do not: use https:// instead of http://\n"
_HTTP_ANSWER = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n"
    b"Connection: close\r\n\r\n%s" % (len(_HTTP_TEXT), _HTTP_TEXT)
)


@dataclass(frozen=True)
class Limits:
    """How long and how much; times in seconds, `math.inf` for no limit.

    Args:
        handshake_timeout: From accept to the end of the handshake.
        idle_timeout: Of the client, until it sends; then of the handler, until it waits again.
        max_connections: Of admitted clients, at once.
        grace_period: What a stop leaves to open connections, and a reached age to a busy one.
        max_connection_age: After which a connection retires, so that its client authenticates
            again: or an expired certificate would not matter to one that never disconnects.
        max_handshakes: Connections in their handshake, or being closed, at once. None: as many as
            clients, so that all of them may come back at once; 64 at least.
        max_handshakes_per_network: Those of one network (`mtls_echo_server.pending`). None: half
            of them; 64 at least, 1,000 at most.

    Raises:
        ValueError: A limit that would admit no client.
    """

    handshake_timeout: float = 10.0
    idle_timeout: float = 300.0
    max_connections: int = 1000
    grace_period: float = 30.0
    max_connection_age: float = math.inf
    max_handshakes: int | None = None
    max_handshakes_per_network: int | None = None

    def __post_init__(self) -> None:
        for name in ("handshake_timeout", "idle_timeout", "max_connections", "max_connection_age"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be more than 0")
        for name in ("max_handshakes", "max_handshakes_per_network"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                raise ValueError(f"{name} must be more than 0")
        if not self.grace_period >= 0:
            raise ValueError("grace_period must be at least 0")

    @property
    def max_pending(self) -> int:
        """``max_handshakes``, or what None stands for."""
        return self.max_handshakes or max(self.max_connections, LEAST_PENDING)

    @property
    def max_pending_per_network(self) -> int:
        """``max_handshakes_per_network``, or what None stands for; no more than `max_pending`."""
        half = min(max(self.max_pending // 2, LEAST_PENDING), MOST_PER_NETWORK)
        return min(self.max_handshakes_per_network or half, self.max_pending)

    def share(self, number: int, of: int) -> Limits:
        """Those of one of several workers, from 1: what is counted is divided among them.

        Only what was said of handshakes is: 64 at least remain for each otherwise.
        """

        def part(total: int | None) -> int | None:
            return total and max(total // of + (number <= total % of), 1)

        return replace(
            self,
            max_connections=part(self.max_connections) or 1,
            max_handshakes=part(self.max_handshakes),
            max_handshakes_per_network=part(self.max_handshakes_per_network),
        )


async def first_record(transport: TCPStream, begun: bytearray) -> tuple[int, TransportEnd]:
    """Read a client's first record into `SCRATCH`; answer one that speaks HTTP.

    Returns how many bytes there are, and whether the client has ended its side before that was a
    whole record. ``begun`` has the bytes of an unfinished one, as long as this waits: state of
    OpenSSL's, 40 KiB of it, is made for a client only that has sent one.
    """
    try:
        while (size := transport.take()) < 0:
            await trio.lowlevel.wait_readable(transport.socket)
        if bytes(SCRATCH[: min(size, 4)]) in _HTTP:
            with contextlib.suppress(trio.BrokenResourceError):
                transport.push([_HTTP_ANSWER])
        if size and (missing := missing_of_handshake(SCRATCH[:size])):
            begun += SCRATCH[:size]
            while missing and (more := await transport.receive_some(missing)):
                begun += more
                missing = missing_of_handshake(begun)
            size = len(begun)
            SCRATCH[:size] = begun
            return size, "eof" if missing else "open"
    except trio.BrokenResourceError:
        SCRATCH[: len(begun)] = begun
        return len(begun), "reset"
    return size, "open" if size else "eof"


class Connection(AnsweringStream):
    """An accepted connection: a TLS stream that has a deadline.

    Attributes:
        scope: Entered around the handler. Its deadline is moved when a wait for data begins, and
            when it is over.
        at_rest: Whether the scope's end met a handler that waited for data, as it should.
        requests: How many of HTTP were answered.
        verified_with: The context that the client was verified with last: by the handshake, or by
            the service after a reload (`mtls_echo_server.admission`).
    """

    __slots__ = (
        "_cut_off_at", "_deadline", "_exact", "_idle_timeout", "_outstanding", "_retire_at",
        "_waiting_since", "at_rest", "requests", "scope", "verified_with",
    )  # fmt: skip

    def __init__(
        self,
        transport: TCPStream,
        context: ssl.SSLContext,
        limits: Limits,
        *,
        trace: bool = False,
        scope: trio.CancelScope | None = None,
        hub: Hub | None = None,
    ) -> None:
        super().__init__(transport, context, server_side=True, trace=trace, hub=hub)
        self.scope = scope or trio.CancelScope()
        self.at_rest = False
        self.requests = 0
        self.verified_with = context
        self._idle_timeout = limits.idle_timeout
        self._retire_at = trio.current_time() + limits.max_connection_age
        self._cut_off_at = self._retire_at + limits.grace_period
        self._exact = self._retire_at < math.inf
        self._deadline = -math.inf
        self._outstanding = False
        self._waiting_since: float | None = None

    @property
    def finished(self) -> bool:
        """Whether the client has ended it: by close_notify, or where nothing was outstanding."""
        return self.evidence.close_notify or self.evidence.ended_between

    @property
    def retired(self) -> bool:
        """Whether it is to close at the next pause, by age or because the server stops."""
        return trio.current_time() >= self._retire_at

    @property
    def overdue(self) -> bool:
        """Whether it had to be cut off, whatever it was doing."""
        return trio.current_time() >= self._cut_off_at

    @property
    def broken(self) -> bool:
        """Whether it failed, or was interrupted while half a record was out."""
        evidence = self.evidence
        return (evidence.failed and not evidence.ended_between) or evidence.abandoned

    def retire(self) -> bool:
        """Close at the next pause, as the module says; return whether that is now."""
        self._retire_at = trio.current_time()
        self._exact = True
        if self._waiting_since is None or self.broken:
            return False
        self.scope.deadline = self._wait_deadline(self._waiting_since)
        return self.scope.deadline <= self._retire_at

    def reach_boundary(self, reached: bool) -> None:
        """Note whether nothing is outstanding; half a request is a pause, but no end."""
        self.evidence.reach_boundary(reached)
        self._outstanding = not reached

    def abandon(self) -> None:
        """Break off, without close_notify: the client must see that the stream was cut."""
        self._abandon()

    def conclude(self, *, admitted: bool, stopping: bool) -> Ended:
        """Break off what cannot be closed cleanly, once the scope is left; return how it ended.

        Args:
            admitted: Whether the client was served.
            stopping: Whether the server is.
        """
        self.meet_failure()
        timed_out = self.scope.cancelled_caught
        if timed_out and not self.at_rest:
            if admitted and (self.overdue or not self.broken):
                self.abandon()  # it was at work
            else:
                self.expire()  # in its handshake; or while sending: it does not read
        if self.evidence.denied is not None:
            return "denied"
        if self.broken:
            cut_short = timed_out and not self.evidence.failed
            return "interrupted" if cut_short else "failure"
        if self.finished:
            return "client"
        if self.retired:  # HTTP says so with its last answer, and its handler returns
            return "drain" if stopping else "age"
        return "idle" if timed_out else "handler"

    def begin(self, size: int, end: TransportEnd) -> None:
        """Take the first record, before the handshake; if there is none, raise `TLSFailure`."""
        self.evidence.keep_first_bytes(SCRATCH[:size])
        if end != "open":
            raise self._lost(end)
        self._records.feed(SCRATCH[:size])

    def _waits(self, now: float | None = None) -> None:
        self._waiting_since = now = trio.current_time() if now is None else now
        if self._exact or now + self._idle_timeout > self._deadline:
            self._move_deadline(now)

    def _wait_cancelled(self) -> None:
        # By our deadline; or by one of the handler's own, and then it goes on.
        self.at_rest = self.scope.cancel_called
        self._waiting_since = None

    def _arrived(self) -> None:
        # The pause is over; what follows, working and sending for two, has the usual time.
        self._waiting_since = None
        now = trio.current_time()
        if self._exact or now + self._idle_timeout > self._deadline:
            self._move_deadline(now)

    def _move_deadline(self, now: float) -> None:
        due = now + self._idle_timeout
        if self._exact:
            waits = self._waiting_since is not None
            self.scope.deadline = self._wait_deadline(now) if waits else min(due, self._cut_off_at)
        else:
            slack = min(self._idle_timeout * _SLACK_PART, _SLACK)
            self._deadline = self.scope.deadline = due + slack

    def _wait_deadline(self, since: float) -> float:
        """Return until when to wait for data that has been awaited since then."""
        retires = math.inf if self._outstanding else max(since + QUIET, self._retire_at)
        return min(since + self._idle_timeout, retires, self._cut_off_at)
