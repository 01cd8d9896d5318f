"""A worker: a process forked to serve, seen from its supervisor and from inside.

It is forked and not spawned, for what a fork shares: the `ssl.SSLContext`, whose ticket keys
cannot be set from Python but are the same in every copy, so that a session of one worker is
resumed at another; the passwords that were asked for at the start; and the imported modules (a
spawned process would import them again: 200 ms of CPU each, measured, against 4 to 5 ms; and 8
workers take 70 MiB together, one process 35). A fork is safe while there are no threads and no
event loop, and the supervisor never has any. OpenSSL seeds its random numbers anew in the child.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import signal
import socket
import traceback
from collections.abc import Callable, Iterable
from typing import TypeAlias

from mtls_echo_server.log import END_OF_EVENT
from mtls_echo_server.workers.messages import (
    Command,
    Ended,
    Failed,
    Message,
    Ready,
    Reloaded,
    Stopping,
    decode,
    encode,
)

# What a worker leaves to its supervisor's commands: a terminal and a service manager signal all
# processes of a group. SIGTERM it obeys: one worker can be stopped, and is replaced.
_IGNORED = (signal.SIGINT, signal.SIGHUP)

# Signals that are held while there are two processes with the handlers of one.
HELD = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})

_MOST = 64 * 1024

# What the pipe of a worker's events holds, where that can be said: all that come while its
# supervisor gathers them.
_PIPE = 256 * 1024


class WorkerError(Exception):
    """Why a worker cannot serve; not a bug."""


class SupervisorLink:
    """A worker's way to its supervisor.

    Attributes:
        number: The worker's, from 1.
        log: The descriptor that its events are written to.
        commands: Where `Command` arrive, one byte each; its end is the end of the supervisor.
    """

    def __init__(self, number: int, commands: socket.socket, log: int) -> None:
        self.number = number
        self.commands = commands
        self.log = log

    def tell(self, message: Message) -> None:
        """Send a message; without effect if the supervisor is gone."""
        with contextlib.suppress(OSError):
            self.commands.send(encode(message))


# What a worker does: all its life, until it may exit.
Work: TypeAlias = Callable[[SupervisorLink], object]


class WorkerProcess:
    """A worker, as its supervisor sees it; `start` makes one.

    Attributes:
        ready: Whether it accepts connections.
        generation: Of the files that it uses.
        in_order: Whether the files are, as far as it knows.
        connections: That were open when it began to stop; None before.
        ended: How many of these finished, and how many did not; None before.
        failure: Why it cannot serve.
    """

    def __init__(self, number: int, pid: int, link: socket.socket, log: int) -> None:
        self.number = number
        self.pid = pid
        self.link = link
        self.log = log
        self.ready = False
        self.generation = 1
        self.in_order = True
        self.connections: int | None = None
        self.ended: tuple[int, int] | None = None
        self.failure: str | None = None
        self._line = b""
        self._event = b""

    @classmethod
    def start(cls, number: int, work: Work, others: Iterable[WorkerProcess]) -> WorkerProcess:
        """Fork a worker; `HELD` signals are held, and stay so in it until it lets them through."""
        ours, theirs = socket.socketpair()
        log, its_log = _pipe()
        for fd in (log, its_log):
            os.set_blocking(fd, False)
        for sock in (ours, theirs):
            sock.setblocking(False)
        gc.freeze()  # or the first collection in a worker would copy every page
        try:
            pid = os.fork()
        except OSError:
            for sock in (ours, theirs):
                sock.close()
            for fd in (log, its_log):
                os.close(fd)
            raise
        if pid == 0:
            ours.close()
            os.close(log)
            for other in others:
                other.close()
            _be_worker(SupervisorLink(number, theirs, its_log), work)
        theirs.close()
        os.close(its_log)
        return cls(number, pid, ours, log)

    def order(self, command: Command) -> None:
        """Have the worker do something; without effect if it has ended."""
        with contextlib.suppress(OSError):
            self.link.send(command.value)

    def listen(self) -> bool:
        """Take in the messages that have arrived; False: the worker has ended, or is about to."""
        try:
            data = self.link.recv(_MOST)
        except BlockingIOError:
            return True
        except ConnectionError:
            return False
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            self._take_in(decode(line))
        return bool(data)

    def _take_in(self, message: Message) -> None:
        match message:
            case Ready():
                self.ready = True
            case Reloaded(ok, generation):
                self.in_order, self.generation = ok, generation
            case Stopping(connections):
                self.connections = connections
            case Ended(drained, aborted):
                self.ended = drained, aborted
            case Failed(reason):
                self.failure = reason

    def events(self, *, last: bool = False) -> bytes:
        """The events that have arrived whole, as they are to be written.

        The ``last`` are those of a worker that has ended; what it left unfinished is not an event.
        """
        if last:
            os.set_blocking(self.log, True)
        pieces = [self._event]
        with contextlib.suppress(BlockingIOError):
            pieces.append(os.read(self.log, _PIPE))
            while last and pieces[-1]:
                pieces.append(os.read(self.log, _PIPE))
        end = END_OF_EVENT.encode()
        whole, _, self._event = b"".join(pieces).rpartition(end)
        return whole.replace(end, b"")

    def kill(self) -> None:
        """End it whatever it does."""
        os.kill(self.pid, signal.SIGKILL)  # not reaped yet: the number is still its own

    def reap(self) -> int:
        """Wait for a worker that has ended, close what led to it, and return how, as `waitpid`."""
        self.close()
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def close(self) -> None:
        """Close this end of the socket pair and of the pipe."""
        self.link.close()
        os.close(self.log)


def _pipe() -> tuple[int, int]:
    """A pipe that holds much, if the system lets it."""
    ends = os.pipe()
    with contextlib.suppress(AttributeError, OSError):  # Linux has it, and a limit for each user
        fcntl.fcntl(ends[1], fcntl.F_SETPIPE_SZ, _PIPE)
    return ends


def _be_worker(link: SupervisorLink, work: Work) -> None:
    """Work in the forked process, and end it: what is on its stack is the supervisor's."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)
        work(link)
        status = 0
    except BaseException as error:  # nothing else would report it
        link.tell(Failed(_reason(error)))
    finally:
        os._exit(status)


def _reason(error: BaseException) -> str:
    if isinstance(error, WorkerError):
        return str(error)
    # What went wrong stands last, and a log cuts a long text at its end.
    *where, what = traceback.format_exception(error)
    return "".join((what, *where))[: _MOST // 4]
