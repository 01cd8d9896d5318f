"""The one reader of certificates and CRLs that others wrote: part by part.

Names, dates, serial numbers and the list of extensions are read here, from the DER, each by
itself, so that an odd one spoils no other; ``cryptography`` reads keys, and the contents of one
extension at a time. What cannot be read raises :exc:`UnreadableError` and nothing else.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import TypeAlias, TypeVar, overload

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from mtls_echo_pki.certificates.der import (
    INTEGER,
    SEQUENCE,
    UnreadableError,
    canonical,
    elements,
    encode,
    first,
)
from mtls_echo_pki.certificates.loading import (
    UNREADABLE,
    VERSION,
    VERSION_3,
    load_certificate,
    parsing,
)
from mtls_echo_pki.certificates.outline import (
    FIRST_MOMENT,
    DistinguishedName,
    Outline,
    RawExtension,
    crl_outline_of,
    outline_of,
    signed_parts,
    version_of,
)
from mtls_echo_pki.lifetimes import timestamp

_USAGES: dict[x509.ObjectIdentifier, str] = {
    ExtendedKeyUsageOID.SERVER_AUTH: "server",
    ExtendedKeyUsageOID.CLIENT_AUTH: "client",
}

_Signed: TypeAlias = x509.Certificate | x509.CertificateRevocationList
_E = TypeVar("_E", bound=x509.ExtensionType)

# A version 2 CRL, in which extensions are allowed.
_VERSION_2 = bytes.fromhex("020101")
_EXTENSIONS, _CRL_EXTENSIONS = 0xA3, 0xA0


# --- parts ---------------------------------------------------------------------------------------


def _outline(of: _Signed) -> Outline:
    if isinstance(of, x509.CertificateRevocationList):
        return crl_outline_of(of.tbs_certlist_bytes)
    return outline_of(of.public_bytes(Encoding.DER))


def subject_name(certificate: x509.Certificate) -> DistinguishedName:
    """Return the subject's name."""
    return _outline(certificate).subject


def issuer_name(of: _Signed) -> DistinguishedName:
    """Return the issuer's name."""
    return _outline(of).issuer


def version(certificate: x509.Certificate) -> int:
    """Return the version, which is 3 as a rule."""
    return version_of(signed_parts(certificate.public_bytes(Encoding.DER)))


def serial_number(certificate: x509.Certificate) -> int:
    """Return the serial number, which may be negative or 0."""
    return _outline(certificate).serial


def public_key(certificate: x509.Certificate) -> CertificatePublicKeyTypes:
    """Return the public key.

    Raises:
        UnreadableError: If it is of a kind, or on a curve, that is not known here.
    """
    with parsing():
        return certificate.public_key()


def raw_extensions(of: _Signed) -> tuple[RawExtension, ...]:
    """Return all extensions, whatever they hold."""
    return _outline(of).extensions


def extension(of: _Signed, kind: type[_E]) -> _E | None:
    """Return the extension of a kind; None if there is none. The others may be malformed.

    Raises:
        UnreadableError: If it cannot be read, or stands there twice.
    """
    found = [raw for raw in raw_extensions(of) if raw.oid == kind.oid.dotted_string]
    if not found:
        return None
    if len(found) > 1:
        raise UnreadableError(f"extension {kind.oid.dotted_string} stands there twice")
    with parsing():
        try:
            return of.extensions.get_extension_for_class(kind).value
        except (*UNREADABLE, x509.ExtensionNotFound):
            return _alone(of, found[0]).get_extension_for_class(kind).value


def _alone(of: _Signed, wanted: RawExtension) -> x509.Extensions:
    """Read one extension, in a certificate or CRL that has no other."""
    try:
        return _holding_only(of, wanted.der)
    except UNREADABLE:
        return _holding_only(of, _put_right(wanted))


def _put_right(extension: RawExtension) -> bytes:
    """As DER has it, if it is basicConstraints: some write out "cA FALSE", which DER omits."""
    if extension.oid != x509.BasicConstraints.oid.dotted_string:
        return extension.der
    *before, value = elements(first(extension.der).contents)
    held = first(value.contents)
    if held.der != value.contents:
        raise UnreadableError(f"something follows the value of extension {extension.oid}")
    kept = b"".join(part.der for part in before)
    return encode(SEQUENCE, kept + encode(value.tag, canonical(held)))


def _all_put_right(certificate: x509.Certificate) -> bytes:
    parts, raws = signed_parts(certificate.public_bytes(Encoding.DER)), raw_extensions(certificate)
    lists = [first(part.contents).contents for part in parts if part.tag == _EXTENSIONS]
    if sum(1 for each in lists for _ in elements(each)) != len(raws):
        raise UnreadableError("one of its extensions is cut off")
    return b"".join(map(_put_right, raws))


def _holding_only(of: _Signed, listed: bytes) -> x509.Extensions:
    extensions = encode(SEQUENCE, listed)
    if not isinstance(of, x509.CertificateRevocationList):
        parts = [p for p in elements(first(of.tbs_certificate_bytes).contents) if p.tag < VERSION]
        kept = VERSION_3 + b"".join(part.der for part in parts)
        return load_certificate(_holding(of, kept + encode(_EXTENSIONS, extensions))).extensions
    parts = [p for p in elements(first(of.tbs_certlist_bytes).contents) if p.tag < VERSION]
    kept = _VERSION_2 + b"".join(part.der for part in parts if part.tag != INTEGER)
    return x509.load_der_x509_crl(
        _holding(of, kept + encode(_CRL_EXTENSIONS, extensions))
    ).extensions


def _holding(of: _Signed, contents: bytes) -> bytes:
    """Put other contents where the signed ones were; the signature is then that of others."""
    _, *rest = elements(first(of.public_bytes(Encoding.DER)).contents)
    return encode(SEQUENCE, encode(SEQUENCE, contents) + b"".join(part.der for part in rest))


def value_of(of: _Signed, kind: type[_E]) -> _E | None:
    """Return the extension of a kind; None if there is none, or if it cannot be read."""
    try:
        return extension(of, kind)
    except UnreadableError:
        return None


def is_unreadable(of: _Signed, kind: type[x509.ExtensionType]) -> bool:
    """Return whether there is an extension of a kind that cannot be read."""
    try:
        extension(of, kind)
    except UnreadableError:
        return True
    return False


def has_readable_extensions(certificate: x509.Certificate) -> bool:
    """Return whether all extensions can be read."""
    try:
        with parsing():
            try:
                _ = certificate.extensions
            except UNREADABLE:
                _ = _holding_only(certificate, _all_put_right(certificate))
    except UnreadableError:
        return False
    return True


def unreadable_extensions(certificate: x509.Certificate) -> list[str]:
    """Return the types, as dotted OIDs, of the extensions that cannot be read, or stand twice."""
    if has_readable_extensions(certificate):
        return []
    oids = [raw.oid for raw in raw_extensions(certificate)]
    odd = {oid for oid in oids if oids.count(oid) > 1}
    for raw in raw_extensions(certificate):
        try:
            with parsing():
                _alone(certificate, raw)
        except UnreadableError:
            odd.add(raw.oid)
    return sorted(odd)


def fingerprint(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of a certificate's DER, in lower-case hex."""
    return hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()


def usage(certificate: x509.Certificate) -> list[str]:
    """Return what a certificate may be used for.

    Returns:
        ``authority``; or those of ``server`` and ``client`` that extendedKeyUsage allows, and
        other purposes as dotted OIDs.

    Raises:
        UnreadableError: If one of the two extensions cannot be read.
    """
    if is_authority(certificate):
        return ["authority"]
    purposes = extension(certificate, x509.ExtendedKeyUsage)
    return [_USAGES.get(oid) or oid.dotted_string for oid in purposes or ()]


def is_authority(certificate: x509.Certificate) -> bool:
    """Return whether basicConstraints makes a certificate a CA's.

    Raises:
        UnreadableError: If basicConstraints cannot be read.
    """
    constraints = extension(certificate, x509.BasicConstraints)
    return constraints is not None and constraints.ca


def is_self_issued(certificate: x509.Certificate) -> bool:
    """Return whether issuer and subject are the same name (RFC 5280 §6.1)."""
    return issuer_name(certificate) == subject_name(certificate)


# --- dates ---------------------------------------------------------------------------------------


@overload
def period(dated: x509.Certificate) -> tuple[datetime, datetime]: ...
@overload
def period(dated: _Signed) -> tuple[datetime, datetime | None]: ...
def period(dated: _Signed) -> tuple[datetime, datetime | None]:
    """Return the first and the last moment of a validity; a CRL without nextUpdate has no last."""
    outline = _outline(dated)
    is_crl = isinstance(dated, x509.CertificateRevocationList)
    return outline.begin or FIRST_MOMENT, outline.end or (None if is_crl else FIRST_MOMENT)


def expiry(certificate: x509.Certificate) -> datetime:
    """Return the last moment of a certificate's validity."""
    return period(certificate)[1]


def valid_at(dated: _Signed, moment: datetime) -> int:
    """Return -1 before its validity, 1 after it, 0 within (RFC 5280 §4.1.2.5, §5.1.2)."""
    begin, end = period(dated)
    if moment < begin:
        return -1
    return 1 if end is not None and moment > end else 0


def is_valid_at(dated: _Signed, moment: datetime) -> bool:
    """Return whether a moment lies in the validity of a certificate or CRL."""
    return valid_at(dated, moment) == 0


def invalidity(dated: _Signed, now: datetime) -> str | None:
    """Return why it is not valid now, such as "expired on 2026-11-21 10:00:00 UTC"; else None."""
    begin, end = period(dated)
    match valid_at(dated, now):
        case -1:
            return f"is not valid before {timestamp(begin)} UTC"
        case 1 if end is not None:
            return f"expired on {timestamp(end)} UTC"
        case _:
            return None
