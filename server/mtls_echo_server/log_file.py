"""Write lines to a file that may not take them now: a pipe that is not read, a disk that is full.

A server that waits for the reader of its log has been stopped by it, and a client that can fill
the pipe could stop a server whose log is read slowly. So nothing here waits. Before a write the
kernel is asked whether it would wait (`poll(2)`: a pipe with room takes `PIPE_BUF` bytes at once),
what it does not take is held, up to `MOST_HELD` bytes, and what is beyond that is counted. A full
disk is the same: half a line is finished first when there is room again.

A terminal whose output is stopped (Ctrl-S, or a lost ssh connection) is such a reader too, and one
with room for a single byte is said to be writable. It is opened once more for each write, in a
description of its own that does not wait: of the one that it shares with the shell that could not
be said.

(If several processes write to one pipe, room may be gone between asking and writing; such a write
waits. A file without a descriptor, such as `io.StringIO`, is written to as it is.)
"""

from __future__ import annotations

import contextlib
import os
import select
import stat
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import IO

# Held while a file takes nothing: some two hundred lines of JSON.
MOST_HELD = 256 * 1024

# What a pipe takes without waiting when it is said to be writable (POSIX: _POSIX_PIPE_BUF, Linux).
_AT_ONCE = select.PIPE_BUF

# How long the end of the log is waited for, in seconds: a reader that is there needs less.
LAST_WAIT = 1.0


class LogFile:
    """The end of a log: lines go in, and are written when they can be; nothing is raised.

    Args:
        file: None for what standard error is at the time.
        clock: Monotonic, in seconds.
    """

    def __init__(self, file: IO[str] | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._file = file
        self._clock = clock
        self._held: deque[bytes] = deque()
        self._size = 0
        self._lost = 0
        self._lost_since = 0.0
        self._until: float | None = None
        self._known = -1
        self._may_wait = False
        self._terminal: str | None = None
        self._poll = select.poll()

    @property
    def encoding(self) -> str:
        """How text is encoded there."""
        return getattr(self._target(), "encoding", None) or "utf-8"

    @property
    def is_behind(self) -> bool:
        """Whether something is held, or was lost."""
        return bool(self._held or self._lost)

    def write(self, line: str) -> None:
        """Write a line, or hold it behind those that are held, or count it as lost."""
        self._write_or_lose(line.encode(self.encoding, "backslashreplace"))

    def write_utf8(self, line: bytes) -> None:
        """As `write`, of a line in UTF-8."""
        file = self._target()
        if getattr(file, "encoding", None) != "utf-8":
            self.write(line.decode())
        elif file is None or self._held or not self._write_at_once(file, line):
            self._write_or_lose(line)

    def _write_or_lose(self, data: bytes) -> None:
        if self._size and self._size + len(data) > MOST_HELD:
            self._lost_since = self._lost_since if self._lost else self._clock()
            self._lost += 1
            return
        self.write_encoded(data)

    def write_encoded(self, data: bytes) -> None:
        """Write lines in this file's encoding, or hold them, however much is held."""
        self._held.append(data)
        self._size += len(data)
        self.catch_up()

    def catch_up(self, *, last: bool = False) -> bool:
        """Write what is held, as far as that needs no waiting; return whether that was all.

        The ``last`` times a reader that is slow is waited for, a little in all.
        """
        if last and self._until is None:
            self._until = time.monotonic() + LAST_WAIT
        try:
            while self._held and self._write_some(self._held[0]):
                pass
        except BrokenPipeError:
            self._forget()
            if self._target() is sys.stderr:
                # Its buffer could not be emptied at exit either, which would then be the exit
                # status (120) of a server that stopped as it should.
                sys.stderr = open(os.devnull, "w")  # noqa: SIM115  open until the end
        except OSError:
            pass  # the disk is full: later, perhaps
        except ValueError:
            self._forget()  # the file was closed
        return not self._held

    def take_lost(self) -> tuple[int, float]:
        """How many lines were lost, in how many seconds; they are counted anew from now on."""
        lost, self._lost = self._lost, 0
        return lost, self._clock() - self._lost_since

    def _write_at_once(self, file: IO[str], data: bytes) -> bool:
        """Write to an ordinary file, which does not wait; False if it is not one, or fails."""
        try:
            if self._may_wait or file.fileno() != self._known:
                return False
            count = os.write(self._known, data)
        except (OSError, ValueError):
            return False
        if count < len(data):
            self._held.append(data[count:])
            self._size += len(data) - count
        return True

    def _write_some(self, data: bytes) -> bool:
        """Write the beginning of what is held; False when that would have to wait."""
        file = self._target()
        fd = -1 if file is None else _descriptor(file)
        if fd < 0:
            if file is not None:
                file.write(data.decode(self.encoding))
                file.flush()
            self._written(len(data))
            return True
        if fd != self._known:
            self._look_at(fd)
        if self._may_wait:
            wait = 0.0 if self._until is None else max(self._until - time.monotonic(), 0)
            if not self._poll.poll(wait * 1000):
                return False
            data = data[:_AT_ONCE]
        self._written(self._write_now(fd, data))
        return True

    def _write_now(self, fd: int, data: bytes) -> int:
        if self._terminal is None:
            return os.write(fd, data)
        again = os.open(self._terminal, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            return os.write(again, data)
        finally:
            os.close(again)

    def _written(self, count: int) -> None:
        self._size -= count
        first = self._held.popleft()
        if count < len(first):
            self._held.appendleft(first[count:])

    def _look_at(self, fd: int) -> None:
        if self._known >= 0:
            self._poll.unregister(self._known)
        self._known = fd
        self._poll.register(fd, select.POLLOUT)
        self._may_wait = not stat.S_ISREG(os.fstat(fd).st_mode)
        self._terminal = _terminal(fd)

    def _forget(self) -> None:
        self._held.clear()
        self._size = self._lost = 0

    def _target(self) -> IO[str] | None:
        return self._file or sys.stderr  # None in a process started without (``2>&-``)


def _descriptor(file: IO[str]) -> int:
    try:
        return file.fileno()
    except OSError:  # io.UnsupportedOperation among them
        return -1


def _terminal(fd: int) -> str | None:
    """The path of a terminal that can be opened once more."""
    if not os.isatty(fd):
        return None
    with contextlib.suppress(OSError):  # another user's, or of another mount namespace
        path = os.ttyname(fd)
        if os.access(path, os.W_OK):
            return path
    return None
