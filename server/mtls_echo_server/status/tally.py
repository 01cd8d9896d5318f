"""What a server has done, for its status: counts, and the last reports.

A `Tally` is told every event. In one process the status port reads it where it is; a worker sends
what is new a few times a second (`Feed`), and the tally of the status process takes it in.

**Memory is bounded**: so many refusals are kept, so many others, and a trace only if it is small.
Refusals are kept apart: of a thousand successes a second none can push out the one report that
the owner of a refused client comes to look up. Nor can a client that is refused a thousand times:
the oldest goes of the network and cause of which there are most (`_Refusals`). What sent no
ClientHello, such as a port scan, has no identifier to be looked up by; it is kept with the others.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import TypeAlias

import msgspec

from mtls_echo_server.events import FINE, Event
from mtls_echo_server.pending import network_of
from mtls_echo_server.status.counts import ServiceCounts
from mtls_echo_tls.diagnosis.report import Report

# How many reports are kept.
MOST_REFUSED, MOST_OTHERS = 400, 200

# Of a trace that is kept, in bytes of messages.
_LARGEST_TRACE = 16 * 1024

# Of one message of a worker, in bytes, and of the records in it as a rule: the kernel keeps ten
# messages (unix(7), max_dgram_qlen), so they are few and large.
LARGEST_MESSAGE, _LARGEST_BATCH = 128 * 1024, 48 * 1024

# Reports that a worker keeps until it sends them next.
_MOST_FINE, _MOST_NEW = 30, 100

# Seconds after which a worker says again that it serves: the status process may be a new one.
_SAY_AGAIN = 2.0

# When a connection ended, its event and its report.
_Kept: TypeAlias = tuple[float, Event, Report]


class PastConnection(msgspec.Struct, frozen=True, kw_only=True):
    """A connection that is over; the time is that of its end, in seconds since 1970."""

    time: float
    address: str
    ended: str
    received: int
    sent: int
    requests: int = 0
    worker: int | None = None
    report: Report

    @property
    def is_fine(self) -> bool:
        """Whether nothing went wrong."""
        return self.report.outcome in FINE


class Delta(msgspec.Struct):
    """What is new at a worker, from 1; or at the supervisor of workers, 0.

    Attributes:
        connections: That are open at this worker; None when it has ended.
        stopping: Whether the service is.
    """

    worker: int
    connections: int | None = 0
    stopping: bool = False
    counts: ServiceCounts | None = None
    records: list[PastConnection] = msgspec.field(default_factory=list[PastConnection])


class Tally:
    """ServiceCounts events, and keeps the last reports.

    Attributes:
        counts: So far.
        version: Changes whenever anything does.
        workers: The open connections of each worker that serves.
        listening, stopping: Whether the service accepts connections, and whether it drains.
        reload_ok, reloaded_at: Whether the files are in order, and when they last were taken.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.counts = ServiceCounts.zero()
        self.version = 0
        self.workers: dict[int, int] = {}
        self.listening = False
        self.stopping = False
        self.reload_ok = True
        self._clock = clock
        self.reloaded_at = self.started = clock()
        self._refused = _Refusals()
        self._others: deque[PastConnection] = deque(maxlen=MOST_OTHERS)

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        self.version += 1
        self.counts.count(event)
        if event.report is not None:
            self._keep(_record(event, event.report, self._clock()))
        elif event.name == "reload":
            self.reload_ok = event.details["ok"]
            if self.reload_ok:
                self.reloaded_at = self._clock()
        elif event.name == "listening":
            self.listening = True
        elif event.name == "stopping":
            self.stopping = True

    def take_in(self, delta: Delta) -> None:
        """Take note of what is new at a worker."""
        self.version += 1
        if delta.worker == 0:
            self.stopping |= delta.stopping
        elif delta.connections is None:
            self.workers.pop(delta.worker, None)
        else:
            self.workers[delta.worker] = delta.connections
        if delta.counts is not None:
            self.counts.add(delta.counts)
        for record in delta.records:
            self._keep(record)

    def _keep(self, record: PastConnection) -> None:
        refused = not record.is_fine and record.report.client_random is not None
        if refused:
            self._refused.add(record)
        else:
            self._others.append(record)

    def last(self, number: int, *, refused_only: bool = False) -> list[PastConnection]:
        """The last connections, the newest first."""
        others = () if refused_only else self._others
        found = sorted((*self._refused, *others), key=lambda record: record.time)
        return found[::-1][:number]

    def find(self, client_random: str) -> PastConnection | None:
        """The connection with that ``ClientHello.random``, if it is among those that are kept."""
        for record in self.last(MOST_REFUSED + MOST_OTHERS):
            if record.report.client_random == client_random:
                return record
        return None


class _Refusals:
    """The last refusals, of each network and cause some: no flood of one pushes out the others.

    The causes are those that were likeliest; there are few, so that a network which is refused for
    many leaves the others their part.
    """

    def __init__(self) -> None:
        self._groups: dict[tuple[bytes, str], deque[PastConnection]] = {}
        self._size = 0

    def __iter__(self) -> Iterator[PastConnection]:
        for group in self._groups.values():
            yield from group

    def add(self, record: PastConnection) -> None:
        """Keep one more; beyond the most, the oldest of the largest group goes."""
        causes = record.report.causes
        network = network_of(record.address.rpartition(":")[0].strip("[]"))
        group = self._groups.setdefault((network, causes[0] if causes else ""), deque())
        group.append(record)
        self._size += 1
        if self._size > MOST_REFUSED:
            # Of equal ones the oldest: groups are in the order in which they began.
            key, largest = max(self._groups.items(), key=lambda each: len(each[1]))
            largest.popleft()
            self._size -= 1
            if not largest:
                del self._groups[key]


class Feed:
    """Sends what is new at a worker to the status process; what does not fit waits or is lost.

    ``connections`` says how many are open. Reloads are left out: every worker has the same.
    """

    def __init__(
        self,
        worker: int,
        sock: socket.socket,
        connections: Callable[[], int],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._worker = worker
        self._sock = sock
        self._connections = connections
        self._clock = clock
        self._counts = ServiceCounts.zero()
        self._fine: deque[_Kept] = deque(maxlen=_MOST_FINE)
        self._refused: deque[_Kept] = deque(maxlen=_MOST_NEW)
        self._told: int | None = None
        self._told_at = 0.0
        self._is_new = False

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        if event.name == "reload":
            return
        self._is_new = True
        self._counts.count(event)
        if event.report is not None:
            fine = event.report.outcome in FINE
            kept = self._clock(), event, event.report
            (self._fine if fine else self._refused).append(kept)

    def send(self) -> None:
        """Send what is new; and from time to time, that nothing is."""
        connections, now = self._connections(), self._clock()
        is_late = now - self._told_at > _SAY_AGAIN
        if not self._is_new and connections == self._told and not is_late:
            return
        counts = self._counts if self._is_new else None
        if not push(self._sock, Delta(self._worker, connections, counts=counts)):
            return  # the counts go on from here
        self._counts, self._is_new = ServiceCounts.zero(), False
        self._told, self._told_at = connections, now
        batch: list[PastConnection] = []
        size = 0
        for at, event, report in (*self._refused, *self._fine):
            record = _record(event, report, at, self._worker)
            needed = len(msgspec.json.encode(record))
            if batch and size + needed > _LARGEST_BATCH:
                push(self._sock, Delta(self._worker, connections, records=batch))
                batch, size = [], 0
            batch.append(record)
            size += needed
        if batch:
            push(self._sock, Delta(self._worker, connections, records=batch))
        self._refused.clear()
        self._fine.clear()


def channel() -> tuple[socket.socket, socket.socket]:
    """Where a status process receives messages, and where others send them: none waits."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for end in ends:
        end.setblocking(False)
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            end.setsockopt(socket.SOL_SOCKET, option, 4 * LARGEST_MESSAGE)
    return ends


def push(sock: socket.socket, delta: Delta) -> bool:
    """Send a message, if there is room; return whether there was."""
    message = msgspec.json.encode(delta)
    if len(message) > LARGEST_MESSAGE:
        return True  # it never fits
    with contextlib.suppress(OSError):
        sock.send(message)
        return True
    return False


_decoder = msgspec.json.Decoder(Delta)


def decode(message: bytes) -> Delta:
    """The message that these bytes are."""
    return _decoder.decode(message)


def _record(event: Event, report: Report, at: float, worker: int | None = None) -> PastConnection:
    if report.trace and sum(entry.size for entry in report.trace) > _LARGEST_TRACE:
        report = msgspec.structs.replace(report, trace=None)
    details = event.details
    return PastConnection(
        time=at,
        address=details["peer_address"],
        ended=details["ended"],
        received=details["bytes_received"],
        sent=details["bytes_sent"],
        requests=details.get("http_requests", 0),
        worker=worker,
        report=report,
    )
