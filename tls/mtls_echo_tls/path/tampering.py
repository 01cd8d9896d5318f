"""Evidence that a certificate with a wrong signature was altered, not signed by another key.

OpenSSL reports the same of both: verify code 7. They differ in what they leave behind.

* **RSA (PKCS#1 v1.5) shows what was signed.** A signature opens with the signer's public key to a
  padded digest (RFC 8017 §8.2.2). If it opens with the claimed issuer's key, that key made it, and
  what it signed was another content: the certificate was altered. If it does not, nothing follows:
  an altered signature opens to noise, and so does one by another key.
* **ECDSA and Ed25519 show nothing.** Any two numbers are a signature of any content by *some* key,
  which can be computed from them (SEC 1 §4.1.6). Only a signature that is not even two numbers
  was made by no key at all.
* **A single altered bit can be found.** If the claimed issuer's key has signed the certificate
  except one bit, it has signed it: that another key's signature is so near is as unlikely as a
  forgery. Damage of a file or a disk is of this kind. The search verifies a signature for each
  bit, which takes 0.03 to 0.3 s (measured): a server does not do it for an unauthenticated client.

What remains undecided after that is undecidable: a CA that copied name and key identifier, or an
alteration of more than one bit. Unless the other key is at hand: then it verifies.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import suppress

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from mtls_echo_pki.certificates.der import UnreadableError
from mtls_echo_pki.certificates.loading import UNREADABLE, parsing
from mtls_echo_pki.certificates.reading import public_key, subject_name
from mtls_echo_pki.certificates.tbs import Verify, verifier
from mtls_echo_tls.path.rules import display_name

# Bits tried: an RSA signature's 4096 take 0.2 s, as do the signature and 570 bytes of content with
# a P-256 key. Larger elliptic curves are seven times slower, so there the signature has to do.
_MOST_TRIES = 5 * 1024
_FAST_CURVE = 256

# How the identifiers of the signatures that one kind of key makes begin (RFC 8017, RFC 5758,
# RFC 8410).
_KINDS = (
    ("1.2.840.113549.1.1.", rsa.RSAPublicKey),
    ("1.2.840.10045.4.", ec.EllipticCurvePublicKey),
    ("1.3.101.112", ed25519.Ed25519PublicKey),
    ("1.3.101.113", ed448.Ed448PublicKey),
)


def evidence_of_tampering(
    certificate: x509.Certificate, issuer: x509.Certificate, *, thorough: bool
) -> str | None:
    """Evidence that a certificate was altered after this issuer's key had signed it, as a clause.

    The signature does not verify with the issuer's key, although the issuer has the right name and
    key identifier. Thorough: also search for a single altered bit. None when nothing is proved.
    """
    with suppress(UnreadableError), parsing():
        return _from_signature(certificate, issuer) or (
            _from_single_bit_flip(certificate, issuer) if thorough else None
        )
    return None


def is_signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool | None:
    """Whether the issuer's key made the signature, also by an algorithm that counts as broken.

    Names and key identifiers are not compared. None: it cannot be verified here.
    """
    with suppress(UnreadableError), parsing():
        verify = verifier(certificate, issuer)
        if verify is None:
            return None if _can_be_by(certificate, issuer) else False
        return _accepts(verify, certificate.signature, certificate.tbs_certificate_bytes)
    return None


def _can_be_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether the signature is of the kind that the issuer's key makes."""
    oid, key = certificate.signature_algorithm_oid.dotted_string, public_key(issuer)
    return not any(oid.startswith(prefix) and not isinstance(key, kind) for prefix, kind in _KINDS)


def _from_signature(certificate: x509.Certificate, issuer: x509.Certificate) -> str | None:
    key, signer = public_key(issuer), display_name(subject_name(issuer))
    algorithm = certificate.signature_algorithm_parameters
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(algorithm, ec.ECDSA):
        try:
            decode_dss_signature(certificate.signature)
        except ValueError:
            return "its signature is not a signature by any key: it was damaged"
    if isinstance(key, rsa.RSAPublicKey) and isinstance(algorithm, padding.PKCS1v15):
        try:
            key.recover_data_from_signature(
                certificate.signature, algorithm, certificate.signature_hash_algorithm
            )
        except (InvalidSignature, ValueError):
            return None
        return f"its signature is that of {signer}, for another content: it was altered"
    return None


@functools.lru_cache(maxsize=16)
def _from_single_bit_flip(certificate: x509.Certificate, issuer: x509.Certificate) -> str | None:
    # Cached, because a server that presents a damaged certificate is refused again and again.
    verify = verifier(certificate, issuer)
    if verify is None:
        return None
    signature, content = certificate.signature, certificate.tbs_certificate_bytes
    if 8 * len(signature) > _MOST_TRIES:
        return None
    found = any(_accepts(verify, near, content) for near in _one_bit_off(signature))
    if not found and _is_fast(issuer) and 8 * (len(signature) + len(content)) <= _MOST_TRIES:
        found = any(_accepts(verify, signature, near) for near in _one_bit_off(content))
    signer = display_name(subject_name(issuer))
    return f"{signer} signed it with one bit different: it was damaged" if found else None


def _is_fast(issuer: x509.Certificate) -> bool:
    key = public_key(issuer)
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key.key_size <= _FAST_CURVE
    # An RSA signature over another content was opened already.
    return isinstance(key, ed25519.Ed25519PublicKey)


def _accepts(verify: Verify, signature: bytes, content: bytes) -> bool:
    try:
        verify(signature, content)
    except (InvalidSignature, *UNREADABLE):
        return False
    return True


def _one_bit_off(data: bytes) -> Iterator[bytes]:
    whole = int.from_bytes(data)
    for bit in range(8 * len(data)):
        yield (whole ^ (1 << bit)).to_bytes(len(data))
