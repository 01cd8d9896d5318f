"""What a certificate or a CRL says, as fields for people and for scripts.

The same fields serve ``pki show``, for people, and ``pki show --json``, for scripts;
only the presentation of time differs: a script wants the instant, a person wants to
know how long there is left.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.x509.oid import PublicKeyAlgorithmOID

from mtls_echo_pki.certificates.crl import reason_of
from mtls_echo_pki.certificates.der import UnreadableError
from mtls_echo_pki.certificates.identifiers import identity_text, subject_alternative_names
from mtls_echo_pki.certificates.loading import parsing
from mtls_echo_pki.certificates.reading import (
    extension,
    fingerprint,
    issuer_name,
    period,
    public_key,
    serial_number,
    subject_name,
    unreadable_extensions,
    usage,
    version,
)
from mtls_echo_pki.files.pem_blocks import MaterialError, show_command

# Keys that are read in part, or not at all.
_KEYS = {
    PublicKeyAlgorithmOID.DSA: "DSA",
    PublicKeyAlgorithmOID.RSAES_PKCS1_v1_5: "RSA",
    PublicKeyAlgorithmOID.RSASSA_PSS: "RSA-PSS",
}


class Description(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One certificate of one file.

    Args:
        position: Its place in that file, from 1.
        subject, issuer: RFC 4514 strings, empty if the name is.
        names: Presented identifiers, as ``pki issue`` takes them.
        usage: See :func:`mtls_echo_pki.certificates.reading.usage`.
        key: Its type and size.
        serial: Lower-case hex.
        fingerprint: SHA-256 of the DER, lower-case hex.
        unreadable: The extensions that cannot be read, as dotted OIDs; left out if there are none.
        version: That of the certificate; left out if it is 3, as it should be.
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
    unreadable: list[str] = []
    version: int = 3


class RevokedDescription(msgspec.Struct, frozen=True, kw_only=True):
    """One entry of a CRL: serial number in lower-case hex, reason as RFC 5280 spells it."""

    serial: str
    date: datetime
    reason: str


class CRLDescription(msgspec.Struct, frozen=True, kw_only=True):
    """One CRL of one file.

    Args:
        position: Its place among the CRLs of that file, from 1.
        issuer: RFC 4514 string.
        number: CRLNumber; None if it has none.
        next_update: None if the CRL does not say, which RFC 5280 forbids.
    """

    path: str
    position: int
    issuer: str
    number: int | None
    this_update: datetime
    next_update: datetime | None
    revoked: list[RevokedDescription]


def describe_crl(
    crl: x509.CertificateRevocationList, *, path: Path, position: int
) -> CRLDescription:
    """Return what a CRL says.

    Raises:
        MaterialError: If a part of it cannot be read.
    """
    with _readable("CRL", path, position, "crl"):
        number = extension(crl, x509.CRLNumber)
        return CRLDescription(
            path=str(path),
            position=position,
            issuer=str(issuer_name(crl)),
            number=None if number is None else number.crl_number,
            this_update=period(crl)[0],
            next_update=period(crl)[1],
            revoked=[
                RevokedDescription(
                    serial=f"{entry.serial_number:x}",
                    date=entry.revocation_date_utc,
                    reason=reason_of(entry).value,
                )
                for entry in crl
            ],
        )


def describe(certificate: x509.Certificate, *, path: Path, position: int) -> Description:
    """Return what ``certificate`` says.

    Raises:
        MaterialError: If it cannot be read. An extension or a key that cannot be is named.
    """
    with _readable("certificate", path, position, "x509"):
        unreadable = unreadable_extensions(certificate)
        return Description(
            path=str(path),
            position=position,
            subject=str(subject_name(certificate)),
            issuer=str(issuer_name(certificate)),
            names=[identity_text(name) for name in subject_alternative_names(certificate)],
            usage=_usage(certificate),
            key=_key(certificate),
            serial=f"{serial_number(certificate):x}",
            fingerprint=fingerprint(certificate),
            not_before=period(certificate)[0],
            not_after=period(certificate)[1],
            unreadable=unreadable,
            version=version(certificate),
        )


@contextmanager
def _readable(what: str, path: Path, position: int, command: str) -> Generator[None]:
    try:
        with parsing():
            yield
    except ValueError as error:
        raise MaterialError(
            path,
            f"a part of {what} {position} in it cannot be read",
            f"look at it with {show_command(path, command)}",
        ) from error


def _usage(certificate: x509.Certificate) -> list[str]:
    try:
        return usage(certificate)
    except UnreadableError:
        return []


def _key(certificate: x509.Certificate) -> str:
    algorithm = certificate.public_key_algorithm_oid
    try:
        key = public_key(certificate)
    except UnreadableError:
        key = None
    match key:
        case ec.EllipticCurvePublicKey():
            return f"EC {key.curve.name}"
        case rsa.RSAPublicKey():
            kind = "RSA-PSS" if algorithm == PublicKeyAlgorithmOID.RSASSA_PSS else "RSA"
            return f"{kind} {key.key_size}"
        case dsa.DSAPublicKey():
            return f"DSA {key.key_size}"
        case ed25519.Ed25519PublicKey():
            return "Ed25519"
        case ed448.Ed448PublicKey():
            return "Ed448"
        case _ if algorithm == PublicKeyAlgorithmOID.EC_PUBLIC_KEY:
            return "EC, on a curve that is not known here"
        case _:
            return _KEYS.get(algorithm, algorithm.dotted_string)
