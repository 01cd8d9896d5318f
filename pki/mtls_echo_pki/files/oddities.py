"""Which part of a certificate or a CRL, that cannot be used, is not as RFC 5280 has it.

Neither OpenSSL, as Python reports it, nor ``cryptography`` says which part they stumbled over, and
the one takes what the other refuses. These are the parts that programs get wrong: a date, a string
in a name, an extension, what follows the certificate.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime

from cryptography.x509.oid import ExtensionOID

from mtls_echo_pki.certificates.der import (
    BIT_STRING,
    INTEGER,
    SEQUENCE,
    Element,
    UnreadableError,
    dotted,
    elements,
    first,
)
from mtls_echo_pki.certificates.loading import is_odd, load_certificate
from mtls_echo_pki.certificates.outline import (
    Attribute,
    DistinguishedName,
    RawExtension,
    crl_outline_of,
    is_without_parameters,
    outline_of,
    signed_parts,
    version_of,
)
from mtls_echo_pki.certificates.reading import unreadable_extensions
from mtls_echo_pki.printable import printable

# RFC 5280 §4.1.2.5: to the second, in UTC.
_UTC_TIME, _GENERALIZED_TIME = 0x17, 0x18
_DATES = {
    _UTC_TIME: re.compile(rb"\d{6}([01]\d|2[0-3])[0-5]\d[0-5]\dZ"),
    _GENERALIZED_TIME: re.compile(rb"\d{8}([01]\d|2[0-3])[0-5]\d[0-5]\dZ"),
}

_VERSION = 0xA0
_UTF8, _PRINTABLE, _IA5 = 0x0C, 0x13, 0x16
_TYPES = {_PRINTABLE: "a PrintableString", _IA5: "an IA5String"}

# What OpenSSL takes in a name (B_ASN1_PRINTABLE): strings, a BIT STRING and a SEQUENCE.
_STRINGS = frozenset({_UTF8, 0x12, _PRINTABLE, 0x14, _IA5, 0x1C, 0x1E})
_ALLOWED = _STRINGS | {BIT_STRING, SEQUENCE}

# X.680 §41.4.
_NOT_PRINTABLE = re.compile(rb"[^A-Za-z0-9 '()+,\-./:=?]")

# What an oddity of the issuer's name begins with: its own certificate has it too.
ISSUER = "its issuer's name"

_EXTENSIONS = {
    ExtensionOID.BASIC_CONSTRAINTS.dotted_string: "basicConstraints",
    ExtensionOID.KEY_USAGE.dotted_string: "keyUsage",
    ExtensionOID.EXTENDED_KEY_USAGE.dotted_string: "extendedKeyUsage",
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME.dotted_string: "subjectAltName",
    ExtensionOID.ISSUER_ALTERNATIVE_NAME.dotted_string: "issuerAltName",
    ExtensionOID.SUBJECT_KEY_IDENTIFIER.dotted_string: "subjectKeyIdentifier",
    ExtensionOID.AUTHORITY_KEY_IDENTIFIER.dotted_string: "authorityKeyIdentifier",
    ExtensionOID.NAME_CONSTRAINTS.dotted_string: "nameConstraints",
    ExtensionOID.CERTIFICATE_POLICIES.dotted_string: "certificatePolicies",
    ExtensionOID.CRL_DISTRIBUTION_POINTS.dotted_string: "cRLDistributionPoints",
    ExtensionOID.CRL_NUMBER.dotted_string: "cRLNumber",
}


def certificate_oddity(der: bytes) -> str | None:
    """Return the first part of a certificate that is not as it has to be; None if none is."""
    with suppress(UnreadableError):
        return next(_of_certificate(der), None)
    return None


def crl_oddity(der: bytes) -> str | None:
    """Return the first part of a CRL that is not as it has to be; None if none is."""
    with suppress(UnreadableError):
        return next(_of_crl(der), None)
    return None


def extension_name(oid: str) -> str:
    """Return what RFC 5280 calls an extension; its dotted OID if it does not define it."""
    return _EXTENSIONS.get(oid, f"extension {oid}")


def trailing_bytes(der: bytes) -> int:
    """Return how many bytes follow the certificate or CRL that is meant.

    Raises:
        UnreadableError: If it is cut off.
    """
    return len(der) - len(first(der).der)


def _of_certificate(der: bytes) -> Iterator[str]:
    outline, parts = outline_of(der), signed_parts(der)
    yield from _trailing(der, "certificate")
    version = version_of(parts)
    if not 0 < version < 4:
        yield f"it is of version {version}, and there are three"
    elif version == 2 and outline.extensions:
        yield "it is of version 2 and has extensions, which came with version 3"
    if parts[0].tag == _VERSION:
        del parts[0]
    kind, *parameters = elements(parts[1].contents)
    if parameters and is_without_parameters(dotted(kind.contents)):
        yield "its signature algorithm has parameters, and is one that has none"
    yield from odd_dates(der)
    yield from _name(outline.subject, "its subject")
    yield from _name(outline.issuer, ISSUER)
    yield from _doubled(outline.extensions)
    certificate = load_certificate(der)
    for oid in unreadable_extensions(certificate):
        yield f"its {extension_name(oid)} is malformed"
    if is_odd(certificate):
        yield "a part of it is not encoded as DER has it"


def _of_crl(der: bytes) -> Iterator[str]:
    tbs = first(first(der).contents)
    outline = crl_outline_of(tbs.der)
    yield from _trailing(der, "CRL")
    parts = [part for part in elements(tbs.contents) if part.tag != INTEGER]
    dates = [part for part in parts[2:4] if part.tag in _DATES]
    moments = outline.begin, outline.end
    yield from _dates(zip(("thisUpdate", "nextUpdate"), dates, moments, strict=False))
    yield from _name(outline.issuer, ISSUER)
    yield from _doubled(outline.extensions)


def odd_dates(der: bytes) -> Iterator[str]:
    """The dates of a certificate that are not written as RFC 5280 has it.

    OpenSSL reads the certificate, and every verification of it fails.

    Raises:
        UnreadableError: If it does not have the parts of a certificate.
    """
    outline = outline_of(der)
    _, _, validity, *_ = [part for part in signed_parts(der) if part.tag == SEQUENCE]
    dates, moments = elements(validity.contents), (outline.begin, outline.end)
    yield from _dates(zip(("notBefore", "notAfter"), dates, moments, strict=False))


def _trailing(der: bytes, what: str) -> Iterator[str]:
    count = trailing_bytes(der)
    if count:
        yield f"{count} bytes follow the {what}" if count > 1 else f"a byte follows the {what}"


def _dates(dates: Iterable[tuple[str, Element, datetime | None]]) -> Iterator[str]:
    for name, date, moment in dates:
        form = _DATES.get(date.tag)
        text = printable(date.contents.decode("latin-1"))
        if form is None or not form.fullmatch(date.contents):
            yield f"its {name} is written “{text}”, not as YYMMDDhhmmssZ or YYYYMMDDhhmmssZ"
        elif moment is None:
            yield f"its {name} is written “{text}”, and there is no such day"


def _name(name: DistinguishedName, where: str) -> Iterator[str]:
    if not name.is_whole:
        yield f"{where} is malformed"
    for attribute in (each for rdn in name.rdns for each in rdn):
        why = _why_odd(attribute)
        if why is not None:
            yield f"{where} has {printable(str(attribute))}, {why}"


def _why_odd(attribute: Attribute) -> str | None:
    tag, contents = attribute.value.tag, attribute.value.contents
    if tag not in _ALLOWED:
        return "which is of no type that a name can have"
    if attribute.text is None and tag in _STRINGS:
        return "which cannot be decoded"
    if tag == _UTF8:
        try:
            contents.decode()
        except UnicodeDecodeError:
            return "a UTF8String of bytes that are not UTF-8"
    if (tag == _PRINTABLE and _NOT_PRINTABLE.search(contents)) or (
        tag == _IA5 and not contents.isascii()
    ):
        return f"with characters that {_TYPES[tag]} cannot have"
    return None


def _doubled(extensions: tuple[RawExtension, ...]) -> Iterator[str]:
    oids = [each.oid for each in extensions]
    for oid in dict.fromkeys(oids):
        if oids.count(oid) > 1:
            yield f"its {extension_name(oid)} is there twice"
