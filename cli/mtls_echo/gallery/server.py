"""Serve exhibits: many on one port, chosen by the name that a client asks for; or one on its own.

The ClientHello is read before there is a TLS connection, and the connection is made with the
context of the exhibit that its SNI names (RFC 6066 §3). Exchanging the context in `ssl`'s callback
for names is no way: OpenSSL has taken versions, options and more from the first one by then.

An exhibit that stalls or resets harms no other: each connection has a task and a deadline, and
there is room for so many.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import trio

from mtls_echo.gallery.collection import ALIASES, EXHIBITS
from mtls_echo.gallery.exhibit import Exhibit, ExhibitVisit
from mtls_echo.gallery.page import show_index
from mtls_echo_server.connection import first_record
from mtls_echo_server.listeners import ListenError, listen
from mtls_echo_tls.stream.tcp import SCRATCH, TCPStream
from mtls_echo_tls.trace.messages import read_hello

if TYPE_CHECKING:
    from mtls_echo.gallery.world import World
    from mtls_echo_pki.flaws.flaw import TLSVersion

# Seconds for one connection in all, and for an exhibit that keeps clients waiting.
DEADLINE, HOLD = 60.0, 30.0

# Connections at once; seconds until an accept that failed, for want of descriptors say, is tried
# again; and for which a connection may outlast the command that made it.
_MOST, _AGAIN, _OUTLAST = 1000, 0.1, 5.0

# What is shown to a client that names no exhibit.
INDEX = Exhibit(
    slug="index",
    group="baseline",
    title="The list of exhibits",
    rule="RFC 6066 §3",
    must="work",
    behave=partial(show_index, EXHIBITS.values()),
)

# The names under which one exhibit alone is served, for clients on this machine.
LOCAL = ("localhost", "127.0.0.1", "::1")

Seen: TypeAlias = Callable[[ExhibitVisit], object]
Attend: TypeAlias = Callable[[TCPStream], Awaitable[None]]


@dataclass
class Place:
    """Where one exhibit is served alone, and what came there.

    Attributes:
        came: Whether a client has sent anything.
        established: Whether a handshake was completed.
        received: Bytes of application data.
        alert, cause: How a client refused, and why, by the server's report.
    """

    port: int
    came: bool = False
    established: bool = False
    received: int = 0
    alert: str | None = None
    cause: str | None = None

    def keep(self, visit: ExhibitVisit) -> None:
        """Add a visit that is over; it is not kept, since clients may come very often."""
        self.came = True
        self.established |= visit.established
        self.received += visit.received
        report = visit.report if self.alert is None else None
        if report is not None and report.rejected_by == "client" and report.alert is not None:
            self.alert = report.alert.name
            self.cause = report.causes[0] if report.causes else None


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

    def asked_for(self, server_name: str | None) -> tuple[Exhibit, tuple[str, ...]]:
        """The exhibit that a client asks for, and the names of its certificate.

        That is the index for any other name, or none.
        """
        name = (server_name or "").lower().removesuffix(".")
        slug = name.removesuffix(f".{self.domain}") if name.endswith(f".{self.domain}") else ""
        exhibit = EXHIBITS.get(ALIASES.get(slug, slug), INDEX)
        if exhibit is INDEX or exhibit.by_address:
            return INDEX, (self.domain, f"*.{self.domain}", *LOCAL)
        return exhibit, (name,)

    def names_of(self, exhibit: Exhibit) -> tuple[str, ...]:
        """The name under which an exhibit is served with all others."""
        return (f"{exhibit.slug}.{self.domain}",)

    async def serve(self, sockets: Sequence[socket.socket], seen: Seen) -> None:
        """Serve every exhibit by name on listening sockets, until cancelled.

        Args:
            seen: Called with each visit when it is over.
        """
        async with trio.open_nursery() as visits:
            for sock in sockets:
                visits.start_soon(self._accept, sock, visits, partial(self._meet, seen))

    @contextlib.asynccontextmanager
    async def alone(
        self, exhibit: Exhibit, version: TLSVersion | None = None
    ) -> AsyncGenerator[Place]:
        """Serve one exhibit for localhost on a port of its own, whatever name is asked for.

        At the end every connection that has been made by then is served, and kept.
        """
        sockets = _listen_locally()
        place = Place(sockets[0].getsockname()[1])
        attend = partial(self._meet, place.keep, exhibit=exhibit, version=version)
        with contextlib.ExitStack() as stack:
            for sock in sockets:
                stack.enter_context(sock)
            async with trio.open_nursery() as visits:
                async with trio.open_nursery() as accepting:
                    for sock in sockets:
                        accepting.start_soon(self._accept, sock, visits, attend)
                    yield place
                    accepting.cancel_scope.cancel()
                # A client may have come and gone before its connection was accepted.
                for sock in sockets:
                    while (left := _accepted(sock)) is not None:
                        visits.start_soon(self._limited, left, attend)
                visits.cancel_scope.deadline = trio.current_time() + _OUTLAST

    async def _accept(self, listener: socket.socket, visits: trio.Nursery, attend: Attend) -> None:
        while True:
            await trio.lowlevel.wait_readable(listener)
            async with self._room:
                pass  # there is room for one more
            try:
                sock = _accepted(listener)
            except OSError as error:
                if error.errno == errno.EBADF:
                    raise
                await trio.sleep(_AGAIN)
                continue
            if sock is not None:
                visits.start_soon(self._limited, sock, attend)

    async def _limited(self, sock: socket.socket, attend: Attend) -> None:
        with sock:
            async with self._room:
                with trio.move_on_after(DEADLINE):
                    await attend(TCPStream(sock))

    async def _meet(
        self,
        seen: Seen,
        transport: TCPStream,
        exhibit: Exhibit | None = None,
        version: TLSVersion | None = None,
    ) -> None:
        """Read a client's first record, and show it the exhibit; it may leave before that."""
        size, _ = await first_record(transport, bytearray())
        if not size:
            return
        first = bytes(SCRATCH[:size])
        server_name = read_hello(first[5:]).server_name
        names: tuple[str, ...] = LOCAL
        if exhibit is None:
            exhibit, names = self.asked_for(server_name)
        context = self.world.context(exhibit, version, *names)
        visit = ExhibitVisit(
            exhibit, context, transport, first, self._hold, server_name, self.domain
        )
        try:
            await visit.run()
        finally:
            seen(visit)


def _accepted(listener: socket.socket) -> socket.socket | None:
    """The next connection that waits to be accepted; None if there is none."""
    try:
        return listener.accept()[0]
    except (BlockingIOError, ConnectionAbortedError):
        return None


def _listen_locally() -> list[socket.socket]:
    """Listen on a free port, by IPv4 and, where there is one here, by IPv6."""
    sockets = listen(["127.0.0.1:0"])
    with contextlib.suppress(ListenError):
        sockets += listen([f"[::1]:{sockets[0].getsockname()[1]}"])
    return sockets
