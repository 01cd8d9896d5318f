"""`mtls-echo serve --status`: the status port, in the server's process or beside its workers.

One process tells its `Tally` every event, and answers from the event loop that serves clients.
Several send theirs to a process that only answers here: a worker is forked and replaced at any
time, and its supervisor has neither an event loop nor threads, so that it can fork.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from typing import Any

import trio

from mtls_echo_server import events
from mtls_echo_server.events import Event, Redirect
from mtls_echo_server.log import EventLog
from mtls_echo_server.service import Server
from mtls_echo_server.status.port import StatusPort
from mtls_echo_server.status.routes import StatusSite
from mtls_echo_server.status.tally import (
    LARGEST_MESSAGE,
    Delta,
    Feed,
    Tally,
    channel,
    decode,
    push,
)
from mtls_echo_server.status.view import StatusView
from mtls_echo_server.workers.messages import Command
from mtls_echo_server.workers.process import SupervisorLink
from mtls_echo_tls.address import Address
from mtls_echo_tls.material.reloader import Reloader

# Seconds between two messages of a worker.
_SEND = 0.25


class ServiceStatus:
    """The status of one `serve`.

    Args:
        sockets: Listening; the status port's.
        host: By which the port is named, and may be asked for.
        settings: What the server was started with, for people.
        reloader: Has the files in use.
        log: Gets the events; the status is told of each.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        host: str,
        settings: Mapping[str, Any],
        reloader: Reloader,
        log: EventLog,
    ) -> None:
        self._sockets = sockets
        self._settings = settings
        self._reloader = reloader
        self._log = log
        self._addresses = [Address(*sock.getsockname()[:2]) for sock in sockets]
        self._is_local = all(address.is_loopback for address in self._addresses)
        # Elsewhere it is asked for by names that only the network knows.
        self._names = frozenset({host.lower()}) if self._is_local else None

    def announce(self) -> None:
        """Say where the port is."""
        for address in self._addresses:
            self._log(events.status(*address, is_loopback=self._is_local))

    # --- in the process that serves --------------------------------------------------------------

    def port_of(self, server: Server) -> StatusPort:
        """The port, to be run in the event loop of a server; what happens from now on is told."""
        tally = Tally()
        self._log.also = tally
        view = StatusView(tally, self._reloader, self._settings, lambda: server.connections)
        return StatusPort(self._sockets, StatusSite(view, self._names), self._log)

    async def run_beside(self, port: StatusPort) -> None:
        """Answer until cancelled."""
        self.announce()
        await port.run()

    # --- in a process of its own -----------------------------------------------------------------

    def prepare(self, workers: int, told: Redirect, listeners: Sequence[socket.socket]) -> None:
        """Before the first fork: make what the processes share.

        Args:
            workers: How many there will be.
            told: Where the reloader's events go.
            listeners: For clients, which this process must not keep open.
        """
        self._workers, self._told, self._listeners = workers, told, listeners
        self._inbox, self._outbox = channel()
        self._log.also = self._relay
        self.announce()

    def _relay(self, event: Event) -> None:
        """What the supervisor knows: a worker that has ended, and the end of all."""
        if event.name == "worker-ended" and event.details["worker"]:
            push(self._outbox, Delta(event.details["worker"], None))
        elif event.name == "stopping":
            push(self._outbox, Delta(0, stopping=True))

    def feed(self, worker: int, server: Server) -> Feed:
        """What a worker tells its events to, from inside it."""
        for sock in self._sockets:
            sock.close()
        return Feed(worker, self._outbox, lambda: server.connections)

    def work(self, link: SupervisorLink) -> None:
        """Be the status process, until the supervisor ends it."""
        for sock in self._listeners:
            sock.close()  # or the kernel would go on queueing clients here
        with open(link.log, "w", encoding=self._log.encoding) as events_up:
            log = self._log.of_worker(link.number, events_up)
            trio.run(self._run_apart, link, log)

    async def _run_apart(self, link: SupervisorLink, log: EventLog) -> None:
        tally = Tally()

        # The workers log reloads; here they are only counted, once.
        def count(event: Event) -> None:
            if event.name == "reload":
                tally(event)

        self._told.target = count
        view = StatusView(tally, self._reloader, self._settings, workers=self._workers)
        site = StatusSite(view, self._names)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._take_in, tally)
            nursery.start_soon(self._reloader.run)
            nursery.start_soon(StatusPort(self._sockets, site, log).run)
            commands = trio.socket.from_stdlib_socket(link.commands)
            while orders := await commands.recv(64):
                if Command.RELOAD.value in orders:
                    self._reloader.ask()
            nursery.cancel_scope.cancel()  # the supervisor is gone

    async def _take_in(self, tally: Tally) -> None:
        inbox = trio.socket.from_stdlib_socket(self._inbox)
        while True:
            tally.take_in(decode(await inbox.recv(2 * LARGEST_MESSAGE)))


async def send_now_and_then(feed: Feed) -> None:
    """Send what a worker has to tell, until cancelled."""
    while True:
        feed.send()
        await trio.sleep(_SEND)
