"""Flaws of signatures and keys: found by computing, not by reading fields.

Two of them no library will make, and for good reasons. ``cryptography`` refuses to sign a
certificate over SHA-1, so :func:`weak_signature` puts one together from its three parts, for which
a dozen lines of DER (X.690) suffice. And a private key that is not its certificate's is not loaded
by any program that compares the two; but what OpenSSL compares are the *public* keys, and an EC
key file (RFC 5915) holds a copy of its own. :func:`key_not_owned` puts the certificate's public
key beside another private one.

OpenSSL rates strength by security level: 2 demands 112 bits, which RSA has from 2048 on and SHA-1
never has. It applies to one's own credential as well, so the weak ones below do not even load
(``load_error``); to present them takes ``SECLEVEL=0``, as a peer of another make might have.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.tbs import TBSCertificate
from mtls_echo_pki.flaws.baseline import (
    Baseline,
    ValidationInput,
    below_an_intermediate,
    issued_by,
    with_extension,
)
from mtls_echo_pki.flaws.flaw import flaw

# AlgorithmIdentifier: ecdsa-with-SHA1 (RFC 3279 §2.2.3), sha1WithRSAEncryption (§2.2.1).
_ECDSA_SHA1 = bytes.fromhex("300906072a8648ce3d0401")
_RSA_SHA1 = bytes.fromhex("300d06092a864886f70d0101050500")

_SEQUENCE, _BIT_STRING = 0x30, 0x03

# 80 bits of security (NIST SP 800-57, table 2), the most that was ever usual below 2048.
_WEAK_BITS = 1024


@dataclass(frozen=True)
class StolenCertificate(Credential):
    """Another's certificate, with a key file that pretends to be its key.

    :attr:`key` stays the certificate's, as in every credential. What is written and loaded
    (:attr:`key_pem`) is not it: PKCS#8 with the certificate's public and another private key.
    """

    own: ec.EllipticCurvePrivateKey = field(kw_only=True, repr=False, compare=False)
    foreign: ec.EllipticCurvePrivateKey = field(kw_only=True, repr=False, compare=False)

    @property
    def key_pem(self) -> bytes:
        """A key file that OpenSSL takes for the certificate's, and that cannot sign for it."""
        genuine = self.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        # The private key stands in it once, as a number of fixed length (RFC 5915 §3).
        forged = genuine.replace(_scalar(self.own), _scalar(self.foreign))
        lines = base64.encodebytes(forged)
        return b"-----BEGIN PRIVATE KEY-----\n" + lines + b"-----END PRIVATE KEY-----\n"


@flaw(
    "key-not-owned",
    "end-entity: private key",
    None,
    "RFC 8446 §4.4.3",
    reason="BAD_SIGNATURE",
    alert="decrypt_error",
)
def key_not_owned(baseline: Baseline) -> ValidationInput:
    """The certificate is genuine, but the private key is not its own.

    Certificates are public: any peer can send one. CertificateVerify (in TLS 1.2 a server's
    ServerKeyExchange) is what only the owner of the key can sign.
    """
    credential = baseline.inputs.credential
    if not isinstance(credential.key, ec.EllipticCurvePrivateKey):
        raise ValueError(
            "this flaw needs an EC key, whose file can be forged; choose p256 or p384"
        )
    stolen = StolenCertificate(
        credential.key,
        credential.certificate,
        credential.chain,
        own=credential.key,
        foreign=ec.generate_private_key(credential.key.curve),
    )
    return replace(baseline.inputs, credential=stolen)


@flaw("bad-signature", "end-entity: issuer", 7, "RFC 5280 §6.1.3")
def bad_signature(baseline: Baseline) -> ValidationInput:
    """One bit of the CA's signature has flipped."""
    return baseline.inputs.but(certificate=tampered(baseline.inputs.credential.certificate))


@flaw(
    "weak-signature",
    "end-entity: signature algorithm",
    68,
    "RFC 9155",
    load_error="CA_MD_TOO_WEAK",
)
def weak_signature(baseline: Baseline) -> ValidationInput:
    """The CA signed over SHA-1, which does not tell two certificates apart.

    Collisions can be computed, so the signature on one may be valid for another as well.
    """
    tbs, algorithm, _ = _elements(_contents(_der(baseline.inputs.credential.certificate)))
    key = baseline.issuer.key
    # The algorithm stands inside of what is signed too (RFC 5280 §4.1.2.3), before any name.
    if isinstance(key, ec.EllipticCurvePrivateKey):
        weak = _encode(_SEQUENCE, _contents(tbs).replace(algorithm, _ECDSA_SHA1, 1))
        signature = key.sign(weak, ec.ECDSA(hashes.SHA1()))  # noqa: S303 - weak on purpose
        parts = weak + _ECDSA_SHA1
    elif isinstance(key, rsa.RSAPrivateKey):
        weak = _encode(_SEQUENCE, _contents(tbs).replace(algorithm, _RSA_SHA1, 1))
        signature = key.sign(weak, padding.PKCS1v15(), hashes.SHA1())  # noqa: S303 - as above
        parts = weak + _RSA_SHA1
    else:
        raise ValueError("this flaw needs a CA with an EC or RSA key: Ed25519 has no SHA-1")
    certificate = _encode(_SEQUENCE, parts + _encode(_BIT_STRING, b"\0" + signature))
    return baseline.inputs.but(certificate=x509.load_der_x509_certificate(certificate))


@flaw("weak-key", "end-entity: key", 66, "RFC 9325 §4.5", load_error="EE_KEY_TOO_SMALL")
def weak_key(baseline: Baseline) -> ValidationInput:
    """The certificate's key is RSA with 1024 bits."""
    key = _weak_key()
    tbs = _with_key(TBSCertificate.of(baseline.inputs.credential.certificate), key)
    weak = Credential(key, baseline.issuer.certify(tbs), baseline.inputs.credential.chain)
    return replace(baseline.inputs, credential=weak)


@flaw(
    "weak-key",
    "intermediate: key",
    67,
    "RFC 9325 §4.5",
    prepare=below_an_intermediate,
    load_error="CA_KEY_TOO_SMALL",
)
def weak_key_authority(baseline: Baseline) -> ValidationInput:
    """The key of the issuing CA is RSA with 1024 bits."""
    key = _weak_key()
    root = baseline.authorities[-1]
    tbs = _with_key(TBSCertificate.of(baseline.issuer.certificate), key)
    weak = Authority(root.certify(tbs), key, baseline.issuer.issuers, baseline.issuer.clock)
    below = issued_by(TBSCertificate.of(baseline.inputs.credential.certificate), weak)
    return baseline.inputs.but(certificate=weak.certify(below), chain=weak.chain)


def tampered(certificate: x509.Certificate) -> x509.Certificate:
    """Return a certificate with the last bit of its signature flipped."""
    return x509.load_der_x509_certificate(flipped(_der(certificate)))


def flipped(der: bytes) -> bytes:
    """Return signed DER with the last bit flipped, which is one of the signature."""
    return der[:-1] + bytes([der[-1] ^ 1])


def _weak_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=_WEAK_BITS)


def _with_key(tbs: TBSCertificate, key: rsa.RSAPrivateKey) -> TBSCertificate:
    public_key = key.public_key()
    return with_extension(
        replace(tbs, public_key=public_key), x509.SubjectKeyIdentifier.from_public_key(public_key)
    )


def _scalar(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_numbers().private_value.to_bytes((key.curve.key_size + 7) // 8)


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.DER)


def _encode(tag: int, contents: bytes) -> bytes:
    """Return a DER element (X.690 §8.1); the length is definite and as short as it can be."""
    length = len(contents)
    if length < 0x80:
        return bytes([tag, length]) + contents
    octets = length.to_bytes((length.bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(octets)]) + octets + contents


def _elements(contents: bytes) -> Iterator[bytes]:
    """Split the contents of a SEQUENCE into its elements, each with its tag and length."""
    while contents:
        header, length = _header(contents)
        yield contents[: header + length]
        contents = contents[header + length :]


def _contents(element: bytes) -> bytes:
    return element[_header(element)[0] :]


def _header(element: bytes) -> tuple[int, int]:
    """Return how many octets tag and length take, and the length."""
    first = element[1]
    if first < 0x80:
        return 2, first
    count = first & 0x7F
    return 2 + count, int.from_bytes(element[2 : 2 + count])
