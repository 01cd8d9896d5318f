"""A server under load, to replace certificates on, and a count of failed connections.

A server and its clients run in one process and over real TCP. They share nothing except a PKI
directory, which each of them reads for itself (`mtls_echo_tls.material.reloader`). Most clients
connect, authenticate, have a line echoed, close and connect again, half of them in each version of
TLS; one stays connected from beginning to end. Any failure of theirs counts: replacing
certificates must not be noticed by the users of a service.

The replacements are elsewhere (`mtls_echo.demo.rotation.scenarios`).
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
from mtls_echo_server.service import serve
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.material.load import Material, client_material, server_material
from mtls_echo_tls.material.reloader import Reloader

# Clients that reconnect: enough that some are in their handshake at every moment.
CLIENTS = 8

# Seconds between two connections of a client, and between two echoes of the persistent one: a busy
# service, not a benchmark.
_PAUSE = 0.02

# Against a hang only: no result depends on it.
_TIMEOUT = 10.0


@dataclass
class Counts:
    """The results of the clients: verified echoes, connections with one, and failures."""

    echoes: int = 0
    connections: int = 0
    lost: list[str] = field(default_factory=list[str])


class LoadedService:
    """A server, whose port is known once `run` has started, and its clients."""

    def __init__(self, path: Path, counts: Counts) -> None:
        self.port = 0
        self._counts = counts
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
        """The generations of the server's and the clients' material."""
        return self._server.generation, self._clients[VERSIONS[-1]].generation

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the server and its clients until cancelled."""
        async with trio.open_nursery() as nursery:
            # The server's events are not needed: the clients count.
            start = partial(serve, self._server, "127.0.0.1:0", events=lambda _: None)
            [(_, self.port)] = await nursery.start(start)
            await nursery.start(self._persistent_client)
            for number in range(CLIENTS):
                nursery.start_soon(self._reconnecting_client, number)
            await self._every_client_reconnected()
            task_status.started()

    async def reload(self) -> tuple[bool, bool]:
        """Make both ends read their files; return whether there was something new for each.

        Returns when no connection uses what the files said before: every client has since begun
        and ended a connection.
        """
        server = await self._server.check()
        clients = [await client.check() for client in self._clients.values()]
        await self._every_client_reconnected()
        return server, any(clients)

    async def _every_client_reconnected(self) -> None:
        """Wait until each client has begun a connection and ended it."""
        # The present round began before now, the next one does not.
        due = [number + 2 for number in self._rounds]
        with trio.fail_after(_TIMEOUT):
            while any(done < wanted for done, wanted in zip(self._rounds, due, strict=True)):
                await self._round_over.park()

    async def _reconnecting_client(self, number: int) -> None:
        reloader = self._clients[VERSIONS[number % len(VERSIONS)]]
        while True:
            line = b"client %d, round %d\n" % (number, self._rounds[number])
            try:
                async with await connect("localhost", self.port, reloader.current) as session:
                    await session.echo(line)
            except TLSFailure as failure:
                self._counts.lost.append(f"client {number}: {failure.report.summary}")
            else:
                self._counts.connections += 1
                self._counts.echoes += 1
            self._rounds[number] += 1
            self._round_over.unpark_all()
            await trio.sleep(_PAUSE)

    async def _persistent_client(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Echo lines on one connection from beginning to end."""
        context = self._clients[VERSIONS[-1]].current
        kept = 0
        try:
            async with await connect("localhost", self.port, context) as session:
                while True:
                    await session.echo(b"still here\n")
                    self._counts.echoes += 1
                    kept += 1
                    if kept == 1:
                        self._counts.connections += 1
                        task_status.started()
                    await trio.sleep(_PAUSE)
        except TLSFailure as failure:
            self._counts.lost.append(f"the persistent client: {failure.report.summary}")
            if not kept:
                task_status.started()  # the other clients go on


def _server_context(material: Material) -> ssl.SSLContext:
    assert material.credential is not None  # noqa: S101  narrows the type: a server always has one
    # With tickets, the harder case: they can outlive the certificate that they were issued for.
    return server_context(material.credential, material.trust, session_tickets=True)


def _client_context(version: ssl.TLSVersion, material: Material) -> ssl.SSLContext:
    assert material.trust is not None  # noqa: S101  narrows the type: a client always has some
    return client_context(
        material.trust, material.credential, minimum_version=version, maximum_version=version
    )
