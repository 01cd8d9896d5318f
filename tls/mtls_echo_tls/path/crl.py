"""Revocation checks of a certification path: which CRL applies, and what it says (RFC 5280 §6.3).

With one CRL in a trust, OpenSSL wants one from the issuer of *every* certificate of a path
(``VERIFY_CRL_CHECK_CHAIN``), the trust anchor's own included. For an anchor that is not a root it
cannot have one: a CRL counts if its issuer's certificate is on the path (``get_crl_score``), and
the path ends with the anchor, whatever else is among the anchors or was sent. Tried with OpenSSL
3.0: verify code 3, or 8 for a CRL without authorityKeyIdentifier, whichever CRLs are loaded. So
with CRLs the root has to be the anchor. The verify code says that a CRL is missing, and not whose.

A CRL names its issuer, and with the authorityKeyIdentifier the issuer's key (§5.2.1): a CA may
have been replaced by another of the same name. Of several CRLs of one CA OpenSSL takes one that is
valid now, and of those the one with the latest thisUpdate.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from cryptography import x509

from mtls_echo_pki.certificates.der import UnreadableError
from mtls_echo_pki.certificates.loading import parsing
from mtls_echo_pki.certificates.outline import DistinguishedName
from mtls_echo_pki.certificates.reading import (
    is_valid_at,
    issuer_name,
    period,
    public_key,
    serial_number,
    subject_name,
    valid_at,
    value_of,
)
from mtls_echo_pki.lifetimes import timestamp
from mtls_echo_tls.path.rules import Fault, display_name, may_sign_crls
from mtls_echo_tls.slugs import Slug


class CRLIssuer(NamedTuple):
    """The issuer of a CRL: its name, and its key's identifier, ``b""`` when not given."""

    name: DistinguishedName
    key: bytes


def issuer_of(crl: x509.CertificateRevocationList) -> CRLIssuer:
    """The issuer that a CRL names."""
    identifier = value_of(crl, x509.AuthorityKeyIdentifier)
    key = None if identifier is None else identifier.key_identifier
    return CRLIssuer(issuer_name(crl), key or b"")


def issued_by(issuer: CRLIssuer, ca: x509.Certificate) -> bool:
    """Whether the issuer of a CRL can be this CA."""
    if subject_name(ca) != issuer.name:
        return False
    own = value_of(ca, x509.SubjectKeyIdentifier)
    return own is None or issuer.key in (b"", own.digest)


def sort_key(crl: x509.CertificateRevocationList) -> tuple[datetime.datetime, int]:
    """Greater for the newer of two CRLs of one CA (RFC 5280 §5.1.2.4, §5.2.3)."""
    number = value_of(crl, x509.CRLNumber)
    return period(crl)[0], 0 if number is None else number.crl_number


def applicable_crl(
    certificate: x509.Certificate,
    issuer: x509.Certificate | None,
    crls: Iterable[x509.CertificateRevocationList],
    now: datetime.datetime,
) -> x509.CertificateRevocationList | None:
    """The CRL that decides whether a certificate is revoked; None when there is none.

    The issuer is the CA above it, if it is known. A CRL that is not valid now applies if there is
    no other.
    """
    own = [crl for crl in crls if issuer_name(crl) == issuer_name(certificate)]
    if issuer is not None:
        own = [crl for crl in own if issued_by(issuer_of(crl), issuer)]
    return max(own, key=lambda crl: (is_valid_at(crl, now), sort_key(crl)), default=None)


def revocation_faults(
    certificates: Sequence[x509.Certificate],
    crls: Sequence[x509.CertificateRevocationList],
    now: datetime.datetime,
) -> Iterator[Fault]:
    """What the verifier's CRLs say about a path, and what is wrong with the CRLs."""
    for depth, certificate in enumerate(certificates if crls else ()):
        above = certificates[depth + 1] if depth + 1 < len(certificates) else certificate
        issuer = above if subject_name(above) == issuer_name(certificate) else None
        if above is certificate and issuer is None:
            ca_name, subject = (
                display_name(issuer_name(certificate)),
                display_name(subject_name(certificate)),
            )
            detail = (
                f"{subject} is a trust anchor and not a root: whether {ca_name} has revoked it"
                " cannot be checked"
            )
            yield Fault("crl-missing", depth, detail, "anchor-not-root")
            continue
        crl = applicable_crl(certificate, issuer, crls, now)
        if crl is None:
            ca_name, subject = (
                display_name(issuer_name(certificate)),
                display_name(subject_name(certificate)),
            )
            detail = f"there is no CRL of {ca_name}, which issued {subject}"
            yield Fault("crl-missing", depth, detail)
        else:
            yield from _check_crl(crl, depth, issuer, now)
            yield from _revoked(certificate, depth, crl)


def _check_crl(
    crl: x509.CertificateRevocationList,
    depth: int,
    issuer: x509.Certificate | None,
    now: datetime.datetime,
) -> Iterator[Fault]:
    ca_name, when, until = display_name(issuer_name(crl)), valid_at(crl, now), period(crl)[1]
    if issuer is not None and not may_sign_crls(issuer):
        detail = f"{ca_name} may not sign CRLs (keyUsage)"
        yield Fault("not-conforming", depth, detail, "crl-signer")
    elif issuer is not None and not _is_signed_by(crl, issuer):
        yield Fault("bad-signature", depth, f"{ca_name} did not sign the CRL in its name")
    if when < 0:
        detail = f"the CRL of {ca_name} is not valid before {timestamp(period(crl)[0])}"
        yield Fault("crl-not-yet-valid", depth, detail)
    elif when > 0 and until is not None:
        yield Fault("crl-expired", depth, f"the CRL of {ca_name} expired on {timestamp(until)}")


def _revoked(
    certificate: x509.Certificate, depth: int, crl: x509.CertificateRevocationList
) -> Iterator[Fault]:
    number = serial_number(certificate)
    entry = crl.get_revoked_certificate_by_serial_number(number)
    if entry is not None:
        when = timestamp(entry.revocation_date_utc)
        slug: Slug = "revoked-authority" if depth else "revoked"
        yield Fault(slug, depth, f"serial number {number:x}, on {when}")


def _is_signed_by(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    try:
        with parsing():
            return crl.is_signature_valid(public_key(issuer))  # type: ignore[arg-type]
    except UnreadableError:
        return False
