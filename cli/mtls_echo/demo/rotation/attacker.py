"""Somebody who has what was valid once: a copy of the certificate, its key, and session tickets.

A rotation is complete when its past is worth nothing. The past is more than a file: whoever was
let in holds a session ticket (TLS 1.3, RFC 8446 §2.2) or a session ID (TLS 1.2, RFC 5246 §7.3)
too, with which a server resumes a session *without* looking at a certificate again. So an intruder
tries both doors, in both versions, and remembers which alert closed them.

It does not use the client of this project, which never resumes: an attacker brings his own.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field

from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_tls.alerts import alert_name, alert_of_reason
from mtls_echo_tls.denial import denial_in

VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)

_LINE = b"let me in\n"

# Against a hang only: it decides nothing.
_PATIENCE = 10.0


@dataclass(frozen=True)
class Visit:
    """How one attempt to enter went.

    Attributes:
        version: In which version of TLS.
        ticket: Whether a session from before was offered.
        resumed: Whether the server took it.
        admitted: Whether the line came back.
        alert: The fatal alert received, by its RFC 8446 name.
        denial: What the server said in words.
    """

    version: ssl.TLSVersion
    ticket: bool
    resumed: bool
    admitted: bool
    alert: str | None = None
    denial: str | None = None

    @property
    def answer(self) -> str:
        """What the server answered, in words."""
        if self.admitted:
            return "let in"
        if self.denial is not None:
            return f"denied: {self.denial}"
        return f"alert {self.alert}" if self.alert else "closed without an alert"


@dataclass
class Intruder:
    """A copy of somebody's credential, and what a server gave to whoever held it.

    Args:
        credential: The copy.
        trust: By which the server is verified.
        server_name: The reference identifier (RFC 9525 §4).
    """

    credential: Credential
    trust: Trust
    server_name: str = "localhost"
    _contexts: dict[ssl.TLSVersion, ssl.SSLContext] = field(init=False, repr=False)
    _sessions: dict[ssl.TLSVersion, ssl.SSLSession | None] = field(
        default_factory=dict[ssl.TLSVersion, "ssl.SSLSession | None"], init=False, repr=False
    )

    def __post_init__(self) -> None:
        # A session can be offered with the context only that it came from.
        self._contexts = {version: self._context(version) for version in VERSIONS}

    def prepare(self, port: int) -> list[Visit]:
        """Enter while it is still allowed, and keep the tickets; blocking."""
        return [self._visit(port, version, None) for version in VERSIONS]

    def try_everything(self, port: int) -> Iterator[Visit]:
        """Try to enter with the certificate and with the ticket, in both versions; blocking."""
        for version in VERSIONS:
            yield self._visit(port, version, None)
            session = self._sessions.get(version)
            if session is not None:
                yield self._visit(port, version, session)

    def _context(self, version: ssl.TLSVersion) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = context.maximum_version = version
        self.trust.load_into(context)
        self.credential.load_into(context)
        return context

    def _visit(self, port: int, version: ssl.TLSVersion, session: ssl.SSLSession | None) -> Visit:
        """One connection. A refusal may come with the handshake or, in TLS 1.3, after it."""
        resumed = False
        try:
            with (
                socket.create_connection(("127.0.0.1", port), _PATIENCE) as tcp,
                self._contexts[version].wrap_socket(
                    tcp, server_hostname=self.server_name, session=session
                ) as tls,
            ):
                resumed = bool(tls.session_reused)
                tls.sendall(_LINE)
                answer = tls.recv(1024)
                if answer == _LINE and session is None:
                    # In TLS 1.3 a ticket comes after the handshake: by now it is here.
                    self._sessions[version] = tls.session
        except ssl.SSLError as error:
            code = alert_of_reason(error.reason)
            alert = None if code is None else alert_name(code)
            return Visit(version, session is not None, resumed, admitted=False, alert=alert)
        except OSError:
            return Visit(version, session is not None, resumed, admitted=False)
        return Visit(
            version,
            session is not None,
            resumed,
            admitted=answer == _LINE,
            denial=denial_in(answer),
        )
