"""A certificate in a report: names, serial number, fingerprint and validity, as bounded text."""

from __future__ import annotations

import datetime
import hashlib

import msgspec
from cryptography import x509

from mtls_echo_pki.certificates.der import UnreadableError
from mtls_echo_pki.certificates.identifiers import identity_text, subject_alternative_names
from mtls_echo_pki.certificates.outline import FIRST_MOMENT, outline_of
from mtls_echo_pki.certificates.reading import issuer_name, period, subject_name
from mtls_echo_pki.printable import printable
from mtls_echo_tls.ordinary import cache_ordinary
from mtls_echo_tls.path.certificates import end_entity

# Names of a peer's choosing are cut: a certificate may carry thousands.
MOST_NAMES = 16
_MOST_PRESENTED = 4
LONGEST_NAME = 256

# And what they become when each unprintable character is written as up to ten others.
_LONGEST_TEXT = 512


class CertificateSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A presented end-entity certificate, accepted or not. Times are RFC 3339, UTC."""

    subject: str
    issuer: str
    names: list[str]
    serial: str
    fingerprint: str
    not_before: str
    not_after: str


def summarise(chain: tuple[bytes, ...]) -> CertificateSummary | None:
    """The end-entity certificate of a presented chain, for a report; None without one."""
    return _summarised(chain[0]) if chain else None


@cache_ordinary(64)
def _summarised(certificate: bytes) -> CertificateSummary | None:
    try:
        outline = outline_of(certificate)
    except UnreadableError:
        return None
    leaf = end_entity((certificate,))
    return CertificateSummary(
        subject=bounded(str(outline.subject)),
        issuer=bounded(str(outline.issuer)),
        names=[] if leaf is None else names_of(leaf),
        serial=bounded(f"{outline.serial:x}"),
        fingerprint=hashlib.sha256(certificate).hexdigest(),
        not_before=rfc3339(outline.begin or FIRST_MOMENT),
        not_after=rfc3339(outline.end or FIRST_MOMENT),
    )


def names_of(leaf: x509.Certificate) -> list[str]:
    """The entries of its subjectAltName: at most 16, each cut at 256 characters."""
    entries = list(subject_alternative_names(leaf))[:MOST_NAMES]
    return [bounded(identity_text(entry)) for entry in entries]


def presented_as(leaf: x509.Certificate) -> str:
    """Whose certificate it is, and of which CA, in a few words."""
    named = names_of(leaf)
    listed = [*named[:_MOST_PRESENTED], *(["…"] if len(named) > _MOST_PRESENTED else [])]
    names = ", ".join(listed) or subject_name(leaf).common_name or "no name"
    issuer = issuer_name(leaf).common_name or str(issuer_name(leaf)) or "an unnamed CA"
    return f"certificate for {names[:LONGEST_NAME]}, issued by {issuer[:LONGEST_NAME]}"


def bounded(text: str) -> str:
    """A text of a peer's choosing, cut off and printable."""
    text = printable(text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 1]}…")
    return text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"


def rfc3339(moment: datetime.datetime) -> str:
    """A moment in RFC 3339, UTC, to the second."""
    return moment.replace(microsecond=0).isoformat().replace("+00:00", "Z")


def validity(certificate: x509.Certificate) -> str:
    """The period in which a certificate is valid."""
    since, until = period(certificate)
    return f"{rfc3339(since)} to {rfc3339(until)}"
