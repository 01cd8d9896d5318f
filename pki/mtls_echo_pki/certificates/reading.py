"""Read certificates and CRLs that others wrote: their parts and their dates.

``cryptography`` parses the parts of a certificate when they are asked for, and has a different
exception for each kind it cannot read: a version that was never defined, an extension that stands
there twice, a general name of a rare type, a curve it does not know. Few of them are a
``ValueError``, and none is a reason for a traceback. :data:`UNREADABLE` is all of them; inside
:func:`parsing` all of them are one. OpenSSL reads more than ``cryptography`` does, so what is
unreadable here may be a certificate that a handshake has accepted.
"""

from __future__ import annotations

import warnings
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from typing import TypeAlias, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID

from mtls_echo_pki.certificates.lifetimes import timestamp

# What reading a part of a certificate or a CRL may raise.
UNREADABLE = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)

_USAGES: dict[x509.ObjectIdentifier, str] = {
    ExtendedKeyUsageOID.SERVER_AUTH: "server",
    ExtendedKeyUsageOID.CLIENT_AUTH: "client",
}

_Extended: TypeAlias = x509.Certificate | x509.CertificateRevocationList | x509.RevokedCertificate
_Dated: TypeAlias = x509.Certificate | x509.CertificateRevocationList
_E = TypeVar("_E", bound=x509.ExtensionType)


@contextmanager
def parsing() -> Generator[None]:
    """Read what others wrote: without warnings, and failing in one way.

    Raises:
        ValueError: If ``cryptography`` cannot read it.
    """
    with warnings.catch_warnings():
        # A serial number that is not positive (RFC 5280 §4.1.2.2) is in nine of the 144
        # certificates of Debian 12's trust store, and a peer may present anything. The user can do
        # nothing about either.
        warnings.simplefilter("ignore")
        try:
            yield
        except UNREADABLE as error:
            raise ValueError(str(error)) from error


def load_certificate(der: bytes) -> x509.Certificate:
    """Parse a DER certificate.

    Raises:
        ValueError: If it cannot be read.
    """
    with parsing():
        return x509.load_der_x509_certificate(der)


# --- parts ---------------------------------------------------------------------------------------


def extension(of: _Extended, kind: type[_E]) -> _E | None:
    """Return the extension of a kind; None if there is none.

    Raises:
        UNREADABLE: If any extension cannot be read.
    """
    try:
        return of.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def value_of(of: _Extended, kind: type[_E]) -> _E | None:
    """Return the extension of a kind; None if there is none, or if they cannot be read."""
    try:
        return extension(of, kind)
    except UNREADABLE:
        return None


def has_readable_extensions(certificate: x509.Certificate) -> bool:
    """Return whether all extensions can be read: else one that seems absent may be hidden."""
    try:
        _ = certificate.extensions
    except UNREADABLE:
        return False
    return True


def serial_number(certificate: x509.Certificate) -> int:
    """Return the serial number, without a warning where it is not positive."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return certificate.serial_number


def fingerprint(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of a certificate's DER, in lower-case hex."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def usage(certificate: x509.Certificate) -> list[str]:
    """Return what a certificate may be used for.

    Returns:
        ``authority``; or those of ``server`` and ``client`` that extendedKeyUsage allows, and
        other purposes as dotted OIDs.
    """
    if is_authority(certificate):
        return ["authority"]
    purposes = extension(certificate, x509.ExtendedKeyUsage)
    return [] if purposes is None else [_purpose(oid) for oid in purposes]


def _purpose(oid: x509.ObjectIdentifier) -> str:
    return _USAGES.get(oid, oid.dotted_string)


def is_authority(certificate: x509.Certificate) -> bool:
    """Return whether basicConstraints makes a certificate a CA's."""
    constraints = extension(certificate, x509.BasicConstraints)
    return constraints is not None and constraints.ca


def is_self_issued(certificate: x509.Certificate) -> bool:
    """Return whether issuer and subject are the same name (RFC 5280 §6.1)."""
    return certificate.issuer == certificate.subject


def is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Return whether a certificate has its issuer's name, and a signature by the issuer's key."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (*UNREADABLE, InvalidSignature):
        return False
    return True


# --- dates ---------------------------------------------------------------------------------------


def period(dated: _Dated) -> tuple[datetime, datetime | None]:
    """Return the first and the last moment of a validity; a CRL without nextUpdate has no last."""
    if isinstance(dated, x509.Certificate):
        return dated.not_valid_before_utc, dated.not_valid_after_utc
    return dated.last_update_utc, dated.next_update_utc


def valid_at(dated: _Dated, moment: datetime) -> int:
    """Return -1 before its validity, 1 after it, 0 within (RFC 5280 §4.1.2.5, §5.1.2)."""
    begin, end = period(dated)
    if moment < begin:
        return -1
    return 1 if end is not None and moment > end else 0


def is_valid_at(dated: _Dated, moment: datetime) -> bool:
    """Return whether a moment lies in the validity of a certificate or CRL."""
    return valid_at(dated, moment) == 0


def invalidity(dated: _Dated, now: datetime) -> str | None:
    """Return why it is not valid now, such as "expired on 2026-11-21 10:00:00 UTC"; else None."""
    begin, end = period(dated)
    if now < begin:
        return f"is not valid before {timestamp(begin)} UTC"
    if end is not None and now > end:
        return f"expired on {timestamp(end)} UTC"
    return None
