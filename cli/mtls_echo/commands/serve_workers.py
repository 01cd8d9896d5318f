"""`mtls-echo serve --workers`: the service as several processes.

Everything is made ready before the first fork: the sockets, the files, the `ssl.SSLContext` and
with it the keys of its session tickets, which the workers thereby share. After a reload each
worker makes a context of its own, so a ticket is good at the worker that issued it, and elsewhere
leads to a full handshake, as tickets from before the reload do everywhere.

The rest is in the worker what it is in a single process. What concerns the service as a whole it
tells its supervisor: the counts of ``stopping`` and ``stopped``, and whether its files are in
order.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import trio

from mtls_echo.commands.serve_process import Control, make_server
from mtls_echo_server import events
from mtls_echo_server.access import Access
from mtls_echo_server.connection import Limits
from mtls_echo_server.events import Event, Redirect
from mtls_echo_server.log import EventLog
from mtls_echo_server.service import Server
from mtls_echo_server.workers.messages import Command, Ended, Ready, Reloaded, Stopping
from mtls_echo_server.workers.process import SupervisorLink, WorkerError
from mtls_echo_server.workers.supervisor import Supervisor
from mtls_echo_tls.material.reloader import Reloader

if TYPE_CHECKING:
    from mtls_echo.commands.serve_status import ServiceStatus
    from mtls_echo_server.status.tally import Feed


def run_workers(
    count: int,
    reloader: Reloader,
    sockets: list[socket.socket],
    access: Access,
    limits: Limits,
    log: EventLog,
    told: Redirect,
    *,
    trace: bool,
    http: bool,
    status: ServiceStatus | None = None,
) -> bool:
    """Serve by so many workers until a signal stops it; return whether all connections finished.

    Args:
        count: Of workers.
        reloader: Makes the contexts; its first is every worker's.
        sockets: Listening; signals are blocked since before they were.
        access: Which authenticated clients are served.
        limits: How long and how much, of all workers together.
        log: Gets every event.
        told: Where the reloader's events go, and others that arise in a worker.
        trace: Record each handshake.
        http: Answer clients that speak HTTP.
        status: Of the service, by a process of its own.
    """

    def work(link: SupervisorLink, reload_first: bool) -> None:
        share = limits.share(link.number, count)
        with open(link.log, "w", encoding=log.encoding) as events_up:
            worker = _Worker(link, log.of_worker(link.number, events_up))
            told.target = worker.tell
            server = make_server(reloader, access, share, worker.tell, trace=trace, http=http)
            if status is not None:
                worker.feed_status(status.feed(link.number, server))
            trio.run(worker.run, server, reloader, sockets, reload_first)

    client_auth = reloader.current.verify_mode.name.removeprefix("CERT_").lower()
    for sock in sockets:
        host, port = sock.getsockname()[:2]
        log(events.listening(host, port, client_auth=client_auth, pid=os.getpid(), workers=count))
    if status is not None:
        status.prepare(count, told, sockets)
    supervisor = Supervisor(
        count,
        work,
        sockets,
        log,
        grace_period=limits.grace_period,
        aside=status.work if status is not None else None,
    )
    return supervisor.run()


class _Worker:
    """One of the processes, from inside."""

    def __init__(self, link: SupervisorLink, log: EventLog) -> None:
        self._link = link
        self._log = log
        self._stopping = False
        self._feed: Feed | None = None

    def feed_status(self, feed: Feed) -> None:
        """Have the status process told of every event."""
        self._feed = self._log.also = feed

    def tell(self, event: Event) -> None:
        """Log an event; those that concern the service tell its supervisor instead."""
        details = event.details
        match event.name:
            case "listening":
                self._link.tell(Ready())
                self._send_status()
            case "stopping":
                self._link.tell(Stopping(details["connections"]))
            case "stopped":
                self._log.finish()
                self._send_status()
                self._link.tell(Ended(details["drained"], details["aborted"]))
            case "reload":
                self._log(event)
                self._link.tell(Reloaded(details["ok"], details["generation"]))
            case _:
                self._log(event)

    def _send_status(self) -> None:
        if self._feed is not None:
            self._feed.send()

    async def run(
        self, server: Server, reloader: Reloader, sockets: list[socket.socket], reload_first: bool
    ) -> None:
        """Serve until told to stop; without a supervisor, end at once."""
        with trio.open_signal_receiver(signal.SIGTERM) as signals:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            control = Control(server, reloader)
            problem: str | None = None
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._obey, control)
                nursery.start_soon(self._obey_signals, control, signals)
                nursery.start_soon(self._log.run)
                if self._feed is not None:
                    from mtls_echo.commands.serve_status import send_now_and_then

                    nursery.start_soon(send_now_and_then, self._feed)
                if reload_first:
                    await reloader.check()
                    problem = reloader.problem
                if problem is None:
                    nursery.start_soon(control.run_reloader)
                    await server.run(sockets)
                nursery.cancel_scope.cancel()
        if problem is not None:
            raise WorkerError(problem)

    async def _obey(self, control: Control) -> None:
        commands = trio.socket.from_stdlib_socket(self._link.commands)
        while orders := await commands.recv(64):
            for order in orders:
                match Command(bytes([order])):
                    case Command.RELOAD:
                        control.reload()
                    case Command.STOP:
                        self._stop(control)
                    case Command.ABORT:
                        self._stop(control)
                        control.stop()
        # As a server does that is killed: its supervisor is, and reads no events any more.
        os._exit(1)

    async def _obey_signals(self, control: Control, signals: AsyncIterator[int]) -> None:
        async for _ in signals:
            self._stop(control)

    def _stop(self, control: Control) -> None:
        if not self._stopping:
            self._stopping = True
            control.stop()
