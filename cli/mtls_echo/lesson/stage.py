"""Where the scenes of the lesson are played: a server, a relay on the path to it, and clients.

Every connection is a real one over loopback TCP. Its two ends report independently of each other,
and the relay has kept each byte that passed.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from mtls_echo.attacks.parties import RunningServer, running_server
from mtls_echo.attacks.relay import Relay, Tap
from mtls_echo.demo.blocks import Table
from mtls_echo.demo.credentials import HOST
from mtls_echo.vocabulary import COMMAND_LINE
from mtls_echo_client.session import connect
from mtls_echo_server.handlers import echo
from mtls_echo_tls.diagnosis.context_info import with_vocabulary
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.diagnosis.report import Report
from mtls_echo_tls.trace.messages import Message

# Against a hang only: no result depends on it.
_TIMEOUT = 10.0

_LINE = b"hello\n"


@dataclass(frozen=True)
class Played:
    """One connection: what both ends report, and what the relay has of it.

    Attributes:
        messages: The handshake, as the client recorded it.
    """

    client: Report
    server: Report
    messages: Sequence[Message]
    tap: Tap


class Stage:
    """A running server behind a relay."""

    def __init__(self, server: RunningServer, relay: Relay) -> None:
        self._server = server
        self._relay = relay

    @property
    def log(self) -> list[str]:
        """What the server has logged of its connections."""
        return self._server.log

    async def play(
        self, context: ssl.SSLContext, *, server_name: str = HOST, line: bytes = _LINE
    ) -> Played:
        """Connect through the relay, have a line echoed if both ends accept each other, close."""
        with_vocabulary(context, COMMAND_LINE)
        before = len(await self._server.concluded(0))
        try:
            async with await connect(
                HOST, self._relay.port, context, server_name=server_name, timeout=_TIMEOUT,
                trace=True,
            ) as session:  # fmt: skip
                await session.echo(line)
            client, evidence = session.report, session.evidence
        except TLSFailure as failure:
            client, evidence = failure.report, failure.evidence
        with trio.fail_after(_TIMEOUT):
            server = (await self._server.concluded(before + 1))[-1]
        return Played(client, server, evidence.recorder.messages, self._relay.taps[-1])


@asynccontextmanager
async def stage(context: ssl.SSLContext) -> AsyncGenerator[Stage]:
    """Serve, with a relay on the path, until the block ends."""
    async with (
        running_server(with_vocabulary(context, COMMAND_LINE), echo) as server,
        trio.open_nursery() as nursery,
    ):
        relay = Relay(server.port)
        await nursery.start(relay.run)
        yield Stage(server, relay)
        nursery.cancel_scope.cancel()


# The alert has a line of its own.
_ALERT = re.compile(r" \(alert .*\)$")


def accounts(played: Played, *, compared: bool = True) -> Table:
    """What each end says of the connection, side by side: who refused whom, alert, comparison.

    The rest of the reports (`mtls-echo observe` shows all of it) has no room beside a diagram.
    """
    rows = (
        tuple(_ALERT.sub("", report.summary) for report in (played.client, played.server)),
        tuple(map(_alert, (played.client, played.server))),
        tuple(map(_found, (played.client, played.server))),
    )
    filled = tuple(row for row in (rows if compared else rows[:2]) if any(row))
    return Table(("what the client saw", "what the server saw"), filled, even=True)


def _alert(report: Report) -> str:
    alert = report.alert
    return f"{alert.direction} alert {alert.name} ({alert.code})" if alert else ""


def _found(report: Report) -> str:
    return next((f"found: {fact.value}" for fact in report.evidence if fact.fact == "found"), "")
