"""Serve exhibits: many on one port, chosen by the name that a client asks for; or one on its own.

The ClientHello is read before there is a TLS connection, and the connection is made with the
context of the exhibit that its SNI names (RFC 6066 §3). Exchanging the context in `ssl`'s callback
for names is no way: OpenSSL has taken versions, options and more from the first one by then.

A client that exhibits nothing wrong itself is never harmed by one that visits `silent` or
`resets`: each connection has a task and a deadline, and there is room for so many.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import trio

from mtls_echo.gallery.behaviours import answer
from mtls_echo.gallery.collection import EXHIBITS
from mtls_echo.gallery.exhibit import Exhibit
from mtls_echo.gallery.visit import Visit
from mtls_echo_server.connection import first_record
from mtls_echo_server.listeners import listen
from mtls_echo_tls.stream.tcp import SCRATCH, TCPStream
from mtls_echo_tls.trace.messages import read_hello

if TYPE_CHECKING:
    from mtls_echo.gallery.world import World
    from mtls_echo_pki.flaws.flaw import TLSVersion

# Seconds for one connection in all, and for an exhibit that keeps clients waiting.
DEADLINE, HOLD = 60.0, 30.0

# Connections at once.
_MOST = 1000

# What is shown to a client that names no exhibit.
INDEX = Exhibit(
    slug="index",
    group="baseline",
    title="The list of exhibits",
    rule="RFC 6066 §3",
    must="work",
    behave=answer,
)

# The names under which one exhibit alone is served, for clients on this machine.
LOCAL = ("localhost", "127.0.0.1", "::1")

Seen: TypeAlias = Callable[[Visit], None]
Attend: TypeAlias = Callable[[socket.socket], Awaitable[None]]


@dataclass
class Place:
    """Where one exhibit is served alone, and who has been there."""

    port: int
    visits: list[Visit] = field(default_factory=list[Visit])
    arrived: int = 0
    gone: trio.Event = field(default_factory=trio.Event)

    async def wait_empty(self) -> None:
        """Wait until every visit so far is over."""
        while self.arrived > len(self.visits):
            await self.gone.wait()


class Gallery:
    """Serves exhibits, with the certificates of one world.

    Args:
        world: Makes the certificates.
        domain: The exhibits are ``SLUG.DOMAIN``.
        hold: Seconds for which an exhibit keeps clients waiting that does so.
    """

    def __init__(
        self, world: World, domain: str = "gallery.localhost", hold: float = HOLD
    ) -> None:
        self.world = world
        self.domain = domain
        self._hold = hold
        self._room = trio.CapacityLimiter(_MOST)

    def exhibit_of(self, server_name: str | None) -> Exhibit:
        """The exhibit that a client asks for; the index for any other name, or none."""
        name = (server_name or "").lower().removesuffix(".")
        slug, _, domain = name.partition(".")
        return EXHIBITS.get(slug, INDEX) if domain == self.domain else INDEX

    def names_of(self, exhibit: Exhibit) -> tuple[str, ...]:
        """The names of an exhibit's certificate."""
        if exhibit is INDEX:
            return (self.domain, f"*.{self.domain}", *LOCAL)
        return (f"{exhibit.slug}.{self.domain}",)

    async def serve(
        self,
        sockets: Sequence[socket.socket],
        seen: Seen,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve every exhibit by name on listening sockets, until cancelled.

        Args:
            seen: Called with each visit when it is over.
        """

        async def attend(sock: socket.socket) -> None:
            visit = await self._meet(TCPStream(sock), None, None)
            if visit is not None:
                await visit.run()
                seen(visit)

        async with trio.open_nursery() as nursery:
            for sock in sockets:
                nursery.start_soon(self._accept, sock, attend, nursery)
            task_status.started()

    @contextlib.asynccontextmanager
    async def alone(
        self, exhibit: Exhibit, version: TLSVersion | None = None
    ) -> AsyncGenerator[Place]:
        """Serve one exhibit for localhost on a port of its own, whatever name is asked for."""
        (listener,) = listen(["127.0.0.1:0"])
        place = Place(listener.getsockname()[1])

        async def attend(sock: socket.socket) -> None:
            place.arrived += 1
            visit = await self._meet(TCPStream(sock), exhibit, version)
            try:
                if visit is not None:
                    await visit.run()
            finally:
                if visit is not None:
                    place.visits.append(visit)
                else:
                    place.arrived -= 1
                place.gone.set()
                place.gone = trio.Event()

        with listener:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._accept, listener, attend, nursery)
                yield place
                nursery.cancel_scope.cancel()

    async def _accept(
        self, listener: socket.socket, attend: Attend, nursery: trio.Nursery
    ) -> None:
        while True:
            await trio.lowlevel.wait_readable(listener)
            with contextlib.suppress(BlockingIOError, ConnectionAbortedError):
                sock, _ = listener.accept()
                nursery.start_soon(self._limited, sock, attend)

    async def _limited(self, sock: socket.socket, attend: Attend) -> None:
        async with self._room:
            with sock, trio.move_on_after(DEADLINE):
                await attend(sock)

    async def _meet(
        self, transport: TCPStream, exhibit: Exhibit | None, version: TLSVersion | None
    ) -> Visit | None:
        """Read a client's first record; None where it left before it had sent one."""
        size, _ = await first_record(transport, bytearray())
        if not size:
            return None
        first = bytes(SCRATCH[:size])
        server_name = read_hello(first[5:]).server_name
        names: tuple[str, ...] = LOCAL
        if exhibit is None:
            exhibit = self.exhibit_of(server_name)
            names = self.names_of(exhibit)
        context = self.world.context(exhibit, version, *names)
        return Visit(exhibit, context, transport, first, self._hold, server_name, self.domain)
