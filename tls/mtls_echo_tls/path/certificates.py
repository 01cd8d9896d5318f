"""The identity of a peer: the presented identifiers of its certificate.

A peer's identity is its subjectAltName, typed: a DNS name, an IP address, a URI, an e-mail address
(RFC 5280 §4.2.1.6). The common name of the subject is free text; RFC 9525 §2 forbids matching it
against a host name, and it is kept here for people and for the explicit `--allow-cn` only. Nothing
is verified in this module: the handshake has done that.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from mtls_echo_pki.certificates.der import UnreadableError
from mtls_echo_pki.certificates.identifiers import subject_alternative_names
from mtls_echo_pki.certificates.loading import load_certificate
from mtls_echo_pki.certificates.reading import public_key, serial_number, subject_name
from mtls_echo_tls.ordinary import cache_ordinary


@dataclass(frozen=True)
class PeerIdentity:
    """The identifiers that a certificate presents: names by type, and its SHA-256 fingerprint."""

    common_name: str | None
    dns: tuple[str, ...]
    uris: tuple[str, ...]
    emails: tuple[str, ...]
    ips: tuple[str, ...]
    fingerprint: str

    @classmethod
    def from_der(cls, certificate: bytes) -> PeerIdentity:
        """Read the identifiers of a DER certificate; `ValueError` where the bytes are not one.

        A part that cannot be read yields no names rather than an error: OpenSSL, which reads more
        leniently, has authenticated such a certificate, and no name in it is known here.
        """
        return _identity(certificate)

    @classmethod
    def of_peer(cls, certificate: bytes) -> PeerIdentity:
        """As `from_der`, for a certificate that OpenSSL has accepted.

        One that cannot be read here at all is known by its fingerprint only.
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


@cache_ordinary(256)
def _identity(certificate: bytes) -> PeerIdentity:
    parsed = load_certificate(certificate)
    names = subject_alternative_names(parsed)
    return PeerIdentity(
        common_name=subject_name(parsed).common_name,
        dns=tuple(names.get_values_for_type(x509.DNSName)),
        uris=tuple(names.get_values_for_type(x509.UniformResourceIdentifier)),
        emails=tuple(names.get_values_for_type(x509.RFC822Name)),
        ips=tuple(str(address) for address in names.get_values_for_type(x509.IPAddress)),
        fingerprint=hashlib.sha256(certificate).hexdigest(),
    )


USUAL_CURVES = frozenset({"secp256r1", "secp384r1", "secp521r1"})


def end_entity(chain: tuple[bytes, ...]) -> x509.Certificate | None:
    """The first certificate of a presented chain; None for an empty or unreadable one.

    A refused peer's certificate may be anything.
    """
    try:
        leaf = load_certificate(chain[0]) if chain else None
        if leaf is not None:
            serial_number(leaf)  # it has an outline
    except UnreadableError:
        return None
    return leaf


def odd_curve(certificate: x509.Certificate | None) -> str | None:
    """The curve of a certificate's key, if it is one that few TLS programs accept; else None.

    TLS 1.3 has signature schemes for three of the NIST's curves alone (RFC 8446 §4.2.3), and with
    another OpenSSL leaves the certificate out; in TLS 1.2 the peer must have offered the curve.
    """
    try:
        key = public_key(certificate) if certificate is not None else None
    except UnreadableError:
        return None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name in USUAL_CURVES:
        return None
    return key.curve.name


@cache_ordinary(256)
def is_readable(certificate: bytes) -> bool:
    """Whether `end_entity` reads this certificate."""
    return end_entity((certificate,)) is not None


def shortened(identifier: bytes) -> str:
    """A key identifier as `openssl x509` prints it, its middle left out."""
    digits = identifier.hex(":").upper()
    return digits if len(digits) <= 29 else f"{digits[:14]}…{digits[-5:]}"
