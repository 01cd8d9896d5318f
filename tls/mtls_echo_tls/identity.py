"""Who the peer proved to be: the presented identifiers of a certificate.

A peer's identity is what its subjectAltName says, typed: a DNS name, an IP address, a URI, an
e-mail address (RFC 5280 §4.2.1.6). The common name of the subject is free text; RFC 9525 §2
forbids matching it against a host name, and it is kept here for people and for the explicit
`--allow-cn` only. Nothing is verified in this module: the handshake did that, or refused.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
import ipaddress
import warnings
from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import NameOID


@dataclass(frozen=True)
class PeerIdentity:
    """The identifiers that a certificate presents.

    Attributes:
        common_name: The subject's first commonName.
        dns, uris, emails, ips: The subjectAltName entries of each type, in order.
        fingerprint: SHA-256 of the DER certificate, lower-case hexadecimal.
    """

    common_name: str | None
    dns: tuple[str, ...]
    uris: tuple[str, ...]
    emails: tuple[str, ...]
    ips: tuple[str, ...]
    fingerprint: str

    @classmethod
    def from_der(cls, certificate: bytes) -> PeerIdentity:
        """Read the identifiers of a DER certificate.

        A part that cannot be read yields no names rather than an error: such a certificate is
        authenticated by OpenSSL's reading of it, and names nobody to ours.

        Raises:
            ValueError: The bytes are no certificate.
        """
        read = _identity if len(certificate) <= _ORDINARY else _identity.__wrapped__
        return read(certificate)

    @classmethod
    def of_peer(cls, certificate: bytes) -> PeerIdentity:
        """As `from_der`, for a certificate that OpenSSL has accepted and may read better than we.

        What we cannot read at all is known by its fingerprint only.
        """
        try:
            return cls.from_der(certificate)
        except ValueError:
            return cls(None, (), (), (), (), hashlib.sha256(certificate).hexdigest())

    @property
    def names(self) -> tuple[str, ...]:
        """All subjectAltName entries."""
        return self.dns + self.ips + self.uris + self.emails

    def __str__(self) -> str:
        return (
            next(iter(self.names), None) or self.common_name or f"sha256:{self.fingerprint[:16]}…"
        )


# The size of certificates worth remembering, in bytes: no peer shall fill our memory with others.
_ORDINARY = 4096


@functools.lru_cache(maxsize=256)
def _identity(certificate: bytes) -> PeerIdentity:
    # Cached, because the same clients reconnect: 12 µs saved of each handshake.
    parsed = load_certificate(certificate)
    names = subject_alternative_names(parsed)
    return PeerIdentity(
        common_name=_subject_common_name(parsed),
        dns=tuple(names.get_values_for_type(x509.DNSName)),
        uris=tuple(names.get_values_for_type(x509.UniformResourceIdentifier)),
        emails=tuple(names.get_values_for_type(x509.RFC822Name)),
        ips=tuple(str(address) for address in names.get_values_for_type(x509.IPAddress)),
        fingerprint=hashlib.sha256(certificate).hexdigest(),
    )


def load_certificate(certificate: bytes) -> x509.Certificate:
    """Parse a DER certificate that a peer wrote, without a word on our stderr.

    Raises:
        ValueError: It cannot be read.
    """
    with warnings.catch_warnings():
        # A peer's odd serial number is no reason to write on our stderr.
        warnings.simplefilter("ignore")
        try:
            return x509.load_der_x509_certificate(certificate)
        except x509.InvalidVersion as error:
            raise ValueError(str(error)) from error


# What `cryptography` raises for a part of a certificate that it cannot read. OpenSSL reads more
# than it does (a general name of a rare type, an odd string in a name), and the peer wrote it.
UNREADABLE = (
    x509.InvalidVersion,
    ValueError,
    TypeError,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)


def subject_alternative_names(certificate: x509.Certificate) -> x509.SubjectAlternativeName:
    """The certificate's subjectAltName; empty when absent or unreadable."""
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, *UNREADABLE):
        return x509.SubjectAlternativeName([])


def has_unreadable_names(certificate: x509.Certificate) -> bool:
    """Whether OpenSSL may see names in it that we cannot."""
    try:
        certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return False
    except UNREADABLE:
        return True
    return False


def extended_key_usages(certificate: x509.Certificate) -> frozenset[x509.ObjectIdentifier] | None:
    """The purposes of RFC 5280 §4.2.1.12; None when absent (every purpose) or unreadable."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (x509.ExtensionNotFound, *UNREADABLE):
        return None
    return frozenset(usage)


def _subject_common_name(certificate: x509.Certificate) -> str | None:
    try:
        return common_name(certificate.subject)
    except UNREADABLE:
        return None


def common_name(name: x509.Name) -> str | None:
    """The first commonName of a distinguished name."""
    attributes = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(attributes[0].value) if attributes else None


def valid_at(certificate: x509.Certificate, moment: datetime.datetime) -> int:
    """-1 before notBefore, 1 after notAfter, 0 between them (RFC 5280 §4.1.2.5)."""
    if moment < certificate.not_valid_before_utc:
        return -1
    return 1 if moment > certificate.not_valid_after_utc else 0


def end_entity(chain: tuple[bytes, ...]) -> x509.Certificate | None:
    """The first certificate of a presented chain; None for an empty or unreadable one.

    `cryptography` reads the fields of a certificate when asked for them, and raises then. A
    refused peer's certificate may be anything, so those that a diagnosis asks for are read here.
    """
    try:
        leaf = load_certificate(chain[0]) if chain else None
        if leaf is not None:
            _ = serial_number(leaf), leaf.not_valid_before_utc, leaf.not_valid_after_utc
            for name in (leaf.subject, leaf.issuer):
                name.rfc4514_string()
    except UNREADABLE:
        return None
    return leaf


def serial_number(certificate: x509.Certificate) -> int:
    """The serial number, without a warning where it is not positive, as RFC 5280 demands."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return certificate.serial_number


def hosts(certificate: x509.Certificate) -> list[str]:
    """The DNS names and IP addresses that a certificate presents."""
    names = subject_alternative_names(certificate)
    addresses = names.get_values_for_type(x509.IPAddress)
    return names.get_values_for_type(x509.DNSName) + [str(address) for address in addresses]


def names_host(certificate: x509.Certificate, reference: str) -> bool:
    """Whether a presented identifier matches the reference identifier (RFC 9525 §6.3).

    For diagnosis only: whether to go on is OpenSSL's decision, and was made already. An address
    is named by an iPAddress entry and nothing else; a wildcard stands for the whole leftmost
    label of a host name.
    """
    names = subject_alternative_names(certificate)
    try:
        address = ipaddress.ip_address(reference)
    except ValueError:
        wanted = reference.lower().rstrip(".")
        _, _, parent = wanted.partition(".")
        presented = {name.lower() for name in names.get_values_for_type(x509.DNSName)}
        # OpenSSL wants a wildcard to have two labels behind it.
        return wanted in presented or ("." in parent and f"*.{parent}" in presented)
    return address in names.get_values_for_type(x509.IPAddress)
