"""Which revocation list speaks for which authority, and which of several is believed.

A list names its issuer, and with the authorityKeyIdentifier the issuer's key (RFC 5280 §5.2.1): an
authority may have been replaced by one that is called the same. Of several lists of one authority
OpenSSL believes one that is valid now, and of those the one with the latest thisUpdate. It wants
one from the issuer of *every* certificate of a path, the trust anchor's included
(`mtls_echo_pki.certificates.trust`).
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import NamedTuple

from cryptography import x509

from mtls_echo_pki.certificates.reading import UNREADABLE, is_valid_at


class CRLIssuer(NamedTuple):
    """Who issued a list: the authority's name, DER, and its key's identifier if that is known."""

    name: bytes
    key: bytes


def issuer_of(crl: x509.CertificateRevocationList) -> CRLIssuer:
    """Whose list it is."""
    try:
        key = crl.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        return CRLIssuer(crl.issuer.public_bytes(), key.key_identifier or b"")
    except (x509.ExtensionNotFound, *UNREADABLE):
        return CRLIssuer(crl.issuer.public_bytes(), b"")


def issued_by(who: CRLIssuer, authority: x509.Certificate) -> bool:
    """Whether the issuer of a list can be this authority."""
    if authority.subject.public_bytes() != who.name:
        return False
    try:
        own = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except (x509.ExtensionNotFound, *UNREADABLE):
        return True
    return who.key in (b"", own.digest)


def sort_key(crl: x509.CertificateRevocationList) -> tuple[datetime.datetime, int]:
    """Greater for the newer of two lists (RFC 5280 §5.1.2.4, §5.2.3)."""
    try:
        number = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except (x509.ExtensionNotFound, *UNREADABLE):
        number = 0
    return crl.last_update_utc, number


def valid(crl: x509.CertificateRevocationList, now: datetime.datetime) -> bool:
    """Whether its authority stands by it at this moment."""
    return is_valid_at(crl, now)


def applicable_crl(
    certificate: x509.Certificate,
    issuer: x509.Certificate | None,
    crls: Iterable[x509.CertificateRevocationList],
    now: datetime.datetime,
) -> x509.CertificateRevocationList | None:
    """The list that is asked whether a certificate was revoked; None when there is none.

    Args:
        certificate: The certificate.
        issuer: The one above it, if it is known.
        crls: All there are.
        now: The time to judge by: one that is not valid then is asked if there is no other.
    """
    its = [crl for crl in crls if crl.issuer == certificate.issuer]
    if issuer is not None:
        its = [crl for crl in its if issued_by(issuer_of(crl), issuer)]
    return max(its, key=lambda crl: (valid(crl, now), sort_key(crl)), default=None)
