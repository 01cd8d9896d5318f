"""What can be done with a certificate and no key: present it, and sign something else.

A certificate is public. It is sent in each handshake, in TLS 1.2 in the clear; a server that asks
for it gets it. To log in with it one also has to sign the handshake with its private key, in
CertificateVerify (RFC 8446 §4.4.3, RFC 5246 §7.4.8). These are the two ways to try without:

* `present_copy` signs with another key. No library loads a certificate with a key that is not its
  own; but what OpenSSL compares are public keys, and the file of an EC key (RFC 5915 §3) says what
  its public key is. This one says that of the certificate.
* `replay_signature` presents a signature that the owner of the key did make, in another handshake.
"""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from mtls_echo.attacks.relay import HEADER, Attack, Record
from mtls_echo_pki.certificates.credential import nameless_file
from mtls_echo_tls.trace.messages import CERTIFICATE_VERIFY, HANDSHAKE, Message

# Of TLS 1.3's registry (RFC 8446 §4.2.3); the same number in TLS 1.2.
_ECDSA_P256 = b"\x04\x03"


def present_copy(context: ssl.SSLContext, certificate: bytes) -> None:
    """Make a client present a certificate of another client, and sign with a key of its own.

    Args:
        context: The client's.
        certificate: DER; with an EC key.

    Raises:
        ValueError: The key is of another kind, whose file cannot be forged like this.
    """
    public = x509.load_der_x509_certificate(certificate).public_key()
    if not isinstance(public, ec.EllipticCurvePublicKey):
        raise ValueError("only a certificate with an EC key can be presented like this")
    own = ec.generate_private_key(public.curve)
    der = own.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    forged = der.replace(_point(own.public_key()), _point(public))
    pem = ssl.DER_cert_to_PEM_cert(forged).replace("CERTIFICATE", "PRIVATE KEY")
    with nameless_file(f"{pem}{ssl.DER_cert_to_PEM_cert(certificate)}".encode()) as path:
        context.load_cert_chain(path)


def _point(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def signature_in(handshake: Sequence[Message]) -> bytes | None:
    """The client's CertificateVerify of a handshake, as either end recorded it."""
    return _split(handshake)[1]


def is_signature_over(
    verify: bytes, certificate: bytes, handshake: Sequence[Message], cipher: str = ""
) -> bool:
    """Return whether a CertificateVerify was made for this handshake, as a server checks it.

    Args:
        verify: The message: its header, ecdsa_secp256r1_sha256, and the signature.
        certificate: The client's, DER, with a P-256 key.
        handshake: Either end's record of it; only what comes before CertificateVerify counts.
        cipher: That of a TLS 1.3 handshake, which says what its messages are hashed with.

    Raises:
        ValueError: It was made with another algorithm.
    """
    scheme, size = verify[4:6], int.from_bytes(verify[6:8])
    key = x509.load_der_x509_certificate(certificate).public_key()
    if scheme != _ECDSA_P256 or not isinstance(key, ec.EllipticCurvePublicKey):
        raise ValueError("only ecdsa_secp256r1_sha256 is understood")
    signed, _ = _split(handshake)
    if cipher.startswith("TLS_"):  # RFC 8446 §4.4.3
        digest = hashlib.new(cipher.rpartition("_")[2].lower(), signed).digest()
        signed = b" " * 64 + b"TLS 1.3, client CertificateVerify\0" + digest
    try:
        key.verify(verify[8 : 8 + size], signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def _split(handshake: Sequence[Message]) -> tuple[bytes, bytes | None]:
    """What the client's CertificateVerify is over, and that message."""
    signed = b""
    for message in handshake:
        if message.content_type != HANDSHAKE:
            continue
        from_client = message.direction == handshake[0].direction  # as ClientHello
        if from_client and message.body[0] == CERTIFICATE_VERIFY:
            return signed, message.body
        signed += message.body
    return signed, None


def replay_signature(verify: bytes) -> Attack:
    """Put a CertificateVerify of another handshake in the place of the client's.

    For TLS 1.2, where it passes in the clear. In TLS 1.3 only the client itself could.
    """

    def attack(record: Record) -> list[bytes]:
        data = record.data
        is_verify = record.content_type == HANDSHAKE and data[HEADER] == CERTIFICATE_VERIFY
        if record.sender != "client" or not is_verify:
            return [data]
        return [data[: HEADER - 2] + len(verify).to_bytes(2) + verify]

    return attack
