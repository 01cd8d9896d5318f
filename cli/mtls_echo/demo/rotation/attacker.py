"""An attacker with a copy of a formerly valid certificate, its key and its sessions.

A rotation is complete when nothing that was valid before is accepted afterwards. That is more than
a file: a client that has been authenticated also holds a session ticket (TLS 1.3, RFC 8446 §2.2)
or a session ID (TLS 1.2, RFC 5246 §7.3), with which a server resumes a session *without* verifying
a certificate again. So the attacker tries certificate and session, in both versions, and notes the
alerts.

The client of this project never resumes a session, so this is one of its own, on plain sockets.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_tls.alerts import alert_name, alert_of_reason
from mtls_echo_tls.denial import denial_in

VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)

_LINE = b"hello\n"

# Against a hang only: no result depends on it.
_TIMEOUT = 10.0


@dataclass(frozen=True)
class Attempt:
    """One attempt to connect, and its result.

    Attributes:
        ticket: Whether a session from before was offered.
        resumed: Whether the server resumed it.
        admitted: Whether the line was echoed.
        alert: The fatal alert received, by its RFC 8446 name.
        denial: Why the server denied access to an authenticated client.
    """

    version: ssl.TLSVersion
    ticket: bool
    resumed: bool = False
    admitted: bool = False
    alert: str | None = None
    denial: str | None = None

    @property
    def answer(self) -> str:
        """The server's answer, in words."""
        if self.admitted:
            return "accepted"
        if self.denial is not None:
            return f"denied: {self.denial}"
        return f"alert {self.alert}" if self.alert else "closed without an alert"


@dataclass
class Attacker:
    """A client with a copied credential, and the sessions that a server gave it."""

    credential: Credential
    trust: Trust
    _contexts: dict[ssl.TLSVersion, ssl.SSLContext] = field(init=False, repr=False)
    _sessions: dict[ssl.TLSVersion, ssl.SSLSession | None] = field(
        default_factory=dict[ssl.TLSVersion, "ssl.SSLSession | None"], init=False, repr=False
    )

    def __post_init__(self) -> None:
        # A session can only be offered with the context that it came from.
        self._contexts = {version: self._context(version) for version in VERSIONS}

    def prepare(self, port: int) -> list[Attempt]:
        """Connect while the credential is valid, and keep the sessions; blocking."""
        return [self._attempt(port, version, None) for version in VERSIONS]

    def try_everything(self, port: int) -> Iterator[Attempt]:
        """Connect with the certificate and with the session, in both versions; blocking."""
        for version in VERSIONS:
            yield self._attempt(port, version, None)
            session = self._sessions.get(version)
            if session is not None:
                yield self._attempt(port, version, session)

    def _context(self, version: ssl.TLSVersion) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = context.maximum_version = version
        self.trust.load_into(context)
        self.credential.load_into(context)
        return context

    def _attempt(
        self, port: int, version: ssl.TLSVersion, session: ssl.SSLSession | None
    ) -> Attempt:
        """One connection. A refusal may come with the handshake or, in TLS 1.3, after it."""
        attempt = partial(Attempt, version, session is not None)
        resumed = False
        try:
            with (
                socket.create_connection(("127.0.0.1", port), _TIMEOUT) as tcp,
                self._contexts[version].wrap_socket(
                    tcp, server_hostname="localhost", session=session
                ) as tls,
            ):
                resumed = bool(tls.session_reused)
                tls.sendall(_LINE)
                answer = tls.recv(1024)
                if answer == _LINE and session is None:
                    # In TLS 1.3 the ticket follows the handshake: by now it has arrived.
                    self._sessions[version] = tls.session
        except ssl.SSLError as error:
            code = alert_of_reason(error.reason)
            return attempt(resumed, alert=None if code is None else alert_name(code))
        except OSError:
            return attempt(resumed)
        return attempt(resumed, answer == _LINE, denial=denial_in(answer))
