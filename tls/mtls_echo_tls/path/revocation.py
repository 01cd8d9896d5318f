"""Which revocation list was asked about which certificate, and what was wrong (RFC 5280 §6.3).

With one list in a trust, OpenSSL wants one from the issuer of *every* certificate of a path
(``VERIFY_CRL_CHECK_CHAIN``), the trust anchor's own included. So an intermediate as a trust anchor
needs the list of the root above it, which is easily forgotten, since nothing else of that root is
needed. OpenSSL's verify code says that a list is missing, and not whose.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence

from cryptography import x509

from mtls_echo_pki.certificates.lifetimes import timestamp
from mtls_echo_pki.certificates.reading import UNREADABLE, serial_number
from mtls_echo_tls.path.crl import applicable_crl
from mtls_echo_tls.path.rules import Fault, display_name, may_sign_crls


def revocation_faults(
    certificates: Sequence[x509.Certificate],
    crls: Sequence[x509.CertificateRevocationList],
    now: datetime.datetime,
) -> Iterator[Fault]:
    """What the lists say about a path, and what is wrong with the lists.

    Args:
        certificates: The path, end-entity first.
        crls: The judge's lists; without any, nothing is checked.
        now: The time to judge by.
    """
    for depth, certificate in enumerate(certificates if crls else ()):
        above = certificates[depth + 1] if depth + 1 < len(certificates) else certificate
        issuer = above if above.subject == certificate.issuer else None
        crl = applicable_crl(certificate, issuer, crls, now)
        if crl is None:
            who, subject = display_name(certificate.issuer), display_name(certificate.subject)
            yield Fault("crl-missing", depth, f"there is no list of {who}, who issued {subject}")
        else:
            yield from _of_list(crl, depth, issuer, now)
            yield from _revoked(certificate, depth, crl)


def _of_list(
    crl: x509.CertificateRevocationList,
    depth: int,
    issuer: x509.Certificate | None,
    now: datetime.datetime,
) -> Iterator[Fault]:
    who, since, until = display_name(crl.issuer), crl.last_update_utc, crl.next_update_utc
    if issuer is not None and not may_sign_crls(issuer):
        yield Fault("not-conforming", depth, f"{who} may not sign revocation lists (keyUsage)")
    elif issuer is not None and not _signed(crl, issuer):
        yield Fault("bad-signature", depth, f"{who} did not sign the list in its name")
    if since > now:
        detail = f"the list of {who} is of {timestamp(since)}"
        yield Fault("crl-not-yet-valid", depth, detail)
    if until is not None and until < now:
        detail = f"the list of {who} ended on {timestamp(until)}"
        yield Fault("crl-expired", depth, detail)


def _revoked(
    certificate: x509.Certificate, depth: int, crl: x509.CertificateRevocationList
) -> Iterator[Fault]:
    number = serial_number(certificate)
    entry = crl.get_revoked_certificate_by_serial_number(number)
    if entry is not None:
        when = timestamp(entry.revocation_date_utc)
        slug = "revoked-authority" if depth else "revoked"
        yield Fault(slug, depth, f"serial number {number:x}, on {when}")


def _signed(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    try:
        return crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]
    except UNREADABLE:
        return False
