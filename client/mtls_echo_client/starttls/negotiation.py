"""Have a server start TLS in the middle of its plaintext protocol.

What follows is the same handshake as elsewhere, and says as much about both sides. What comes
before says nothing: an on-path attacker can suppress the offer (RFC 3207 §6) as well as add
answers, so no offer is an error here and never a reason to go on without TLS.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from mtls_echo_client.starttls.cleartext import Cleartext, NoTLSError, shown
from mtls_echo_client.starttls.databases import mysql, postgres
from mtls_echo_client.starttls.ldap import ldap
from mtls_echo_client.starttls.mail import imap, pop3, smtp
from mtls_echo_client.starttls.xmpp import xmpp
from mtls_echo_tls.diagnosis.evidence import Evidence
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.stream.tcp import TCPStream


@dataclass(frozen=True)
class Protocol:
    """A plaintext protocol in which TLS can be started.

    Attributes:
        port: Where its servers listen, by IANA's registry.
        ask: Speaks it, given the server's name, up to where TLS begins.
    """

    port: int
    ask: Callable[[Cleartext, str], Awaitable[None]]


PROTOCOLS: dict[str, Protocol] = {
    "postgres": Protocol(5432, postgres),
    "mysql": Protocol(3306, mysql),
    "smtp": Protocol(25, smtp),
    "imap": Protocol(143, imap),
    "pop3": Protocol(110, pop3),
    "ldap": Protocol(389, ldap),
    "xmpp": Protocol(5222, xmpp),
}


async def starttls(protocol: str, transport: TCPStream, evidence: Evidence) -> None:
    """Ask for TLS in the words of a protocol; afterwards the handshake is next.

    The caller sets the deadline, and closes the transport if this fails.

    Args:
        protocol: A name of `PROTOCOLS`.
        transport: A new connection.
        evidence: Its record, with the server's name.

    Raises:
        TLSFailure: The server does not start TLS, or has said more than it may before it.
    """
    clear = Cleartext(transport)
    try:
        await PROTOCOLS[protocol].ask(clear, evidence.server_name or "")
        clear.nothing_more()
    except NoTLSError as error:
        evidence.stay_in_the_clear(error.problem, error.detail)
        raise TLSFailure(evidence) from error
    except trio.Cancelled:
        so_far = f"; until then {shown(clear.unread)} had come" if clear.unread else ""
        evidence.stay_in_the_clear("silent", clear.awaited + so_far)
        raise
