"""Rules about what `cryptography` does not read, or reads as if it were right: from the DER.

It refuses the basicConstraints of a certificate that is not a CA's and limits a path all the same,
and takes explicit curve parameters for the curve whose they are.
"""

from __future__ import annotations

from collections.abc import Iterator

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID

from mtls_echo_pki.certificates.der import (
    INTEGER,
    OBJECT_IDENTIFIER,
    SEQUENCE,
    UnreadableError,
    dotted,
    elements,
    first,
)
from mtls_echo_pki.certificates.outline import signed_parts
from mtls_echo_pki.certificates.reading import raw_extensions
from mtls_echo_tls.sides import Side

_EC_PUBLIC_KEY = "1.2.840.10045.2.1"

# The tag of the version, which may be left out, and where the key stands after it.
_VERSION, _KEY = 0xA0, 5
_BOOLEAN = 0x01

_NETSCAPE_TYPE = x509.ObjectIdentifier("2.16.840.1.113730.1.1")
_NETSCAPE_BITS = {"client": 0x80, "server": 0x40}


def raw_violations(certificate: x509.Certificate) -> Iterator[tuple[str, str, bool]]:
    """Rules that are broken, how each is kept, and whether only strict verification minds."""
    try:
        if certificate.version is x509.Version.v1 and raw_extensions(certificate):
            yield "it is of version 1 and has extensions", "as version 3", True
        if _limits_without_ca(certificate):
            yield (
                "there is a pathLenConstraint, and the certificate is not a CA's",
                "without pathLenConstraint",
                True,
            )
        if _has_explicit_curve(certificate):
            yield (
                "its key gives the parameters of its curve, not the curve's name",
                "for a key with a named curve (openssl ec -param_enc named_curve)",
                False,
            )
    except UnreadableError:
        return


def permits_nothing(certificate: x509.Certificate) -> bool:
    """Whether extendedKeyUsage is there and names no purpose (RFC 5280 §4.2.1.12 wants one)."""
    try:
        purposes = _value(certificate, ExtensionOID.EXTENDED_KEY_USAGE)
        return purposes is not None and not [*elements(first(purposes).contents)]
    except UnreadableError:
        return False


def permits_by_netscape(certificate: x509.Certificate, presenter: Side) -> bool:
    """Whether nsCertType, which old CAs write and OpenSSL heeds, permits what it is used for."""
    try:
        types = _value(certificate, _NETSCAPE_TYPE)
        bits = b"" if types is None else first(types).contents[1:2]
        return types is None or bool(bits and bits[0] & _NETSCAPE_BITS[presenter])
    except UnreadableError:
        return True


def _limits_without_ca(certificate: x509.Certificate) -> bool:
    constraints = _value(certificate, ExtensionOID.BASIC_CONSTRAINTS)
    if constraints is None:
        return False
    parts = [*elements(first(constraints).contents)]
    is_ca = any(part.tag == _BOOLEAN and part.contents != b"\0" for part in parts)
    return not is_ca and any(part.tag == INTEGER for part in parts)


def _value(certificate: x509.Certificate, kind: x509.ObjectIdentifier) -> bytes | None:
    """The DER of the first extension of a kind."""
    for extension in raw_extensions(certificate):
        if extension.oid == kind.dotted_string:
            *_, value = elements(first(extension.der).contents)
            return value.contents
    return None


def _has_explicit_curve(certificate: x509.Certificate) -> bool:
    parts = signed_parts(certificate.public_bytes(Encoding.DER))
    fields = [part for part in parts if part.tag != _VERSION]
    if len(fields) <= _KEY:
        return False
    algorithm = [*elements(first(fields[_KEY].contents).contents)]
    kind, *parameters = algorithm or [first(b"\x05\x00")]
    is_curve = kind.tag == OBJECT_IDENTIFIER and dotted(kind.contents) == _EC_PUBLIC_KEY
    return is_curve and any(each.tag == SEQUENCE for each in parameters)
