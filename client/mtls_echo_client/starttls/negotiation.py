"""Have a server start TLS in the middle of its plaintext protocol.

What follows is the same handshake as elsewhere, and says as much about both sides. What comes
before says nothing: an on-path attacker can suppress the offer (RFC 3207 §6) as well as add
answers, so no offer is an error here and never a reason to go on without TLS.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from mtls_echo_client.starttls.cleartext import Cleartext, NoTLSError, shown
from mtls_echo_client.starttls.databases import mysql, postgres
from mtls_echo_client.starttls.ldap import ldap
from mtls_echo_client.starttls.mail import imap, pop3, smtp
from mtls_echo_client.starttls.xmpp import xmpp
from mtls_echo_tls.diagnosis.evidence import Evidence
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.stream.tcp import TCPStream

# Each speaks its protocol, given the server's name, up to where TLS begins.
_ASK: dict[str, Callable[[Cleartext, str], Awaitable[None]]] = {
    "postgres": postgres,
    "mysql": mysql,
    "smtp": smtp,
    "imap": imap,
    "pop3": pop3,
    "ldap": ldap,
    "xmpp": xmpp,
}


async def starttls(protocol: str, transport: TCPStream, evidence: Evidence) -> None:
    """Ask for TLS in the words of a protocol; afterwards the handshake is next.

    The caller sets the deadline, and closes the transport if this fails.

    Args:
        protocol: A name of `mtls_echo_client.starttls.ports`.
        transport: A new connection.
        evidence: Its record, with the server's name.

    Raises:
        TLSFailure: The server does not start TLS, or has said more than it may before it.
    """
    clear = Cleartext(transport)
    try:
        await _ASK[protocol](clear, evidence.server_name or "")
        clear.nothing_more()
    except NoTLSError as error:
        evidence.stay_in_the_clear(error.problem, error.detail)
        raise TLSFailure(evidence) from error
    except trio.Cancelled:
        so_far = f"; until then {shown(clear.unread)} had come" if clear.unread else ""
        evidence.stay_in_the_clear("silent", clear.awaited + so_far)
        raise
