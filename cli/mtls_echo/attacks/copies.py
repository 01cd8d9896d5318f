"""A client's certificate without its key, and the signature that it is worthless without.

A certificate is public. It is sent in each handshake, in TLS 1.2 in the clear; a server that asks
for it gets it. To log in with it one also has to sign the handshake with its private key, in
CertificateVerify (RFC 8446 §4.4.3, RFC 5246 §7.4.8).

An attacker can sign with a key of its own (`present_copy`). No library loads a certificate with a
key that does not belong to it; but what OpenSSL compares are public keys, and the file of an EC
key (RFC 5915 §3) says what its public key is. This one says that of the certificate.
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

from mtls_echo_pki.certificates.credential import nameless_file
from mtls_echo_tls.trace.messages import CERTIFICATE_VERIFY, HANDSHAKE, Message

# Of TLS 1.3's registry (RFC 8446 §4.2.3); the same number in TLS 1.2.
ECDSA_P256 = b"\x04\x03"


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


def split_at_signature(handshake: Sequence[Message]) -> tuple[bytes, bytes]:
    """What the client's CertificateVerify of a handshake is over, and that message.

    Args:
        handshake: As either end recorded it.
    """
    before = b""
    for message in handshake:
        if message.content_type != HANDSHAKE:
            continue
        from_client = message.direction == handshake[0].direction  # as ClientHello
        if from_client and message.body[0] == CERTIFICATE_VERIFY:
            return before, message.body
        before += message.body
    return before, b""


def content_to_sign(transcript: bytes, cipher: str) -> bytes:
    """What a client signs, in TLS 1.3 (RFC 8446 §4.4.3) or 1.2 (RFC 5246 §7.4.8).

    Args:
        transcript: All messages of the handshake so far.
        cipher: The suite agreed on, by OpenSSL's name; it tells the version too.
    """
    if not cipher.startswith("TLS_"):
        return transcript
    digest = hashlib.new(cipher.rpartition("_")[2].lower(), transcript).digest()
    return b" " * 64 + b"TLS 1.3, client CertificateVerify\0" + digest


def is_signature_over(verify: bytes, certificate: bytes, transcript: bytes, cipher: str) -> bool:
    """Return whether a CertificateVerify is valid in a handshake, as its server checks it.

    Args:
        verify: The message.
        certificate: The client's, DER, with a P-256 key.
        transcript, cipher: As for `content_to_sign`.

    Raises:
        ValueError: It was made with another algorithm.
    """
    key = x509.load_der_x509_certificate(certificate).public_key()
    if verify[4:6] != ECDSA_P256 or not isinstance(key, ec.EllipticCurvePublicKey):
        raise ValueError("only ecdsa_secp256r1_sha256 is understood")
    content = content_to_sign(transcript, cipher)
    try:
        key.verify(signature_of(verify), content, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def signature_of(verify: bytes) -> bytes:
    """The signature in a CertificateVerify, after its header, the algorithm and its length."""
    return verify[8 : 8 + int.from_bytes(verify[6:8])]
