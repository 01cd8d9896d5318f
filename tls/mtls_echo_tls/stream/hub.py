"""Answer connections at rest from one epoll object, without a task switch for each message.

A task that waits for a socket through trio costs two system calls of registration and a turn of
the scheduler per message: more than the message's cryptography. A `Hub` keeps sockets registered
with its own epoll object, for which one task waits, and calls a plain function when data
has arrived at one of them. That function answers at once, or wakes the connection's own task
(`mtls_echo_tls.stream.answering`), which meanwhile sleeps under its own cancel scope and deadline.

On a system without epoll there is no hub, and every task waits for itself.
"""

from __future__ import annotations

import contextlib
import select
from collections.abc import AsyncGenerator, Callable
from typing import TypeAlias

import trio

# Called when data has arrived, with the current time; returns whether there may be more.
Ready: TypeAlias = Callable[[float], bool]

# How often the sockets are polled again before other tasks have a turn, and how many at once.
_ROUNDS, _AT_ONCE = 8, 64

# Other tasks have a turn after so many seconds, wherever a round is: each client that sends much
# takes a fifth of that (measured: a handshake beside 16 of them takes .4 of the time that it took
# when a round was finished first).
_TURN = 0.001


class Hub:
    """The sockets of connections at rest; the caller owns the epoll object."""

    def __init__(self, epoll: select.epoll) -> None:
        self._epoll = epoll
        self._ready: dict[int, Ready] = {}

    def add(self, fd: int, ready: Ready) -> None:
        """Call ``ready`` from now on whenever there is something to receive (level-triggered)."""
        self._epoll.register(fd, select.EPOLLIN)
        self._ready[fd] = ready

    def remove(self, fd: int) -> None:
        """Undo `add`. Before the socket is closed: its number may be given to another."""
        if self._ready.pop(fd, None) is not None:
            with contextlib.suppress(OSError):  # closed already, so that the kernel has removed it
                self._epoll.unregister(fd)

    async def run(self) -> None:
        """Serve the sockets until cancelled."""
        fd, poll, ready_of = self._epoll.fileno(), self._epoll.poll, self._ready.get
        arrived: list[tuple[int, int]] = []
        while True:
            await trio.lowlevel.wait_readable(fd)
            now = trio.current_time()
            for _ in range(_ROUNDS):
                # First those of the last round that have not had their turn.
                arrived = arrived or poll(0, _AT_ONCE)[::-1]
                if not arrived:
                    break
                more = False
                while arrived:
                    ready = ready_of(arrived.pop()[0])
                    if ready is not None and ready(now):
                        more = True
                        if trio.current_time() - now > _TURN:
                            break
                ready = None  # or it would keep its connection until the next one has something
                # A client that is alone sends nothing before it has read the answer.
                alone = len(self._ready) < 2 and not more
                if alone or trio.current_time() - now > _TURN:
                    break


@contextlib.asynccontextmanager
async def open_hub() -> AsyncGenerator[Hub | None]:
    """A hub that runs while the body does; None on a system without epoll."""
    if not hasattr(select, "epoll"):
        yield None
        return
    with select.epoll() as epoll:
        async with trio.open_nursery() as nursery:
            hub = Hub(epoll)
            nursery.start_soon(hub.run)
            yield hub
            nursery.cancel_scope.cancel()
