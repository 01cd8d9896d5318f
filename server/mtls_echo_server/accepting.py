"""Accept TCP connections from a listener, whatever the system runs short of meanwhile.

Without a free descriptor or memory `accept(2)` fails, and the connection stays in the kernel's
queue: it is tried again. If it is the process that has too many open files, a pending connection
makes room for each that waits, as when all slots are taken, and at once: a good client may stand
behind hundreds in that queue. A shortage of the whole system may not be of our making, and one
connection makes room now and then. While as many clients are served as may be, nothing is
accepted: further clients wait in that queue, where they cost the server nothing.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Awaitable, Callable

import trio

from mtls_echo_pki.files.durable import os_reason
from mtls_echo_server import events as _events
from mtls_echo_server.connection import Limits
from mtls_echo_server.events import Events
from mtls_echo_server.pending import PendingConnections, Slot
from mtls_echo_tls.address import Address

# Seconds until a failed accept is tried again: long enough for other connections to close.
ACCEPT_AGAIN = 0.1

# And when a connection was ended to make room: its task closes it in its next turns.
_ROOM_AGAIN = 0.001

# Connections accepted before other tasks have a turn.
_AT_ONCE = 16

_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Acceptor:
    """Accepts connections while there is capacity, and serves each in a task.

    Each gets a slot among the pending ones, and there is a token for each client that may still be
    served. ``serve`` serves a socket in its slot, and closes both; it lets no exception out.
    """

    def __init__(
        self,
        pending: PendingConnections,
        capacity: trio.Semaphore,
        limits: Limits,
        events: Events,
        serve: Callable[[socket.socket, Slot, str], Awaitable[object]],
    ) -> None:
        self._pending = pending
        self._capacity = capacity
        self._limits = limits
        self._events = events
        self._serve = serve

    async def run(self, listener: socket.socket, tasks: trio.Nursery) -> None:
        """Accept from a listener until cancelled; serve in ``tasks``, which may go on."""
        while True:
            await trio.lowlevel.wait_readable(listener)
            for _ in range(_AT_ONCE):
                if not await self._accept_one(listener, tasks):
                    break

    async def _accept_one(self, listener: socket.socket, tasks: trio.Nursery) -> bool:
        """Accept a connection, and return whether there was one."""
        if self._capacity.value == 0:
            self._events(_events.full(self._limits.max_connections))
            async with self._capacity:
                pass  # there is capacity, for the first client that is authenticated
        try:
            sock, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return False  # or the client has closed it already
        except OSError as error:
            if error.errno == errno.EBADF:
                raise  # the listener was closed under us: a bug, and no use in trying again
            self._events(_events.accept_error(os_reason(error)))
            made_room = error.errno in _SHORTAGES and self._pending.make_room()
            at_once = made_room and error.errno == errno.EMFILE
            await trio.sleep(_ROOM_AGAIN if at_once else ACCEPT_AGAIN)
            return False
        slot = Slot(address[0], trio.current_time() + self._limits.handshake_timeout)
        self._pending.add(slot)
        tasks.start_soon(self._serve, sock, slot, str(Address(*address[:2])))
        return True
