"""A server, a client and the attacker's relay between them, and what both ends report."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
import trio

from mtls_echo.attacks.relay import Attack, Relay, Tap, eavesdrop
from mtls_echo_client.context import client_context
from mtls_echo_client.session import Session, connect
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_server.context import server_context
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.diagnosis.report import Report
from mtls_echo_tls.sides import Side
from tests.support.authorities import CLIENTS, SERVERS
from tests.support.servers import Running, limits, running
from tests.support.timing import TIMEOUT

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
both_versions = pytest.mark.parametrize(
    "version", [pytest.param(V12, id="TLS 1.2"), pytest.param(V13, id="TLS 1.3")]
)
SIDES: tuple[Side, Side] = ("client", "server")
both_directions = pytest.mark.parametrize("sender", SIDES)

LOCALHOST = SERVERS.issue(Request.server("localhost", subject="server"))
ALICE = CLIENTS.issue(Request.client("alice.test", subject="alice"))

CANARY = b"the canary that must not be seen"
SECOND = b"and another message"


def client_of(
    version: ssl.TLSVersion | None = None,
    credential: Credential | None = ALICE,
    trust: Trust = SERVERS.trust,
) -> ssl.SSLContext:
    """A client of ours, of one version or both."""
    return client_context(
        trust, credential, minimum_version=version or V12, maximum_version=version or V13
    )


def server_of(
    version: ssl.TLSVersion | None = None,
    credential: Credential = LOCALHOST,
    trust: Trust = CLIENTS.trust,
) -> ssl.SSLContext:
    """A server of ours that requires a certificate."""
    return server_context(
        credential, trust, minimum_version=version or V12, maximum_version=version or V13
    )


@dataclass(frozen=True)
class Connection:
    """What both ends reported of one connection through the relay, and what passed there.

    Attributes:
        echoed: How many bytes came back to the client, each compared with what it had sent.
    """

    client: Report
    server: Report
    tap: Tap
    echoed: int

    @property
    def verdicts(self) -> tuple[str, str]:
        """What became of it for the client and for the server, and why: "failed: truncated"."""
        return _verdict(self.client), _verdict(self.server)

    def of(self, side: Side) -> Report:
        return self.client if side == "client" else self.server


def _verdict(report: Report) -> str:
    causes = f": {', '.join(report.causes)}" if report.causes else ""
    return f"{report.outcome}{causes}"


class AttackedPath:
    """A server of ours that clients reach through an attacker only."""

    def __init__(self, server: Running, relay: Relay) -> None:
        self.relay = relay
        self._server = server
        self._connections = 0

    async def converse(
        self,
        context: ssl.SSLContext,
        attack: Attack = eavesdrop,
        messages: Sequence[bytes] = (CANARY, SECOND),
        *,
        then: trio.Event | None = None,
        timeout: float = TIMEOUT,  # noqa: ASYNC109  the client's own
    ) -> Connection:
        """Connect under attack, have every message echoed, and close.

        Each message is sent when the echo of the one before has come; or all but the first,
        without waiting for echoes, when ``then`` has happened.
        """
        self.relay.attack = attack
        remaining, echoed = list(messages), 0

        async def source() -> bytes:
            if then is not None and len(remaining) < len(messages):
                await then.wait()
            return remaining.pop(0) if remaining else b""

        async def sink(data: bytes) -> None:
            nonlocal echoed
            echoed += len(data)

        async def one_by_one(session: Session) -> None:
            nonlocal echoed
            for message in messages:
                await session.echo(message)
                echoed += len(message)

        try:
            async with await connect(
                "127.0.0.1", self.relay.port, context, server_name="localhost", timeout=timeout
            ) as session:
                await (one_by_one(session) if then is None else session.echo_all(source, sink))
            client = session.report
        except TLSFailure as failure:
            client = failure.report
        server = await self.next_report()
        return Connection(client, server, self.relay.taps[-1], echoed)

    async def next_report(self) -> Report:
        """The server's report of the connection after the last that was asked for."""
        self._connections += 1
        return msgspec.convert(await self._server.event("connection", self._connections), Report)


@asynccontextmanager
async def attacked(
    version: ssl.TLSVersion | None = None, context: ssl.SSLContext | None = None, **options: Any
) -> AsyncGenerator[AttackedPath]:
    """A mutual-TLS echo server behind a relay."""
    options = {"limits": limits(), **options}
    async with (
        running(context or server_of(version), **options) as server,
        trio.open_nursery() as nursery,
    ):
        relay = Relay(server.port)
        await nursery.start(relay.run)
        yield AttackedPath(server, relay)
        assert [event for event in server.events if event.name == "error"] == []
        nursery.cancel_scope.cancel()
