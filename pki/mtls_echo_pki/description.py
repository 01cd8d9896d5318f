"""What a certificate says, in the words a person would use for it.

The same fields serve ``pki show``, for people, and ``pki show --json``, for scripts;
only the presentation of time differs: a script wants the instant, a person wants to
know how long there is left.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TypeVar

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mtls_echo_pki.armour import MaterialError, show_command
from mtls_echo_pki.credential import fingerprint
from mtls_echo_pki.parsing import parsing
from mtls_echo_pki.request import (
    DEFAULT_BACKDATE,
    KeyType,
    Request,
    Usage,
    describe_lifetime,
    identity_text,
)

_E = TypeVar("_E", bound=x509.ExtensionType)

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


class RevokedDescription(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a revocation list.

    Args:
        serial: Lower-case hex, as in the certificate's description.
        date: When it was revoked.
        reason: As RFC 5280 §5.3.1 spells it; ``unspecified`` if none is given.
    """

    serial: str
    date: datetime
    reason: str


class ListDescription(msgspec.Struct, frozen=True, kw_only=True):
    """One revocation list of one file.

    Args:
        path: The file it was read from.
        position: Its place among the lists of that file, from 1.
        issuer: RFC 4514 string.
        number: CRLNumber; None if it has none.
        next_update: None if the list does not say, which RFC 5280 forbids.
        revoked: In the order of the list.
    """

    path: str
    position: int
    issuer: str
    number: int | None
    this_update: datetime
    next_update: datetime | None
    revoked: list[RevokedDescription]


def describe_list(
    crl: x509.CertificateRevocationList, *, path: Path, position: int
) -> ListDescription:
    """Return what a revocation list says.

    Raises:
        MaterialError: If a part of it cannot be read.
    """
    try:
        with parsing():
            return _describe_list(crl, path, position)
    except ValueError as error:
        raise _unreadable("revocation list", path, position, "crl") from error


def _describe_list(
    crl: x509.CertificateRevocationList, path: Path, position: int
) -> ListDescription:
    number = _extension(crl.extensions, x509.CRLNumber)
    return ListDescription(
        path=str(path),
        position=position,
        issuer=crl.issuer.rfc4514_string(),
        number=None if number is None else number.crl_number,
        this_update=crl.last_update_utc,
        next_update=crl.next_update_utc,
        revoked=[
            RevokedDescription(
                serial=f"{entry.serial_number:x}",
                date=entry.revocation_date_utc,
                reason=_reason(entry),
            )
            for entry in crl
        ],
    )


def describe(certificate: x509.Certificate, *, path: Path, position: int) -> Description:
    """Return what ``certificate`` says.

    Raises:
        MaterialError: If a part of it cannot be read; a key of an unknown kind is no such part.
    """
    try:
        with parsing():
            return _describe(certificate, path, position)
    except ValueError as error:
        raise _unreadable("certificate", path, position, "x509") from error


def _describe(certificate: x509.Certificate, path: Path, position: int) -> Description:
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
    names = _extension(certificate.extensions, x509.SubjectAlternativeName)
    return [] if names is None else [identity_text(name) for name in names]


def usage(certificate: x509.Certificate) -> list[str]:
    """Return what a certificate may be used for; see :class:`Description`."""
    if is_authority(certificate):
        return ["authority"]
    purposes = _extension(certificate.extensions, x509.ExtendedKeyUsage)
    return [] if purposes is None else [_purpose(oid) for oid in purposes]


def is_authority(certificate: x509.Certificate) -> bool:
    """Return whether basicConstraints makes a certificate an authority's."""
    constraints = _extension(certificate.extensions, x509.BasicConstraints)
    return constraints is not None and constraints.ca


def request_of(certificate: x509.Certificate) -> Request:
    """Return the request that an end-entity certificate could have come from.

    The names, the subject and the usage are the certificate's, and so is the type of the key;
    the lifetime is as long as its own was.

    Raises:
        ValueError: If no request says what it says: it has no names, or more than one usage, or
            a key or a subject of a kind that is not made here.
    """
    with parsing():
        usages = usage(certificate)
        if usages not in (["server"], ["client"]):
            raise ValueError("it is for neither a server nor a client alone")
        lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
        if lifetime > DEFAULT_BACKDATE:
            lifetime -= DEFAULT_BACKDATE
        return Request(
            names=tuple(presented_identifiers(certificate)),
            subject=_common_name(certificate),
            usage=Usage(usages[0]),
            lifetime=lifetime,
            key_type=KeyType.of(certificate.public_key()),
        )


def validity(not_before: datetime, not_after: datetime, now: datetime) -> str:
    """Return how a certificate's validity stands at ``now``, such as "expires in 29 days"."""
    if now < not_before:
        return f"not valid for another {describe_lifetime(not_before - now)}"
    if now > not_after:
        return f"expired {describe_lifetime(now - not_after)} ago"
    return f"expires in {describe_lifetime(not_after - now)}"


def _purpose(oid: x509.ObjectIdentifier) -> str:
    return _USAGES.get(oid, oid.dotted_string)


def _common_name(certificate: x509.Certificate) -> str:
    attributes = [*certificate.subject]
    if not attributes:
        return ""
    if [attribute.oid for attribute in attributes] != [NameOID.COMMON_NAME]:
        raise ValueError("its subject is more than a common name")
    return str(attributes[0].value)


def _unreadable(what: str, path: Path, position: int, command: str) -> MaterialError:
    return MaterialError(
        path,
        f"a part of {what} {position} in it cannot be read",
        f"look at it with {show_command(path, command)}",
    )


def _extension(extensions: x509.Extensions, kind: type[_E]) -> _E | None:
    try:
        return extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _reason(entry: x509.RevokedCertificate) -> str:
    given = _extension(entry.extensions, x509.CRLReason)
    return (x509.ReasonFlags.unspecified if given is None else given.reason).value


def _key(certificate: x509.Certificate) -> str:
    try:
        key = certificate.public_key()
    except UnsupportedAlgorithm:
        key = None
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
