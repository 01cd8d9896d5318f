"""The certificates of the lesson: a server's, alice's good one, and two bad ones."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, replace
from datetime import timedelta

from mtls_echo_client.context import client_context
from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_server.context import ClientAuth, server_context

HOST = "localhost"

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


@dataclass(frozen=True)
class DemoCredentials:
    """The credentials and trust anchors of one lesson, made on the fly.

    Attributes:
        server_trust, client_trust: The trust anchors of clients, and those of the server.
        alice: A client's good credential; ``expired`` and ``foreign`` differ from it in their
            dates, and in their issuer, a CA that neither side trusts.
        foreign_trust: That CA, for a client that trusts no other.
    """

    server: Credential
    server_trust: Trust
    client_trust: Trust
    alice: Credential
    expired: Credential
    foreign: Credential
    foreign_trust: Trust

    @classmethod
    def make(cls) -> DemoCredentials:
        """Make three CAs and what they issue; about a millisecond."""
        servers = Authority.root("the servers' CA")
        clients = Authority.root("the clients' CA")
        foreign = Authority.root("a foreign CA")
        alice = Request.client("alice.test", subject="alice")
        return cls(
            server=servers.issue(Request.server(HOST, "127.0.0.1", "::1", subject="server")),
            server_trust=servers.trust,
            client_trust=clients.trust,
            alice=clients.issue(alice),
            expired=clients.issue(
                replace(alice, lifetime=timedelta(days=-1), backdate=timedelta(days=30))
            ),
            foreign=foreign.issue(alice),
            foreign_trust=foreign.trust,
        )

    def server_context(self, *, mutual: bool) -> ssl.SSLContext:
        """The server's configuration; it demands certificates of clients, or asks for none."""
        if mutual:
            return server_context(self.server, self.client_trust)
        return server_context(self.server, client_auth=ClientAuth.NONE)

    def client_context(
        self,
        credential: Credential | None = None,
        version: ssl.TLSVersion = TLS13,
        trust: Trust | None = None,
    ) -> ssl.SSLContext:
        """The configuration of a client, in one version of TLS."""
        return client_context(
            trust or self.server_trust,
            credential,
            minimum_version=version,
            maximum_version=version,
        )
