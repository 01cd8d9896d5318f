"""The `ssl.SSLContext` of a client: how it authenticates the server, and itself when asked to.

An `ssl.SSLContext` is the whole security policy of a client, fixed before the first byte. This
one verifies the certification path to anchors that were named (RFC 5280 §6), the name that was
asked for against subjectAltName (RFC 9525), and presents a certificate if the server asks for one
(RFC 8446 §4.4.2). It is meant to be copied; its mirror image is `server_context`.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mtls_echo_tls.diagnosis.context_info import ContextInfo, describe_context
from mtls_echo_tls.profile import use_intermediate_profile

if TYPE_CHECKING:
    from mtls_echo_pki.certificates.credential import Credential
    from mtls_echo_pki.certificates.trust import Trust

# SSL_OP_NO_TX_CERTIFICATE_COMPRESSION and SSL_OP_NO_RX_CERTIFICATE_COMPRESSION: `ssl` has no name
# for them, and earlier releases do not know them.
_NO_CERTIFICATE_COMPRESSION = 0b11 << 32 if ssl.OPENSSL_VERSION_INFO >= (3, 2) else 0


def client_context(
    server_trust: Trust,
    credential: Credential | None = None,
    *,
    minimum_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
    maximum_version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    alpn: Sequence[str] = (),
    strict: bool = True,
) -> ssl.SSLContext:
    """Make the context of a client.

    Args:
        server_trust: The anchors that a server's certification path may end at. The system's
            are not added: a certificate of the public web does not make a server ours.
        credential: What to present when the server asks for a certificate (mutual TLS). None
            presents an empty list, and the server decides what that is worth.
        minimum_version, maximum_version: The TLS versions to offer. 1.2 is the oldest that
            RFC 8996 leaves in use.
        alpn: Application protocols to offer (RFC 7301), most preferred first.
        strict: Hold servers' certificates to every rule of RFC 5280, as Python 3.13 does by
            default. False verifies as OpenSSL does by default, and with it curl and most other
            programs: path, dates, usage, name and CRLs all the same.

    Raises:
        ValueError: ``server_trust`` is empty, the versions leave nothing to offer, or a
            protocol name is not 1 to 255 bytes long.
        ssl.SSLError: OpenSSL's security level refuses the credential.
    """
    if minimum_version > maximum_version:
        raise ValueError("minimum_version is above maximum_version: there is nothing to offer")

    # Verifies the path and the name by default; nothing below loosens either.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = minimum_version
    context.maximum_version = maximum_version

    use_intermediate_profile(context)

    server_trust.load_into(context)
    # The common name is free text: only subjectAltName names a host (RFC 9525 §2).
    context.hostname_checks_common_name = False
    # Python 3.13 turned these two on in create_default_context(); set here, every version verifies
    # alike. PARTIAL_CHAIN lets a path end at any certificate we named, be it an intermediate CA or
    # one pinned server; STRICT refuses what RFC 5280 forbids, such as a CA without keyUsage.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if strict:
        context.verify_flags |= ssl.VERIFY_X509_STRICT

    if credential is not None:
        credential.load_into(context)

    # A resumed session skips the certificates (RFC 8446 §2.2): a server whose CA we
    # dropped a minute ago would be accepted again. So ask for no ticket, and never set a session.
    context.options |= ssl.OP_NO_TICKET
    # TLS 1.2 lets a peer renegotiate in the middle, and change its identity.
    context.options |= ssl.OP_NO_RENEGOTIATION
    # Python's default, said because it matters: a compressed secret shows in its length (CRIME).
    context.options |= ssl.OP_NO_COMPRESSION
    # OpenSSL 3.2 and later compress certificates (RFC 8879), in forms that the standard library
    # cannot all read: a refused peer's could then not be shown.
    context.options |= _NO_CERTIFICATE_COMPRESSION

    if alpn:
        context.set_alpn_protocols(list(alpn))

    # For the diagnosis of a refusal only: a context cannot be asked what it was made from.
    describe_context(context, ContextInfo(credential, server_trust, tuple(alpn)))
    return context
