"""TBSCertificate and TBSCertList: what is to be signed, as values, field by field.

RFC 5280 draws every certificate and every CRL as two parts, what is *to be signed* and the
signature over it. The first part is a plain value here, so a certificate that departs from the
rules in one respect is made with :func:`dataclasses.replace` and departs in that one field. No
builder with opinions stands between.

The hash follows the signing key and nothing else. Ed25519 hashes on its own (RFC 8032); P-384 is
paired with the hash of its strength, since RFC 8446 §4.2.3 knows no other pairing; everything
else is signed over SHA-256. What others have signed is verified here, too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa

from mtls_echo_pki.certificates.der import UnreadableError
from mtls_echo_pki.certificates.loading import parsing
from mtls_echo_pki.certificates.reading import issuer_name, subject_name
from mtls_echo_pki.certificates.request import PrivateKey

PublicKey: TypeAlias = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey
Verify: TypeAlias = Callable[[bytes, bytes], None]


@dataclass(frozen=True, kw_only=True)
class TBSCertificate:
    """What is about to be signed as a certificate (RFC 5280 §4.1.2)."""

    serial_number: int
    issuer: x509.Name
    not_before: datetime
    not_after: datetime
    subject: x509.Name
    public_key: PublicKey
    extensions: tuple[x509.Extension[x509.ExtensionType], ...]

    @classmethod
    def of(cls, certificate: x509.Certificate) -> TBSCertificate:
        """Return what a certificate says, to be signed once more with a change.

        Raises:
            ValueError: If its key is of a type that this package does not make.
        """
        public_key = certificate.public_key()
        if not isinstance(public_key, PublicKey):
            raise ValueError("the certificate's key is neither EC, Ed25519 nor RSA")
        return cls(
            serial_number=certificate.serial_number,
            issuer=certificate.issuer,
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
            subject=certificate.subject,
            public_key=public_key,
            extensions=tuple(certificate.extensions),
        )

    def sign(self, key: PrivateKey) -> x509.Certificate:
        """Return the certificate, exactly as the fields say."""
        builder = (
            x509.CertificateBuilder()
            .serial_number(self.serial_number)
            .issuer_name(self.issuer)
            .not_valid_before(self.not_before)
            .not_valid_after(self.not_after)
            .subject_name(self.subject)
            .public_key(self.public_key)
        )
        for extension in self.extensions:
            builder = builder.add_extension(extension.value, extension.critical)
        return builder.sign(key, _hash_for(key))


class Revocation(msgspec.Struct, frozen=True):
    """One entry of a CRL (RFC 5280 §5.3).

    Args:
        serial_number: Of the revoked certificate.
        date: When it was revoked, to the second.
        reason: Why; ``unspecified`` is expressed by saying nothing (§5.3.1).
    """

    serial_number: int
    date: datetime
    reason: x509.ReasonFlags = x509.ReasonFlags.unspecified


class TBSCertList(msgspec.Struct, frozen=True, kw_only=True):
    """What is about to be signed as a CRL, version 2 (RFC 5280 §5.1.2).

    Args:
        issuer: The certificate of the CA that signs.
        number: CRLNumber (§5.2.3), which must grow from CRL to CRL.
        this_update, next_update: From when to when the CRL counts, to the second.
        revocations: In the order of their revocation.
    """

    issuer: x509.Certificate
    number: int
    this_update: datetime
    next_update: datetime
    revocations: tuple[Revocation, ...] = ()

    def sign(self, key: PrivateKey) -> x509.CertificateRevocationList:
        """Return the CRL, exactly as the fields say."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.issuer.subject)
            .last_update(self.this_update)
            .next_update(self.next_update)
            .add_extension(authority_key_identifier(self.issuer), critical=False)
            .add_extension(x509.CRLNumber(self.number), critical=False)
        )
        for revocation in self.revocations:
            entry = (
                x509.RevokedCertificateBuilder()
                .serial_number(revocation.serial_number)
                .revocation_date(revocation.date)
            )
            if revocation.reason is not x509.ReasonFlags.unspecified:
                entry = entry.add_extension(x509.CRLReason(revocation.reason), critical=False)
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(key, _hash_for(key))


def authority_key_identifier(issuer: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    """Return the extension that points to an issuer's key (RFC 5280 §4.2.1.1, §5.2.1)."""
    own = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def _hash_for(key: PrivateKey) -> hashes.SHA256 | hashes.SHA384 | None:
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return None
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.key_size > 256:
        return hashes.SHA384()
    return hashes.SHA256()


# --- signatures of others ------------------------------------------------------------------------


def is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Return whether a certificate has its issuer's name, and a signature by the issuer's key."""
    return subject_name(issuer) == issuer_name(certificate) and is_signed_by(certificate, issuer)


def is_signed_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Return whether a signature verifies, also by an algorithm that counts as broken."""
    try:
        with parsing():
            verify = verifier(certificate, issuer)
            if verify is not None:
                verify(certificate.signature, certificate.tbs_certificate_bytes)
    except (InvalidSignature, UnreadableError):
        return False
    return verify is not None


def verifier(certificate: x509.Certificate, issuer: x509.Certificate) -> Verify | None:
    """Return how the issuer's key verifies a signature of this kind over some content.

    Raises:
        UnreadableError: If the key or the algorithm cannot be read.
    """
    with parsing():
        key, digest = issuer.public_key(), certificate.signature_hash_algorithm
        if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
            return key.verify
        if digest is None:
            return None
        # Of algorithms that it deems broken, `cryptography` names the digest only.
        algorithm = certificate.signature_algorithm_parameters
    if isinstance(key, ec.EllipticCurvePublicKey):
        chosen = algorithm or ec.ECDSA(digest)
        if isinstance(chosen, ec.ECDSA):
            return lambda signature, content: key.verify(signature, content, chosen)
    elif isinstance(key, rsa.RSAPublicKey):
        padded = algorithm or padding.PKCS1v15()
        if isinstance(padded, padding.PKCS1v15 | padding.PSS):
            return lambda signature, content: key.verify(signature, content, padded, digest)
    return None
