"""The process of `mtls-echo serve`: its signals, its descriptors, its reloads.

SIGTERM and SIGINT stop the server. SIGHUP has the files read at once; several of it before that is
done are one. While the server drains no client is admitted, so nothing is read any more: SIGHUP
then has no effect, and ``stopped`` is the last event.
"""

from __future__ import annotations

import resource
import signal
import socket
from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING

import trio

from mtls_echo_server import events
from mtls_echo_server.access import Access
from mtls_echo_server.connection import Limits
from mtls_echo_server.events import Events
from mtls_echo_server.http.face import Face
from mtls_echo_server.log import EventLog
from mtls_echo_server.service import Server, Stopped
from mtls_echo_tls.material.reloader import Reloader

if TYPE_CHECKING:
    from mtls_echo.commands.serve_status import ServiceStatus

# Descriptors beside the connections': standard streams, listeners, epoll, wake-up pipes, files.
_OTHER_DESCRIPTORS = 64


def run(
    reloader: Reloader,
    sockets: list[socket.socket],
    access: Access,
    limits: Limits,
    log: EventLog,
    *,
    trace: bool,
    http: bool,
    status: ServiceStatus | None = None,
) -> Stopped:
    """Serve until a signal stops the server.

    Args:
        reloader: Makes the contexts. It runs for as long as the server does.
        sockets: Listening; signals are blocked since before they were.
        access: Which authenticated clients are served.
        limits: How long and how much.
        log: Gets every event, and runs as long.
        trace: Record each handshake.
        http: Answer clients that speak HTTP.
        status: Of the server; answers for as long as it does anything.
    """

    async def main() -> Stopped:
        server = make_server(reloader, access, limits, log, trace=trace, http=http)
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            # What was held arrives now.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGHUP})
            control = Control(server, reloader)

            async def obey(signals: AsyncIterator[int]) -> None:
                async for number in signals:
                    if number == signal.SIGHUP:
                        control.reload()
                    else:
                        control.stop()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(obey, signals)
                nursery.start_soon(control.run_reloader)
                nursery.start_soon(log.run)
                if status is not None:
                    nursery.start_soon(status.run_beside, status.port_of(server))
                stopped = await server.run(sockets)
                nursery.cancel_scope.cancel()
        return stopped

    return trio.run(main)


def make_server(
    reloader: Reloader, access: Access, limits: Limits, events: Events, *, trace: bool, http: bool
) -> Server:
    """The echo server, with its HTTP face or without."""
    serve = partial(Server, reloader, access=access, limits=limits, events=events, trace=trace)
    if not http:
        return serve()
    face = Face()
    return serve(handler=face.handle, deny=face.deny, keep_recording=True)


class Control:
    """What an operator can have a running server do."""

    def __init__(self, server: Server, reloader: Reloader) -> None:
        self._server = server
        self._reloader = reloader
        self._reloading = trio.CancelScope()

    async def run_reloader(self) -> None:
        """Read the files again and again, until the server stops."""
        with self._reloading:
            await self._reloader.run()

    def reload(self) -> None:
        """Read the files now."""
        self._reloader.ask()

    def stop(self) -> None:
        """Accept no more, and let open connections finish; called again, cut them off."""
        self._reloading.cancel()
        self._server.stop()


def raise_descriptor_limit(limits: Limits, log: EventLog) -> None:
    """Take the descriptors that the connections need, as far as the system lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = limits.max_connections + _OTHER_DESCRIPTORS
    wanted = needed + limits.max_pending
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    reachable = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (reachable, hard))
    if reachable < needed:
        log(
            events.warning(
                f"--max-connections {limits.max_connections} is more than the {reachable} "
                "descriptors that this process may open (ulimit -n); clients beyond them wait"
            )
        )
