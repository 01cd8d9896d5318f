"""Supervise workers: start them, replace one that dies, pass on signals, write one log.

**One listening socket, inherited.** Every worker accepts from the same queue, so one that dies
takes no connection with it but those that it had accepted, and clients never wait for its
replacement. Measured against a socket for each worker (SO_REUSEPORT), two workers on two cores: of
400 sessions, 16 at a time, the workers served 187 to 213 each, against 176 to 224; of 60
connections that stay, opened one by one, 29 and 31, against 28 and 32; opened at once, 28 and 32,
against 23 and 37 (a hash of addresses decides then, not who is free); the CPU per session was the
same within what repeats differ by.

**One writer of the log.** Workers send their events here (`mtls_echo_server.workers.messages`),
already text, and they are written whole, in the order in which they came. Under load they are
fetched together, `GATHER` seconds after the last, which costs each a fraction of a wake-up: 1 to
3 % of the CPU of a session and its handshake, measured.

**A worker that dies is replaced**: at once, or after a pause that doubles if it died young again.
The new one is forked from this process, with the context that was made at the start. If any worker
has used newer files since, the new one reads them before it accepts a client: otherwise a client
revoked since would be admitted. As long as the files are not in order then, it is not started: the
others serve on with what they have, and it has not.

**A stop** closes the sockets here too, or the kernel would go on queueing clients. Every worker
drains; one that has not ended some seconds after the grace period is killed.

Nothing here imports `trio`, reads a file or waits for anything but the next event.
"""

from __future__ import annotations

import contextlib
import selectors
import signal
import socket
import time
from collections.abc import Callable, Generator, Sequence

from mtls_echo_pki.files.durable import os_reason
from mtls_echo_server import events
from mtls_echo_server.log import EventLog
from mtls_echo_server.workers import happenings
from mtls_echo_server.workers.messages import Command
from mtls_echo_server.workers.process import HELD, SupervisorLink, WorkerProcess

# Seconds between two looks at the workers' events while there are many, or cannot be written.
GATHER = 0.02

# Seconds until the next worker is started after one that died young, below this age, as the one
# before it had; and at most.
_FIRST_PAUSE, _LONGEST_PAUSE, _YOUNG = 0.1, 10.0, 10.0

# Seconds beyond the grace period after which a worker hangs.
_MARGIN = 5.0

# What a worker does until it may exit. The flag: it is to read the files before it serves.
Work = Callable[[SupervisorLink, bool], object]


class _Seat:
    """The place of a worker, and how its successive holders fared."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.worker: WorkerProcess | None = None
        self.since = 0.0
        self.due = 0.0
        self.deaths = 0

    def pause(self, now: float) -> float:
        """How long to wait with the next, its holder having died now."""
        self.deaths = self.deaths + 1 if now - self.since < _YOUNG else 0
        doubled = _FIRST_PAUSE * 2 ** min(self.deaths - 2, 10)
        return min(doubled, _LONGEST_PAUSE) if self.deaths > 1 else 0.0


class Supervisor:
    """The parent of some workers; `run` it in a process without threads.

    Args:
        workers: Their number.
        work: What each does, in its own process.
        sockets: Listening; closed here when the service stops.
        log: Gets the supervisor's events, and the workers', written by them.
        grace_period: What the workers leave to open connections, in seconds.
        aside: What one more process does, that serves no clients and outlives the workers: it is
            replaced if it dies, and ends when nothing remains to be told.
    """

    def __init__(
        self,
        workers: int,
        work: Work,
        sockets: Sequence[socket.socket],
        log: EventLog,
        *,
        grace_period: float,
        aside: Callable[[SupervisorLink], object] | None = None,
    ) -> None:
        self._seats = [_Seat(number) for number in range(1, workers + 1)]
        self._aside = _Seat(0) if aside is not None else None
        self._work = work
        self._aside_work = aside
        self._sockets = sockets
        self._log = log
        self._grace = grace_period
        self._links = selectors.PollSelector()  # signals, and messages of workers
        self._all = selectors.PollSelector()  # and their events
        self._busy = False
        self._reloaded = False
        self._stopping = False
        self._told = False
        self._kill_at = 0.0
        # Of workers that have ended since the stop began: what was open, and how it ended.
        self._connections = self._drained = self._aborted = 0
        self._counted = True

    def run(self) -> bool:
        """Serve until a signal stops it; return whether every connection then open finished."""
        with self._signals() as woken:
            while not self._stopping or self._alive():
                self._start_what_is_due()
                self._wait(woken)
                self._forward_events()
                if self._stopping:
                    self._report_stopping()
                    self._kill_what_hangs()
        self._report_stopping()
        self._end_aside()
        self._log(events.stopped(self._drained, self._aborted))
        return self._counted and not self._aborted

    def _alive(self) -> list[WorkerProcess]:
        return [seat.worker for seat in self._seats if seat.worker is not None]

    def _processes(self) -> list[WorkerProcess]:
        aside = self._aside.worker if self._aside is not None else None
        return self._alive() if aside is None else [*self._alive(), aside]

    # --- signals ---------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _signals(self) -> Generator[socket.socket]:
        """Have signals arrive as bytes on the socket."""
        woken, waker = socket.socketpair()
        with woken, waker:
            for sock in (woken, waker):
                sock.setblocking(False)
            for number in HELD:
                signal.signal(number, _noted)
            signal.set_wakeup_fd(waker.fileno())
            for selector in (self._links, self._all):
                selector.register(woken, selectors.EVENT_READ)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)  # what was held arrives now
            yield woken
            signal.set_wakeup_fd(-1)

    def _obey(self, number: int) -> None:
        if number == signal.SIGHUP:
            self._order(Command.RELOAD)
        elif not self._stopping:
            self._stopping = True
            for sock in self._sockets:
                sock.close()
            self._order(Command.STOP)
            self._kill_at = time.monotonic() + self._grace + _MARGIN
        else:
            self._order(Command.ABORT)
            self._kill_at = time.monotonic() + _MARGIN

    def _order(self, command: Command) -> None:
        for worker in self._processes() if command is Command.RELOAD else self._alive():
            worker.order(command)

    # --- waiting ---------------------------------------------------------------------------------

    def _wait(self, woken: socket.socket) -> None:
        """Wait for the next thing to do, and do it; events are left to `_forward_events`."""
        selector = self._links if self._busy else self._all
        for key, _ in selector.select(self._timeout()):
            if key.fileobj is woken:
                for number in woken.recv(1024):
                    self._obey(number)
            elif isinstance(key.data, _Seat):
                self._listen_to(key.data)

    def _timeout(self) -> float | None:
        if self._busy:
            return GATHER
        until = [self._kill_at] if self._stopping else []
        if self._aside is not None and self._aside.worker is None:
            until.append(self._aside.due)
        if self._may_start():
            until += [seat.due for seat in self._seats if seat.worker is None]
        now = time.monotonic()
        return max(min(until) - now, 0) if until else None

    def _listen_to(self, seat: _Seat) -> None:
        worker = seat.worker
        if worker is None:
            return
        was_ready = worker.ready
        alive = worker.listen()
        self._forward(worker, last=not alive)  # what it had said before
        if worker.ready and not was_ready and seat is not self._aside:
            self._log(happenings.worker_started(worker.number, worker.pid))
        self._reloaded = self._reloaded or (seat is not self._aside and worker.generation > 1)
        if not alive:
            self._bury(seat, worker)

    def _forward_events(self) -> None:
        if self._log.is_behind:
            self._log.flush()
        self._busy = self._log.is_behind
        for worker in self._processes():
            self._forward(worker)

    def _forward(self, worker: WorkerProcess, *, last: bool = False) -> None:
        """Write what a worker has said; while the log is behind, the worker holds or counts it."""
        if self._log.is_behind and not last:
            return
        text = worker.events(last=last)
        if text:
            self._log.forward(text)
            self._busy = True

    # --- the life of a worker --------------------------------------------------------------------

    def _start_what_is_due(self) -> None:
        seats = self._seats if self._may_start() else []
        if self._aside is not None:
            seats = [self._aside, *seats]  # first: it is told what the others do
        now = time.monotonic()
        for seat in seats:
            if seat.worker is not None or seat.due > now:
                continue
            try:
                self._start(seat)
            except OSError as error:
                pause = seat.pause(now) or _FIRST_PAUSE
                seat.due = now + pause
                self._log(happenings.worker_not_started(seat.number, os_reason(error), pause))

    def _may_start(self) -> bool:
        """Whether a worker could serve as the others do."""
        as_they_do = not self._reloaded or all(worker.in_order for worker in self._alive())
        return as_they_do and not self._stopping

    def _start(self, seat: _Seat) -> None:
        reloaded = self._reloaded
        signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
        try:
            seat.since = time.monotonic()
            work = self._aside_work if seat is self._aside else None
            worker = WorkerProcess.start(
                seat.number, work or (lambda link: self._work(link, reloaded)), self._processes()
            )
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)
        seat.worker = worker
        for selector in (self._links, self._all):
            selector.register(worker.link, selectors.EVENT_READ, seat)
        self._all.register(worker.log, selectors.EVENT_READ)

    def _bury(self, seat: _Seat, worker: WorkerProcess) -> None:
        """Take leave of a worker that has ended, and say so if it was not told to."""
        seat.worker = None
        for selector in (self._links, self._all):
            selector.unregister(worker.link)
        self._all.unregister(worker.log)
        status = worker.reap()
        if self._stopping and seat is not self._aside:
            drained, aborted = worker.ended or (0, worker.connections or 0)
            self._connections += worker.connections or 0
            self._drained += drained
            self._aborted += aborted
            self._counted = self._counted and worker.connections is not None
        now = time.monotonic()
        stays = seat is self._aside or not self._stopping
        pause = seat.pause(now) if stays else None
        seat.due = now + (pause or 0)
        if status or stays:
            self._log(
                happenings.worker_ended(
                    worker.number, worker.pid, status, reason=worker.failure, pause=pause
                )
            )

    # --- a stop ----------------------------------------------------------------------------------

    def _report_stopping(self) -> None:
        """Say how many connections are open, when every worker has said so."""
        counts = [worker.connections for worker in self._alive()]
        known = [count for count in counts if count is not None]
        if not self._told and len(known) == len(counts):
            self._told = True
            self._log(events.stopping(sum(known) + self._connections, self._grace))

    def _end_aside(self) -> None:
        """End the process that is no worker: it has nothing to finish."""
        seat = self._aside
        if seat is not None and seat.worker is not None:
            self._forward(seat.worker)
            seat.worker.kill()
            seat.worker.reap()

    def _kill_what_hangs(self) -> None:
        if time.monotonic() >= self._kill_at:
            for worker in self._alive():
                worker.kill()
            self._kill_at = time.monotonic() + _MARGIN


def _noted(number: int, frame: object) -> None:
    """Do nothing: the byte that the signal left on the socket is what counts."""
