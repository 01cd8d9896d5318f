"""What the demonstration shows: who connects with what, and what must come of it.

Nothing here is staged. A scene names certificates that were made a moment ago, a real server and
a real client shake hands over TCP, and what was announced is compared with what both sides
reported. The certificates differ from the good one in one respect each.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
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
class Cast:
    """The authorities and certificates of one demonstration, made on the fly.

    Attributes:
        server: What the server presents: localhost, issued by the servers' authority.
        server_trust, client_trust: Whom clients believe, and whom the server believes.
        alice: A client with a good certificate.
        expired: Alice's, but for its dates.
        stranger: Alice's, but issued by an authority that nobody here knows.
        stranger_trust: That authority, for a client that believes nobody else.
    """

    server: Credential
    server_trust: Trust
    client_trust: Trust
    alice: Credential
    expired: Credential
    stranger: Credential
    stranger_trust: Trust

    @classmethod
    def make(cls) -> Cast:
        """Make three authorities and what they issue; about a millisecond."""
        servers = Authority.root("the servers' authority")
        clients = Authority.root("the clients' authority")
        strangers = Authority.root("a stranger's authority")
        alice = Request.client("alice.test", subject="alice")
        return cls(
            server=servers.issue(Request.server(HOST, "127.0.0.1", "::1", subject="server")),
            server_trust=servers.trust,
            client_trust=clients.trust,
            alice=clients.issue(alice),
            expired=clients.issue(
                Request.client(
                    "alice.test",
                    subject="alice",
                    lifetime=timedelta(days=-1),
                    backdate=timedelta(days=30),
                )
            ),
            stranger=strangers.issue(alice),
            stranger_trust=strangers.trust,
        )


@dataclass(frozen=True)
class Scene:
    """One connection, and what is announced of it.

    Attributes:
        title: Who does what.
        credential: The client's, by its name in the cast; None presents none.
        trust: Whom the client believes, by its name in the cast.
        server_name: The reference identifier.
        rejected_by, cause: The verdict; None when both accept.
        alerts: The alert on the wire, by TLS version.
    """

    title: str
    credential: str | None = "alice"
    trust: str = "server_trust"
    server_name: str = HOST
    rejected_by: Side | None = None
    cause: str | None = None
    alerts: tuple[str, str] | None = None

    def alert(self, version: ssl.TLSVersion) -> str | None:
        """The alert announced for a version."""
        return None if self.alerts is None else self.alerts[version is TLS13]

    @property
    def announced(self) -> str:
        """The outcome in one word of each side."""
        return f"refused by the {self.rejected_by}" if self.rejected_by else "echoed"


SCENES = (
    Scene("alice connects with her certificate"),
    Scene(
        "a client connects without a certificate",
        credential=None,
        rejected_by="server",
        cause="no-client-certificate",
        # TLS 1.2 has no alert for it and uses the most general one (RFC 5246 §7.4.6).
        alerts=("handshake_failure", "certificate_required"),
    ),
    Scene(
        "a client presents a certificate from a stranger's authority",
        credential="stranger",
        rejected_by="server",
        cause="unknown-authority",
        alerts=("unknown_ca", "unknown_ca"),
    ),
    Scene(
        "alice comes back with a certificate that expired yesterday",
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
        "a client does not know the authority of the server's certificate",
        trust="stranger_trust",
        rejected_by="client",
        cause="unknown-authority",
        alerts=("unknown_ca", "unknown_ca"),
    ),
)
