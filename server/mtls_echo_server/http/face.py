"""The HTTP face of an echo server: clients that speak HTTP/1.1 get answers, all others their echo.

A client speaks HTTP if ALPN has agreed on it, or if its first bytes are a request. It is answered
with what its own handshake was, and `POST /echo` echoes. For every other client the server is what
it was without: its first bytes are looked at, once.

A client that is authenticated and not authorised learns why: by ``403`` if ALPN says that it
speaks HTTP, and otherwise by the denial line (`mtls_echo_tls.denial`), at once, since a client
that waits for the server would wait for ever.
"""

from __future__ import annotations

import ssl
from functools import partial
from typing import TYPE_CHECKING

from mtls_echo_server.handlers import echo, say_denied
from mtls_echo_server.http.detect import HTTP_1_1, is_request

if TYPE_CHECKING:
    from collections.abc import Callable

    from mtls_echo_server.connection import Connection
    from mtls_echo_server.http.site import Site

    # Makes what answers a connection.
    SiteOf = Callable[[Connection], Site]


def offer_http(context: ssl.SSLContext) -> None:
    """Have a context agree on HTTP/1.1 with a client that offers it.

    It is not insisted on: a client that offers other protocols only goes on without one.
    """
    context.set_alpn_protocols([HTTP_1_1])


class Face:
    """Handles connections that speak HTTP and others: `handle` and `deny` are a server's.

    ``site_of`` makes what answers a connection; by default that tells it its own handshake.
    """

    def __init__(self, site_of: SiteOf | None = None) -> None:
        self._site_of = site_of

    async def handle(self, connection: Connection) -> None:
        """Echo, unless the client speaks HTTP."""
        begun = b""
        if connection.evidence.alpn != HTTP_1_1:
            try:
                await echo(connection, first=partial(_look, connection))
            except _RequestArrived as request:
                begun = request.begun
            else:
                return
        await self._converse(connection, begun)

    async def deny(self, connection: Connection, reason: str) -> None:
        """Tell a client that it is not authorised, and why."""
        if connection.evidence.alpn != HTTP_1_1:
            await say_denied(connection, reason)
            return
        from mtls_echo_server.http.own_site import denied

        await self._converse(connection, b"", denied(reason))

    async def _converse(
        self, connection: Connection, begun: bytes, site: Site | None = None
    ) -> None:
        # Here, since h11 and the pages are not for a server that only echoes.
        from mtls_echo_server.http.conversation import Conversation

        if site is None and self._site_of is not None:
            site = self._site_of(connection)
        if site is None:
            from mtls_echo_server.http.own_site import own_site

            site = own_site(connection)
        connection.evidence.intend("http")
        conversation = Conversation(
            connection,
            site,
            begun=begun,
            between=connection.reach_boundary,
            closing=lambda: connection.retired,
        )
        try:
            await conversation.run()
        finally:
            connection.requests = conversation.requests
            if conversation.stalled:
                connection.expire()


class _RequestArrived(Exception):
    """The first bytes of a connection are HTTP."""

    def __init__(self, begun: bytes) -> None:
        super().__init__()
        self.begun = begun


def _look(connection: Connection, first: bytes) -> bytes:
    """Answer the first bytes with themselves, unless they are a request."""
    if is_request(first):
        raise _RequestArrived(first)
    if not connection.evidence.recorder.requested:
        connection.evidence.recorder.forget()
    return first
