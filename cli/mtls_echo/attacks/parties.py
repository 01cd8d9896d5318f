"""Who takes part in the scenes: a bank, its customer alice, and mallory, who attacks both.

Everything is made for one run, on loopback. ``bank.test`` and ``bank-login.test`` both have real
certificates of one CA, as on the public web, where a CA certifies who has a name and no more. The
bank's own CA issues certificates to its customers. Mallory has a CA too.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import trio

from mtls_echo_client.context import client_context
from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_server.context import ClientAuth, server_context
from mtls_echo_server.events import Event
from mtls_echo_server.handlers import Handler
from mtls_echo_server.service import serve
from mtls_echo_tls.diagnosis.report import Report
from mtls_echo_tls.slugs import Slug

BANK, LOOKALIKE = "bank.test", "bank-login.test"

# The reports of a refusal begin with who refused whom.
_ADDRESS = re.compile(r" 127\.0\.0\.1:\d+(?=:)|^refused 127\.0\.0\.1:\d+: ")


@dataclass(frozen=True)
class Parties:
    """CAs and credentials.

    Attributes:
        web, customers, mallory: The CAs: of the web, of the bank, of the attacker.
        bank, lookalike: Servers' credentials, from the CA of the web.
        proxy: A credential for the bank's name from mallory's CA.
        alice: A customer's credential, from the bank's CA.
    """

    web: Authority
    customers: Authority
    mallory: Authority
    bank: Credential
    lookalike: Credential
    proxy: Credential
    alice: Credential

    @classmethod
    def make(cls) -> Parties:
        """Make them anew."""
        web = Authority.root("a CA of the web")
        customers = Authority.root("the bank's CA")
        mallory = Authority.root("mallory's CA")
        return cls(
            web=web,
            customers=customers,
            mallory=mallory,
            bank=web.issue(Request.server(BANK, subject="the bank")),
            lookalike=web.issue(Request.server(LOOKALIKE, subject="mallory")),
            proxy=mallory.issue(Request.server(BANK, subject="the bank")),
            alice=customers.issue(Request.client("alice.test", subject="alice")),
        )

    def client(
        self,
        credential: Credential | None = None,
        *more: Trust,
        version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ) -> ssl.SSLContext:
        """The context of a client that trusts the CA of the web, and perhaps others."""
        anchors = self.web.trust.anchors + tuple(a for trust in more for a in trust.anchors)
        return client_context(Trust(anchors), credential, maximum_version=version)

    def server(
        self,
        credential: Credential,
        *,
        mutual: bool,
        version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ) -> ssl.SSLContext:
        """The context of a server that does or does not ask for the certificates of customers."""
        auth = ClientAuth.REQUIRED if mutual else ClientAuth.NONE
        trust = self.customers.trust if mutual else None
        return server_context(credential, trust, client_auth=auth, maximum_version=version)


@dataclass
class RunningServer:
    """A server of this project, its port and its log."""

    port: int = 0
    events: list[Event] = field(default_factory=list[Event])
    _happened: trio.Event = field(default_factory=trio.Event)

    def note(self, event: Event) -> None:
        """Keep an event; what the server calls."""
        self.events.append(event)
        self._happened.set()
        self._happened = trio.Event()

    async def concluded(self, connections: int) -> list[Report]:
        """The reports of its connections, once so many are over."""
        while True:
            reports = [event.report for event in self.events if event.report is not None]
            if len(reports) >= connections:
                return reports
            await self._happened.wait()

    @property
    def log(self) -> list[str]:
        """Who was accepted or refused: the lines of its log, without addresses and hints."""
        return [
            _ADDRESS.sub("", event.text.partition("; ")[0])
            for event in self.events
            if event.name == "accepted"
            or (event.report is not None and event.report.outcome != "echoed")
        ]

    @property
    def causes(self) -> tuple[Slug, ...]:
        """Why it refused the last client, by its report; empty if it refused none."""
        reports = (event.report for event in reversed(self.events))
        return next((tuple(each.causes) for each in reports if each and each.causes), ())


@asynccontextmanager
async def running_server(
    context: ssl.SSLContext,
    handler: Handler,
    *,
    trace: bool = False,
) -> AsyncGenerator[RunningServer]:
    """Serve on loopback until the block ends."""
    server = RunningServer()
    async with trio.open_nursery() as nursery:
        start = partial(serve, context, "127.0.0.1:0", handler, events=server.note, trace=trace)
        [(_, server.port)] = await nursery.start(start)
        yield server
        nursery.cancel_scope.cancel()
