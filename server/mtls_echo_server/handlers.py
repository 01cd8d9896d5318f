"""The echo handler: sends back what arrives, until close_notify.

The oldest protocol there is (RFC 862), and still the best to study TLS with: each byte that
comes back was decrypted, and encrypted again, by a peer that was authenticated before it read it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from mtls_echo_server.connection import Connection
from mtls_echo_tls.denial import denial_line
from mtls_echo_tls.stream.tls import Answer, TLSStream

Handler: TypeAlias = Callable[[Connection], Awaitable[object]]

# Tells an authenticated client why it is not authorised.
Denier: TypeAlias = Callable[[Connection, str], Awaitable[object]]


def echo(stream: TLSStream, first: Answer | None = None) -> Awaitable[None]:
    """Send back what arrives until the client's close_notify; the caller closes the stream.

    Backpressure is the protocol's own: as long as the client does not read, nothing more is read
    from it. Deadlines are the service's (`mtls_echo_server.service`), for every handler alike.
    ``first`` answers the first bytes in its place.
    """
    # Not a coroutine of its own, which every idle connection would keep.
    return stream.answer_all(_same, first)


async def say_denied(stream: TLSStream, reason: str) -> None:
    """Tell a client that it is not authorised, by the denial line."""
    await stream.send_all(denial_line(reason))


def _same(data: bytes) -> bytes:
    return data
