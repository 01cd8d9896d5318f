"""Servers that can be stopped and started, the files to reach them with, and plans of them."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import trio

from mtls_echo_client.endpoints.monitor.monitor import Monitor
from mtls_echo_client.endpoints.monitor.status import Status
from mtls_echo_client.endpoints.plan import Endpoint, Plan, TLSSettings
from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.request import Request
from mtls_echo_server.access import Access
from mtls_echo_server.context import server_context
from mtls_echo_server.events import Event
from mtls_echo_server.service import Server
from mtls_echo_tls.address import Address
from mtls_echo_tls.diagnosis.report import Report
from tests.support.authorities import CLIENTS, UNTRUSTED_CA
from tests.support.ports import server_port
from tests.support.timing import TIMEOUT


class EndpointServers:
    """Two authorities of servers, one of clients, and a folder with their files.

    ``one.crt`` and ``other.crt`` are the anchors, ``alice`` may connect, ``untrusted`` may not.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.one, self.other = Authority.root("one"), Authority.root("other")
        self.clients = CLIENTS
        for name, authority in (("one", self.one), ("other", self.other)):
            self.publish(f"{name}.crt", authority.trust.pem)
        alice = Request.client("alice.test")
        for name, authority in (("alice", self.clients), ("untrusted", UNTRUSTED_CA)):
            credential = authority.issue(alice)
            self.publish(f"{name}.crt", credential.certificate_pem)
            self.publish(f"{name}.key", credential.key_pem)

    def publish(self, name: str, contents: bytes) -> None:
        """Replace a file as one."""
        written = self.folder / f".{name}"
        written.write_bytes(contents)
        written.rename(self.folder / name)

    def tls(self, ca: str = "one", presenting: str | None = "alice", **more: Any) -> TLSSettings:
        return TLSSettings(
            ca_file=self.folder / f"{ca}.crt",
            cert_file=self.folder / f"{presenting}.crt" if presenting else None,
            key_file=self.folder / f"{presenting}.key" if presenting else None,
            origin="[0].tls_config",
            **more,
        )

    def plain_context(self) -> ssl.SSLContext:
        """For a server that asks for no certificate, by the standard library's means only."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.one.issue(Request.server("localhost")).load_into(context)
        return context

    def site(self, name: str = "one", *names: str, access: Access | None = None) -> Site:
        """A server under one of the authorities; not yet running."""
        authority = {"one": self.one, "other": self.other}[name]
        credential = authority.issue(Request.server(*(names or ("localhost",))))
        return Site(lambda: server_context(credential, self.clients.trust), access)


class Site:
    """A server that can be stopped and started again on its port."""

    def __init__(self, context: Callable[[], Any], access: Access | None = None) -> None:
        self._context = context()
        self._access = access
        # Its own while it is stopped, too.
        self.port = server_port()
        self.events: list[Event] = []
        self._server: Server | None = None
        self._ended = trio.Event()
        self._arrived = trio.lowlevel.ParkingLot()

    async def start(self, nursery: trio.Nursery, *, doors: int = 1) -> list[int]:
        """Accept connections, on so many ports; the first is the same at each start."""
        wanted = (self.port, *[0] * (doors - 1))
        sockets = [socket.create_server(("127.0.0.1", port)) for port in wanted]
        for sock in sockets:
            sock.setblocking(False)
        ports = [int(sock.getsockname()[1]) for sock in sockets]
        self._server = Server(self._context, access=self._access, events=self._note)
        self._ended = trio.Event()

        async def run(*, task_status: trio.TaskStatus[Any]) -> None:
            assert self._server is not None
            await self._server.run(sockets, task_status=task_status)
            self._ended.set()

        await nursery.start(run)
        return ports

    async def stop(self) -> None:
        """Cut off every connection, and close the port."""
        assert self._server is not None
        self._server.stop()
        self._server.stop()
        await self._ended.wait()

    def _note(self, event: Event) -> None:
        self.events.append(event)
        self._arrived.unpark_all()

    @property
    def admitted(self) -> int:
        """How many connections have been let in."""
        return sum(event.name == "accepted" for event in self.events)

    @property
    def ends(self) -> list[str]:
        """How those connections ended, as the server saw it."""
        return [
            str(dict(event.fields)["ended"]) for event in self.events if event.name == "connection"
        ]

    async def wait_for_ends(self, number: int) -> list[str]:
        """Wait until so many connections have ended."""
        while len(self.ends) < number:
            await self._arrived.park()
        return self.ends


def endpoint(port: int, tls: TLSSettings | None, **more: Any) -> Endpoint:
    return Endpoint(
        **{
            "address": Address("127.0.0.1", port),
            "written": f"127.0.0.1:{port}",
            "group": "here",
            "strict": False,
            "tls": tls,
            "server_name": None if tls is None else "localhost",
            "origin": "[0].endpoints[0]",
            **more,
        }
    )


def plan(*endpoints: Endpoint) -> Plan:
    return Plan(endpoints)


@contextlib.asynccontextmanager
async def monitoring(plan: Plan, **options: Any) -> AsyncGenerator[tuple[Monitor, trio.Nursery]]:
    """A monitor that keeps to a plan, and a nursery for servers."""
    quick = {"check_interval": 0.2, "file_interval": 0.02, "timeout": TIMEOUT, **options}
    monitor = Monitor(**quick)
    monitor.update(plan)
    async with trio.open_nursery() as sites, trio.open_nursery() as nursery:
        nursery.start_soon(monitor.run)
        yield monitor, sites
        nursery.cancel_scope.cancel()
        sites.cancel_scope.cancel()


async def until(monitor: Monitor, holds: Callable[[Status], object], place: int = 0) -> Status:
    """Wait until something holds of the ``place``-th endpoint."""
    revision = -1
    while True:
        revision = await monitor.wait_for_change(revision)
        found = monitor.snapshot()
        if len(found) > place and holds(found[place]):
            return found[place]


async def until_state(monitor: Monitor, state: str, place: int = 0) -> Status:
    return await until(monitor, lambda status: status.state == state, place)


def report(outcome: Any = "echoed", **fields: Any) -> Report:
    """A report as short as can be."""
    return Report(
        **{
            "side": "client",
            "outcome": outcome,
            "rejected_by": None,
            "stage": "established",
            "causes": [],
            "alert": None,
            "verify_code": None,
            "evidence": [],
            "summary": "a summary",
            "remedy": "a remedy",
            "rfc": "",
            "tls": None,
            "peer": None,
            "own": None,
            "client_random": None,
            "duration_ms": 1.0,
            **fields,
        }
    )
