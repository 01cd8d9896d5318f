"""Ask two strict verifiers whether they accept a credential.

One is OpenSSL, in a real handshake in memory with ``ssl.VERIFY_X509_STRICT``, the default
from Python 3.13. The other is ``cryptography.x509.verification``, which holds to the profile
of the public web and refuses what OpenSSL lets pass.
"""

from __future__ import annotations

import ipaddress
import ssl
from contextlib import suppress

from cryptography import x509
from cryptography.x509 import verification

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.identifiers import reference_for
from mtls_echo_pki.certificates.loading import is_odd
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_pki.directory.layout import Role


def refusal_by_openssl(credential: Credential, role: Role, trust: Trust) -> str | None:
    """Shake hands in memory, strictly, and return why the credential was refused.

    Refused it may be before any handshake: OpenSSL does not load a key that is too weak.

    Args:
        role: Whether it is presented as a server's or as a client's.
        trust: What the other side trusts.

    Returns:
        OpenSSL's words and verify code; None if it was accepted.
    """
    try:
        _shake_hands(credential, role, trust)
    except ssl.SSLCertVerificationError as error:
        return f"{error.verify_message} (verify code {error.verify_code})"
    except ssl.SSLError as error:
        return error.reason or str(error)
    return None


def refusal_by_cryptography(credential: Credential, role: Role, trust: Trust) -> str | None:
    """Ask ``cryptography.x509.verification``, as :func:`refusal_by_openssl` asks OpenSSL.

    It checks servers by a DNS name or an IP address only, so one that has neither is not checked.
    """
    if any(map(is_odd, (*credential.path, *trust.anchors))):
        return "a certificate is not encoded as DER has it"
    policy = verification.PolicyBuilder().store(verification.Store([*trust.anchors]))
    intermediates = list(credential.chain)
    try:
        if role == "clients":
            policy.build_client_verifier().verify(credential.certificate, intermediates)
        elif (host := reference_for(credential.certificate)) is not None:
            policy.build_server_verifier(_subject(host)).verify(
                credential.certificate, intermediates
            )
    except verification.VerificationError as error:
        return str(error)
    return None


def _shake_hands(credential: Credential, role: Role, trust: Trust) -> None:
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if role == "servers":
        verifier, host = client_context, reference_for(credential.certificate)
        credential.load_into(server_context)
    else:
        # A client needs a server to connect to.
        other = Authority.root()
        other.issue("localhost").load_into(server_context)
        other.trust.load_into(client_context)
        verifier, host = server_context, "localhost"
        credential.load_into(client_context)
        verifier.verify_mode = ssl.CERT_REQUIRED
    trust.load_into(verifier)
    verifier.verify_flags |= ssl.VERIFY_X509_STRICT
    client_context.check_hostname = host is not None

    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(to_client, to_server, server_hostname=host)
    server = server_context.wrap_bio(to_server, to_client, server_side=True)
    # Two rounds complete a TLS 1.3 handshake: the client's Finished travels in the second.
    for side in (client, server, client, server):
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()


def _subject(host: str) -> verification.Subject:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
