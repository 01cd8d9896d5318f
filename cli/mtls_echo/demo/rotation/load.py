"""A service whose certificates change while its clients keep coming, and a count of what was lost.

A server and its clients run in one process and over real TCP, with nothing between them but a PKI
directory that each of them reads for itself (`mtls_echo_tls.material.reloader`). Most clients
connect, prove themselves, have a line echoed, close and connect again, half of them in each
version of TLS; one stays connected from beginning to end. Whatever goes wrong for any of them is a
loss: certificates change, and the service must not show it.

What changes them is not in here; the occasions are (`mtls_echo.demo.rotation.scenarios`).
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import trio

from mtls_echo.demo.rotation.attacker import VERSIONS
from mtls_echo_client.context import client_context
from mtls_echo_client.session import connect
from mtls_echo_server.context import server_context
from mtls_echo_server.events import Event
from mtls_echo_server.serving import serve
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.material.load import Material, client_material, server_material
from mtls_echo_tls.material.reloader import Reloader

# Clients that come and go: enough that some are in their handshake at every moment.
CLIENTS = 8

# Seconds between two connections of one client, and two echoes of the one that stays: a demanding
# service, and not a benchmark.
_PAUSE = 0.02

# Against a hang only: it decides nothing.
_PATIENCE = 10.0


@dataclass
class Tally:
    """What became of the clients.

    Attributes:
        echoes: Lines that came back, compared byte for byte.
        connections: Those on which one did.
        lost: What went wrong, one line each.
    """

    echoes: int = 0
    connections: int = 0
    lost: list[str] = field(default_factory=list[str])


class Drill:
    """The service and its clients.

    Args:
        path: A PKI directory with the credentials ``server`` and ``client``.
        tally: Where to count what becomes of the clients.

    Attributes:
        port: Where the server listens, once `run` has started.
    """

    def __init__(self, path: Path, tally: Tally) -> None:
        self.port = 0
        self._tally = tally
        self._server = Reloader(partial(server_material, pki=path), _server_context, settle=0)
        self._clients = {
            version: Reloader(
                partial(client_material, pki=path), partial(_client_context, version), settle=0
            )
            for version in VERSIONS
        }
        self._rounds = [0] * CLIENTS
        self._round_over = trio.lowlevel.ParkingLot()

    @property
    def generations(self) -> tuple[int, int]:
        """Of the server and of the clients."""
        return self._server.generation, self._clients[VERSIONS[-1]].generation

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve, and keep clients coming, until cancelled."""
        async with trio.open_nursery() as nursery:
            start = partial(serve, self._server, "127.0.0.1:0", events=self._ignore)
            [(_, self.port)] = await nursery.start(start)
            await nursery.start(self._stay)
            for number in range(CLIENTS):
                nursery.start_soon(self._come_and_go, number)
            await self._everybody_came()
            task_status.started()

    async def reload(self) -> tuple[bool, bool]:
        """Have both ends look at their files, as their polling would within its interval.

        Returns when nobody is using what the files said before: every client has since begun and
        ended a connection.

        Returns:
            Whether there was something new for the server, and for the clients.
        """
        server = await self._server.check()
        clients = [await client.check() for client in self._clients.values()]
        await self._everybody_came()
        return server, any(clients)

    def _ignore(self, event: Event) -> None:
        """The clients tell what matters: they are the ones that lose something."""

    async def _everybody_came(self) -> None:
        """Wait until each client has begun a connection and ended it."""
        # The present round began before now, the next one does not.
        due = [number + 2 for number in self._rounds]
        with trio.fail_after(_PATIENCE):
            while any(done < wanted for done, wanted in zip(self._rounds, due, strict=True)):
                await self._round_over.park()

    async def _come_and_go(self, number: int) -> None:
        reloader = self._clients[VERSIONS[number % len(VERSIONS)]]
        while True:
            line = b"client %d, round %d\n" % (number, self._rounds[number])
            try:
                async with await connect("localhost", self.port, reloader.current) as session:
                    await session.echo(line)
            except TLSFailure as failure:
                self._tally.lost.append(f"client {number}: {failure.report.summary}")
            else:
                self._tally.connections += 1
                self._tally.echoes += 1
            self._rounds[number] += 1
            self._round_over.unpark_all()
            await trio.sleep(_PAUSE)

    async def _stay(self, *, task_status: trio.TaskStatus[None]) -> None:
        """The client that lives through everything on one connection."""
        context = self._clients[VERSIONS[-1]].current
        kept = 0
        try:
            async with await connect("localhost", self.port, context) as session:
                while True:
                    await session.echo(b"still here\n")
                    self._tally.echoes += 1
                    kept += 1
                    if kept == 1:
                        self._tally.connections += 1
                        task_status.started()
                    await trio.sleep(_PAUSE)
        except TLSFailure as failure:
            self._tally.lost.append(f"the client that stays: {failure.report.summary}")
            if not kept:
                task_status.started()  # and lost: the others go on


def _server_context(material: Material) -> ssl.SSLContext:
    assert material.credential is not None  # noqa: S101  narrows the type: a server always has one
    # With tickets, which are the harder case: they outlive what they were issued for.
    return server_context(material.credential, material.trust, session_tickets=True)


def _client_context(version: ssl.TLSVersion, material: Material) -> ssl.SSLContext:
    assert material.trust is not None  # noqa: S101  narrows the type: a client always has some
    return client_context(
        material.trust, material.credential, minimum_version=version, maximum_version=version
    )
