"""What a certificate says, in the words a person would use for it.

The same fields serve ``pki show``, for people, and ``pki show --json``, for scripts;
only the presentation of time differs: a script wants the instant, a person wants to
know how long there is left.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from mtls_echo_pki.credential import fingerprint
from mtls_echo_pki.request import describe_lifetime, identity_text

_USAGES: dict[x509.ObjectIdentifier, str] = {
    ExtendedKeyUsageOID.SERVER_AUTH: "server",
    ExtendedKeyUsageOID.CLIENT_AUTH: "client",
}


class Description(msgspec.Struct, frozen=True, kw_only=True):
    """One certificate of one file.

    Args:
        path: The file it was read from.
        position: Its place in that file, from 1.
        subject: RFC 4514 string, empty if the subject is.
        issuer: RFC 4514 string.
        names: Presented identifiers, as ``pki issue`` takes them.
        usage: ``authority``, or those of ``server`` and ``client`` that
            extendedKeyUsage allows; other purposes as dotted OIDs.
        key: Its type and size.
        serial: Lower-case hex.
        fingerprint: SHA-256 of the DER, lower-case hex.
    """

    path: str
    position: int
    subject: str
    issuer: str
    names: list[str]
    usage: list[str]
    key: str
    serial: str
    fingerprint: str
    not_before: datetime
    not_after: datetime


def describe(certificate: x509.Certificate, *, path: Path, position: int) -> Description:
    """Return what ``certificate`` says.

    Raises:
        ValueError: If an extension in it is malformed.
    """
    return Description(
        path=str(path),
        position=position,
        subject=certificate.subject.rfc4514_string(),
        issuer=certificate.issuer.rfc4514_string(),
        names=presented_identifiers(certificate),
        usage=usage(certificate),
        key=_key(certificate),
        serial=f"{certificate.serial_number:x}",
        fingerprint=fingerprint(certificate),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )


def presented_identifiers(certificate: x509.Certificate) -> list[str]:
    """Return the entries of subjectAltName as strings, none if there is none."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return [identity_text(name) for name in names.value]


def usage(certificate: x509.Certificate) -> list[str]:
    """Return what a certificate may be used for; see :class:`Description`."""
    if is_authority(certificate):
        return ["authority"]
    try:
        purposes = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound:
        return []
    return [_purpose(oid) for oid in purposes.value]


def is_authority(certificate: x509.Certificate) -> bool:
    """Return whether basicConstraints makes a certificate an authority's."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def validity(not_before: datetime, not_after: datetime, now: datetime) -> str:
    """Return how a certificate's validity stands at ``now``, such as "expires in 29 days"."""
    if now < not_before:
        return f"not valid for another {describe_lifetime(not_before - now)}"
    if now > not_after:
        return f"expired {describe_lifetime(now - not_after)} ago"
    return f"expires in {describe_lifetime(not_after - now)}"


def _purpose(oid: x509.ObjectIdentifier) -> str:
    return _USAGES.get(oid, oid.dotted_string)


def _key(certificate: x509.Certificate) -> str:
    key = certificate.public_key()
    match key:
        case ec.EllipticCurvePublicKey():
            return f"EC {key.curve.name}"
        case rsa.RSAPublicKey():
            return f"RSA {key.key_size}"
        case ed25519.Ed25519PublicKey():
            return "Ed25519"
        case ed448.Ed448PublicKey():
            return "Ed448"
        case _:
            return certificate.public_key_algorithm_oid.dotted_string
