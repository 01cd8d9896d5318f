"""A server's TLS configuration: what it presents, whom it trusts, what it refuses to speak.

An `ssl.SSLContext` is the whole security policy of a server in one object, and most of what goes
wrong with mutual TLS in Python goes wrong in the twenty lines that build it. This is the function
to copy. Each line says what would happen without it.

Two choices deserve more than a line.

**The trust anchors are those of clients, and nothing else.** `ssl.create_default_context` would
add the system's store for some purposes, and make every owner of a certificate for a web site a
client of ours. Issuing servers and clients from different CAs also halves the cost of each
handshake: OpenSSL builds and verifies a chain for its *own* certificate whenever its trust store
holds the issuer (measured: 777 µs of server CPU with one CA and tickets, 373 µs with two CAs and
none).

**Nothing is resumed, as far as the standard library allows.** A resumed session skips the
verification of certificates: a client whose certificate was revoked, or has expired since, gets in
on the strength of an earlier handshake. TLS 1.3 resumes with tickets only, and ``num_tickets = 0``
ends that. TLS 1.2 has two ways. ``OP_NO_TICKET`` closes the first; the second, session IDs
(RFC 5246 §7.3), is a cache inside OpenSSL that Python cannot switch off: measured with ``openssl
s_client -tls1_2 -sess_out/-sess_in``, the second connection *is* resumed. What limits it:

* The cache belongs to the context. A new context, which every change of trust, of CRLs or of the
  server's own certificate needs anyway, knows none of its sessions.
* By OpenSSL's defaults a session is kept for two hours and 20,480 of them at the most; one takes
  6 KiB with a client certificate (measured).
* `mtls_echo_server.admission` looks at the dates of a resumed client's certificates again.

``minimum_version=TLSv1_3`` removes the question.
"""

from __future__ import annotations

import enum
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mtls_echo_tls.diagnosis.context_info import ContextInfo, describe_context
from mtls_echo_tls.profile import use_intermediate_profile

if TYPE_CHECKING:
    from mtls_echo_pki.certificates.credential import Credential
    from mtls_echo_pki.certificates.trust import Trust


class ClientAuth(enum.Enum):
    """What is demanded of a client.

    - NONE: clients are not asked for a certificate: plain server-side TLS.
    - OPTIONAL: one that presents nothing is anonymous; one that presents a certificate must prove
      it, and is refused exactly as with REQUIRED if it is bad.
    - REQUIRED: mutual TLS; without a certificate there is no connection.
    """

    NONE = "none"
    OPTIONAL = "optional"
    REQUIRED = "required"


# SSL_OP_NO_TX_CERTIFICATE_COMPRESSION and SSL_OP_NO_RX_CERTIFICATE_COMPRESSION: `ssl` has no name
# for them, and earlier releases do not know them.
_NO_CERTIFICATE_COMPRESSION = 0b11 << 32 if ssl.OPENSSL_VERSION_INFO >= (3, 2) else 0

_VERIFY_MODES = {
    ClientAuth.NONE: ssl.CERT_NONE,
    ClientAuth.OPTIONAL: ssl.CERT_OPTIONAL,
    ClientAuth.REQUIRED: ssl.CERT_REQUIRED,
}


def server_context(
    credential: Credential,
    client_trust: Trust | None = None,
    *,
    client_auth: ClientAuth = ClientAuth.REQUIRED,
    minimum_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
    maximum_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    alpn: Sequence[str] = (),
    session_tickets: bool = False,
    keylog: Path | None = None,
    strict: bool = True,
) -> ssl.SSLContext:
    """Build the TLS configuration of a server.

    Args:
        credential: What the server proves itself with.
        client_trust: The CAs whose clients are accepted, and no others.
        client_auth: What is demanded of a client.
        minimum_version, maximum_version: TLS 1.2 is the oldest that is not deprecated (RFC 8996).
        alpn: Application protocols, the preferred first (RFC 7301). A client that offers none
            of them is not refused: OpenSSL then goes on without one.
        session_tickets: Let clients resume without a full handshake, and thereby without their
            certificate being verified again.
        keylog: Append the secrets of every connection to this file, for Wireshark. They
            decrypt everything.
        strict: Hold clients' certificates to every rule of RFC 5280, as Python 3.13 does by
            default. False verifies as OpenSSL does by default, and with it nginx and most other
            programs: path, dates, usage and CRLs all the same.

    To change credential or trust, build a new one: a context in use cannot forget a CA, and a
    failed `load_cert_chain` leaves it with a key that does not match.

    Raises:
        ValueError: Clients are to be authenticated, but there are no trust anchors; or the
            reverse; or the versions contradict each other.
        ssl.SSLError: OpenSSL's security level refuses the credential.
        OSError: The key log cannot be written.
    """
    if client_auth is not ClientAuth.NONE and client_trust is None:
        # OpenSSL would start, ask for certificates, and accept none.
        raise ValueError(f'client authentication "{client_auth.value}" needs trust anchors')
    if client_auth is ClientAuth.NONE and client_trust is not None:
        # Trust anchors are named in order that clients be asked.
        raise ValueError("trust anchors for clients have no effect when no client is asked")
    if minimum_version > maximum_version:
        raise ValueError("the minimum TLS version is above the maximum")

    # PROTOCOL_TLS_SERVER, not create_default_context: no system trust store, no surprises.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = minimum_version
    context.maximum_version = maximum_version

    use_intermediate_profile(context)

    # The end-entity certificate and its intermediates; a root sent along would be 0.5 KiB that
    # the client must ignore.
    credential.load_into(context)

    # First the demand, then the trust: a context that asks without trust anchors refuses every
    # client, so no order of these lines is unsafe.
    context.verify_mode = _VERIFY_MODES[client_auth]
    if client_trust is not None:
        # Only the named anchors, never the system's: a certificate of the public web does not
        # make a client of ours.
        client_trust.load_into(context)

    # Python 3.13 made these two the default of create_default_context; set here, 3.11 and 3.12
    # verify alike. PARTIAL_CHAIN lets any certificate named as an anchor be one, also an
    # intermediate or a pinned end-entity certificate.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if strict:
        # Refuses what RFC 5280 forbids, such as a CA without keyUsage.
        context.verify_flags |= ssl.VERIFY_X509_STRICT

    # A client that could renegotiate (TLS 1.2) could make the server repeat its expensive half
    # of the handshake at will, and change its identity in the middle of a connection.
    context.options |= ssl.OP_NO_RENEGOTIATION
    # Python's default, said because it matters: a compressed secret shows in its length (CRIME).
    context.options |= ssl.OP_NO_COMPRESSION
    # OpenSSL 3.2 and later compress certificates (RFC 8879), in forms that the standard library
    # cannot all read: a refused peer's could then not be shown.
    context.options |= _NO_CERTIFICATE_COMPRESSION

    if session_tickets:
        # One: each is a copy of the client's certificate, encrypted, at 125 µs; the two that
        # OpenSSL would send serve browsers that open two connections at once.
        context.num_tickets = 1
    else:
        # TLS 1.3, where this is the number sent after each handshake ...
        context.num_tickets = 0
        # ... and TLS 1.2, where tickets are an extension (RFC 5077). Session IDs remain: see
        # the module.
        context.options |= ssl.OP_NO_TICKET

    if alpn:
        context.set_alpn_protocols(list(alpn))
    if keylog is not None:
        # Created before OpenSSL opens it, which would leave the mode to the umask.
        keylog.touch(mode=0o600)
        context.keylog_filename = str(keylog)

    # For the diagnosis of a refusal only: a context cannot be asked what it was made from.
    describe_context(context, ContextInfo(credential, client_trust, tuple(alpn)))
    return context
