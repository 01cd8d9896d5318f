"""A server in one call, for a nursery that has other things to do as well."""

from __future__ import annotations

import ssl
from collections.abc import Sequence

import trio

from mtls_echo_server.access import Access
from mtls_echo_server.admission import ContextSource
from mtls_echo_server.connection import Limits
from mtls_echo_server.events import Events
from mtls_echo_server.handlers import echo
from mtls_echo_server.listeners import listen
from mtls_echo_server.service import Handler, Server
from mtls_echo_tls.address import Address


async def serve(
    context: ssl.SSLContext | ContextSource,
    addresses: str | Sequence[str] = "127.0.0.1:8443",
    handler: Handler = echo,
    *,
    access: Access | None = None,
    limits: Limits | None = None,
    events: Events | None = None,
    trace: bool = False,
    task_status: trio.TaskStatus[list[Address]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled: a `Server` for a nursery.

    ::

        addresses = await nursery.start(serve, context, "127.0.0.1:0")

    Args:
        context: As for `Server`.
        addresses: ``HOST:PORT``, one or several; port 0 is any free one.
        handler: As for `Server`.
        access: As for `Server`.
        limits: As for `Server`.
        events: As for `Server`.
        trace: As for `Server`.
        task_status: Started with the addresses, as ``(host, port)``, when clients may connect.

    Raises:
        ListenError: An address cannot be listened on.
        ValueError: An address is not ``HOST:PORT``.
    """
    server = Server(context, handler, access=access, limits=limits, events=events, trace=trace)
    wanted = [addresses] if isinstance(addresses, str) else list(addresses)
    # In a thread: a host name may have to be looked up.
    sockets = await trio.to_thread.run_sync(listen, wanted)
    await server.run(sockets, task_status=task_status)
