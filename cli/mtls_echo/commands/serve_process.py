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

import trio

from mtls_echo_server import events
from mtls_echo_server.access import Access
from mtls_echo_server.connection import Limits
from mtls_echo_server.log import EventLog
from mtls_echo_server.service import Server, Stopped
from mtls_echo_tls.material.reloader import Reloader

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
) -> Stopped:
    """Serve until a signal stops the server.

    Args:
        reloader: Makes the contexts. It runs for as long as the server does.
        sockets: Listening; signals are blocked since before they were.
        access: Which authenticated clients are served.
        limits: How long and how much.
        log: Gets every event, and runs as long.
        trace: Record each handshake.
    """

    async def main() -> Stopped:
        server = Server(reloader, access=access, limits=limits, events=log, trace=trace)
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            # What was held arrives now.
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGHUP})
            reloading = trio.CancelScope()

            async def reload() -> None:
                with reloading:
                    await reloader.run()

            async def obey(signals: AsyncIterator[int]) -> None:
                async for number in signals:
                    if number == signal.SIGHUP:
                        reloader.ask()
                    else:
                        reloading.cancel()
                        server.stop()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(obey, signals)
                nursery.start_soon(reload)
                nursery.start_soon(log.run)
                stopped = await server.run(sockets)
                nursery.cancel_scope.cancel()
        return stopped

    return trio.run(main)


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
