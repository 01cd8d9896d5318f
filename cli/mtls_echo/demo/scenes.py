"""The scenes of `mtls-echo demo`: what a client presents and trusts, and the expected result.

Every scene is a real handshake over TCP with certificates made for this run, and what both sides
report is compared with what is announced here. Each bad certificate differs from the good one in
one respect.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass, replace
from datetime import timedelta

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_tls.sides import Side

HOST = "localhost"
WRONG_HOST = "bank.test"

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3


@dataclass(frozen=True)
class DemoCredentials:
    """The credentials and trust anchors of one demonstration, made on the fly.

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


@dataclass(frozen=True)
class Scene:
    """One connection and its expected result.

    Attributes:
        title: What happens.
        credential: The client's, an attribute of `DemoCredentials`; None presents none.
        trust: The client's trust anchors, an attribute of `DemoCredentials`.
        server_name: The reference identifier (RFC 9525 §4).
        rejected_by, cause: Which side refuses the other, and why; None when both accept.
        alerts: The alert on the wire, in TLS 1.2 and in TLS 1.3.
    """

    title: str
    credential: str | None = "alice"
    trust: str = "server_trust"
    server_name: str = HOST
    rejected_by: Side | None = None
    cause: str | None = None
    alerts: tuple[str, str] | None = None

    def alert(self, version: ssl.TLSVersion) -> str | None:
        """The expected alert in a version of TLS."""
        return None if self.alerts is None else self.alerts[version is TLS13]


SCENES = (
    Scene("alice connects with her certificate"),
    Scene(
        "a client connects without a certificate",
        credential=None,
        rejected_by="server",
        cause="no-client-certificate",
        # TLS 1.2 has no alert for this and uses the most general one (RFC 5246 §7.4.6).
        alerts=("handshake_failure", "certificate_required"),
    ),
    Scene(
        "a client presents a certificate from a CA that the server does not trust",
        credential="foreign",
        rejected_by="server",
        cause="unknown-authority",
        alerts=("unknown_ca", "unknown_ca"),
    ),
    Scene(
        "alice presents a certificate that expired yesterday",
        credential="expired",
        rejected_by="server",
        cause="expired",
        alerts=("certificate_expired", "certificate_expired"),
    ),
    Scene(
        f"alice asks for {WRONG_HOST} and is shown a certificate for {HOST}",
        server_name=WRONG_HOST,
        rejected_by="client",
        cause="wrong-name",
        alerts=("bad_certificate", "bad_certificate"),
    ),
    Scene(
        "a client does not trust the CA of the server's certificate",
        trust="foreign_trust",
        rejected_by="client",
        cause="unknown-authority",
        alerts=("unknown_ca", "unknown_ca"),
    ),
)
