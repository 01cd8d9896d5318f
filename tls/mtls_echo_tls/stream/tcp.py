"""A TCP connection as a trio stream, as close to the system call as possible.

`trio.SocketStream` is right and general: every operation passes a lock, a conflict check, a
retry helper and two checkpoints. For an echo server that costs as much as the cryptography
(measured: 34 % of the CPU of a 64-byte round trip is in its retry helper). `TCPStream` keeps
trio's rules and drops the generality: try the system call first, wait only on ``EAGAIN``, one
checkpoint per operation, one conflict check per direction.

It also sets the one TCP option that a TLS server needs (`acknowledge_now`).
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence

import trio

# `receive_some` takes at most this much: four whole TLS records of 16 KiB and their headers. Below
# malloc's 128 KiB threshold for mmap(2), above which every receive would map and unmap memory.
RECEIVE_SIZE = 65_664

# Where `TCPStream.take` puts what it receives, up to eight records: one buffer for the process,
# since nothing stays in it across an await. With twice as much, and all that is made of it, the
# caches of a busy machine are full (measured: 1.4 times the CPU time of echoes of 1 MiB).
_scratch = bytearray(2 * RECEIVE_SIZE)
SCRATCH = memoryview(_scratch)

_CLOSED_ERRNOS = frozenset({errno.EBADF, errno.ENOTSOCK})


class Exclusive:
    """A conflict check: admits one task and raises `trio.BusyResourceError` for a second.

    Two tasks in the same direction of one stream would interleave their bytes; trio's streams
    report that programming error at once instead of corrupting data.
    """

    __slots__ = ("_freed", "_message", "held")

    def __init__(self, message: str) -> None:
        self._message = message
        self._freed: trio.Event | None = None
        self.held = False

    def __enter__(self) -> None:
        self.take()

    def __exit__(self, *_: object) -> None:
        self.free()

    def take(self) -> None:
        """Begin, or raise `trio.BusyResourceError`."""
        if self.held:
            raise trio.BusyResourceError(self._message)
        self.held = True

    def free(self) -> None:
        """End."""
        self.held = False
        if self._freed is not None:
            self._freed.set()
            self._freed = None

    async def wait_free(self) -> None:
        """Wait until no task is inside."""
        while self.held:
            if self._freed is None:
                self._freed = trio.Event()
            await self._freed.wait()


class InTurn:
    """A first-in, first-out lock for the tasks of one stream, for `async with`.

    As `trio.StrictFIFOLock`, but taking it when it is free costs no more than a flag, and it
    uses no memory for waiting tasks while there are none.
    """

    __slots__ = ("_waiting", "held")

    def __init__(self) -> None:
        self._waiting: trio.lowlevel.ParkingLot | None = None
        self.held = False

    async def __aenter__(self) -> None:
        await self.take()

    async def __aexit__(self, *_: object) -> None:
        self.free()

    async def take(self) -> None:
        """Wait for one's turn."""
        if not self.held:
            self.held = True
            return
        if self._waiting is None:
            self._waiting = trio.lowlevel.ParkingLot()
        await self._waiting.park()  # it is handed over, still held

    def free(self) -> None:
        """Let the next one have its turn."""
        if self._waiting is None or not self._waiting.unpark():
            self.held = False


class TCPStream(trio.abc.HalfCloseableStream):
    """One TCP connection, owned by this object until `aclose`.

    It becomes non-blocking, and ``TCP_NODELAY`` is set: TLS writes whole flights, which Nagle's
    algorithm would only hold back.
    """

    __slots__ = ("__weakref__", "_receive_check", "_send_check", "socket")

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.socket = sock
        self._send_check: Exclusive | None = None
        self._receive_check: Exclusive | None = None
        self._set(socket.TCP_NODELAY)

    @classmethod
    async def connect(cls, host: str, port: int) -> TCPStream:
        """Connect to ``host``, trying its addresses as RFC 8305 recommends.

        Raises:
            OSError: When no address accepts; its cause holds each attempt's error.
        """
        stream = await trio.open_tcp_stream(host, port)
        # detach() hands over the descriptor, so that the connection has one owner.
        return cls(socket.socket(fileno=stream.socket.detach()))

    # Made when they are needed: most connections are never waited for here.

    @property
    def _sending(self) -> Exclusive:
        if self._send_check is None:
            self._send_check = Exclusive("another task is sending on this connection")
        return self._send_check

    @property
    def _receiving(self) -> Exclusive:
        if self._receive_check is None:
            self._receive_check = Exclusive("another task is receiving on this connection")
        return self._receive_check

    @property
    def is_open(self) -> bool:
        """Whether this end has not been closed."""
        return self.socket.fileno() != -1

    # --- without waiting -------------------------------------------------------------------------

    def take(self) -> int:
        """Receive into `SCRATCH`; the caller processes or copies it before it awaits anything.

        Returns how many bytes; 0 once the peer has sent its FIN, -1 when nothing has arrived.
        """
        try:
            return self.socket.recv_into(_scratch)
        except BlockingIOError:
            return -1
        except OSError as error:
            raise _broken(error) from error

    def push(self, pieces: Sequence[bytes | memoryview]) -> bytes | memoryview:
        """Send what the kernel has room for, and return the rest."""
        alone = len(pieces) == 1
        try:
            sent = self.socket.send(pieces[0]) if alone else self.socket.sendmsg(pieces)
        except BlockingIOError:
            sent = 0
        except OSError as error:
            raise _broken(error) from error
        if sent == (len(pieces[0]) if alone else sum(map(len, pieces))):
            return b""
        return memoryview(b"".join(pieces))[sent:]

    def half_close(self) -> None:
        """Close the sending direction: the peer reads to the end, then sees EOF."""
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError as error:
            raise _broken(error) from error

    # --- as trio's streams -----------------------------------------------------------------------

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send all of ``data``; see `trio.abc.SendStream.send_all`."""
        with self._sending:
            await trio.lowlevel.checkpoint_if_cancelled()
            self._check_open()
            remaining = memoryview(data)
            waited = False
            while remaining:
                try:
                    sent = self.socket.send(remaining)
                except BlockingIOError:
                    await trio.lowlevel.wait_writable(self.socket)
                    waited = True
                except OSError as error:
                    raise _broken(error) from error
                else:
                    remaining = remaining[sent:]
            if not waited:
                await trio.lowlevel.cancel_shielded_checkpoint()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the kernel has room for more."""
        with self._sending:
            self._check_open()
            await trio.lowlevel.wait_writable(self.socket)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive what has arrived, ``b""`` once the peer has sent its FIN."""
        if max_bytes is not None and max_bytes < 1:
            raise ValueError("max_bytes must be at least 1")
        with self._receiving:
            await trio.lowlevel.checkpoint_if_cancelled()
            self._check_open()
            waited = False
            while True:
                try:
                    data = self.socket.recv(max_bytes or RECEIVE_SIZE)
                except BlockingIOError:
                    await trio.lowlevel.wait_readable(self.socket)
                    waited = True
                except OSError as error:
                    raise _broken(error) from error
                else:
                    break
            if not waited:
                await trio.lowlevel.cancel_shielded_checkpoint()
            return data

    async def send_eof(self) -> None:
        """As `half_close`."""
        with self._sending:
            await trio.lowlevel.checkpoint()
            self._check_open()
            self.half_close()

    async def aclose(self) -> None:
        """Close the connection; tasks waiting on it get `trio.ClosedResourceError`.

        Closing while received bytes lie unread makes the kernel answer with RST, which
        destroys what the peer has not read yet: read to the end first where that matters.
        """
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """Close without a checkpoint, for clean-up that must not be cancelled."""
        if self.is_open:
            trio.lowlevel.notify_closing(self.socket)
            self.socket.close()

    def interrupt(self) -> None:
        """Raise `trio.ClosedResourceError` in tasks that wait on this connection; do not close it.

        For an owner that is about to close, and has to read or send something before.
        """
        if self.is_open:
            trio.lowlevel.notify_closing(self.socket)

    def acknowledge_now(self) -> None:
        """Acknowledge received data at once, not with the next data sent (Linux).

        The last flight of a handshake is the client's. A client without ``TCP_NODELAY`` keeps
        its first message back until that flight is acknowledged, and a server without session
        tickets has nothing to send that could carry the acknowledgement: 44 ms pass before the
        kernel's delayed-acknowledgement timer ends the wait. One call after the handshake
        removes them (measured: 44.3 ms to 2.0 ms for the first echo).
        """
        if hasattr(socket, "TCP_QUICKACK"):
            self._set(socket.TCP_QUICKACK)

    def _set(self, option: int) -> None:
        try:
            self.socket.setsockopt(socket.IPPROTO_TCP, option, 1)
        except OSError:
            return  # a socketpair(2), as in the tests of TLS, has no such option

    def _check_open(self) -> None:
        if not self.is_open:
            raise trio.ClosedResourceError("this connection was closed")


def _broken(error: OSError) -> trio.BrokenResourceError | trio.ClosedResourceError:
    if error.errno in _CLOSED_ERRNOS:
        return trio.ClosedResourceError("this connection was closed")
    return trio.BrokenResourceError(f"the connection broke: {error.strerror}")
