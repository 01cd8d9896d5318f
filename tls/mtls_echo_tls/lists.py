"""Which revocation list speaks for which authority, and which of several is believed.

A list names its issuer, and with the authorityKeyIdentifier the issuer's key (RFC 5280 §5.2.1): an
authority may have been replaced by one that is called the same. Of several lists of one authority
OpenSSL believes one that is valid now, and of those the one with the latest thisUpdate. It wants
one from the issuer of *every* certificate of a path, the trust anchor's included
(`mtls_echo_pki.trust`).
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from cryptography import x509

from mtls_echo_tls.identity import UNREADABLE
from mtls_echo_tls.rules import Fault, called


class Speaker(NamedTuple):
    """Who issued a list: the authority's name, DER, and its key's identifier if that is known."""

    name: bytes
    key: bytes


def speaker(crl: x509.CertificateRevocationList) -> Speaker:
    """Whose list it is."""
    try:
        key = crl.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        return Speaker(crl.issuer.public_bytes(), key.key_identifier or b"")
    except (x509.ExtensionNotFound, *UNREADABLE):
        return Speaker(crl.issuer.public_bytes(), b"")


def speaks_for(who: Speaker, authority: x509.Certificate) -> bool:
    """Whether the issuer of a list can be this authority."""
    if authority.subject.public_bytes() != who.name:
        return False
    try:
        own = authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except (x509.ExtensionNotFound, *UNREADABLE):
        return True
    return who.key in (b"", own.digest)


def age(crl: x509.CertificateRevocationList) -> tuple[datetime.datetime, int]:
    """Greater for the newer of two lists (RFC 5280 §5.1.2.4, §5.2.3)."""
    try:
        number = crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except (x509.ExtensionNotFound, *UNREADABLE):
        number = 0
    return crl.last_update_utc, number


def valid(crl: x509.CertificateRevocationList, now: datetime.datetime) -> bool:
    """Whether its authority stands by it at this moment."""
    until = crl.next_update_utc
    return crl.last_update_utc <= now and (until is None or now <= until)


def believed(
    crls: Iterable[x509.CertificateRevocationList], now: datetime.datetime
) -> tuple[x509.CertificateRevocationList, ...]:
    """One list of each authority: the newest valid one."""
    newest = {speaker(crl): crl for crl in sorted(crls, key=age) if valid(crl, now)}
    return tuple(newest.values())


def uncovered(
    path: Sequence[x509.Certificate],
    crls: Sequence[x509.CertificateRevocationList],
    now: datetime.datetime,
) -> Iterator[Fault]:
    """What keeps a path from being checked for revocation.

    Args:
        path: End-entity first.
        crls: All there are. None at all: nothing is checked, so nothing is missing.
        now: The time to judge by.
    """
    if not crls:
        return
    for depth, certificate in enumerate(path):
        lists = [crl for crl in crls if crl.issuer == certificate.issuer]
        if not lists:
            detail = f"there is no list of {called(certificate.issuer)}"
            yield Fault("crl-missing", depth, detail)
        elif not any(valid(crl, now) for crl in lists):
            detail = f"the list of {called(certificate.issuer)} is not valid"
            yield Fault("crl-expired", depth, detail)
