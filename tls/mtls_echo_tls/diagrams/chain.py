"""The chain that a server sent, certificate by certificate, each with what is wrong with it.

A chain can verify here and nowhere else: OpenSSL takes an intermediate that the server left out
from the trust anchors, browsers fetch it, and Go and Java do neither. So what was sent is judged
apart from whether it was accepted.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence

from cryptography import x509

from mtls_echo_pki.certificates.der import UnreadableError
from mtls_echo_pki.certificates.loading import load_certificate
from mtls_echo_pki.certificates.reading import (
    is_self_issued,
    issuer_name,
    period,
    subject_name,
)
from mtls_echo_pki.lifetimes import validity
from mtls_echo_pki.printable import printable
from mtls_echo_tls.diagnosis.evidence import Evidence
from mtls_echo_tls.path.rules import display_name
from mtls_echo_tls.path.summaries import bounded, names_of
from mtls_echo_tls.path.validate import CertificationPath, examine

# Shown of a chain, of a certificate's names, and of what is wrong with it.
_MOST_SENT = 6
_MOST_NAMES = 3
_MOST_FAULTS = 2


def sent_chain(evidence: Evidence) -> list[str]:
    """The lines of the drawing: what the server sent, and how it leads to a trust anchor."""
    chain = evidence.peer_chain
    if not chain:
        return ["the server sent no certificate"]
    now = evidence.ended_at or datetime.datetime.now(datetime.UTC)
    mine = evidence.context_info
    trust = mine.trust if mine.complete else None
    path = examine(
        chain,
        presenter="server",
        anchors=trust.anchors if trust is not None else None,
        crls=trust.crls if trust is not None else (),
        reference=evidence.server_name,
        others=[local.certificate for local in mine.local_cas],
        now=now,
        strict=mine.strict,
    )
    counted = "1 certificate" if len(chain) == 1 else f"{len(chain)} certificates"
    lines = [f"the server sent {counted}:"]
    sent = [_read(der) for der in chain]
    for number, certificate in enumerate(sent[:_MOST_SENT]):
        lines += _drawn(number, certificate, sent, path, now)
    if len(chain) > _MOST_SENT:
        lines.append(f"  and {len(chain) - _MOST_SENT} more")
    lines += _end(path, sent)
    return [printable(line) for line in lines]


def _read(der: bytes) -> x509.Certificate | None:
    try:
        certificate = load_certificate(der)
        period(certificate)  # it has an outline
    except UnreadableError:
        return None
    return certificate


def _drawn(
    number: int,
    certificate: x509.Certificate | None,
    sent: Sequence[x509.Certificate | None],
    path: CertificationPath,
    now: datetime.datetime,
) -> Iterator[str]:
    if certificate is None:
        yield f"  {number}  cannot be read"
        return
    name, issuer = display_name(subject_name(certificate)), display_name(issuer_name(certificate))
    names = names_of(certificate) if number == 0 else []
    if names:
        more = f" and {len(names) - _MOST_NAMES} more" if len(names) > _MOST_NAMES else ""
        name = f"{', '.join(names[:_MOST_NAMES])}{more}"
    by = "its own issuer" if is_self_issued(certificate) else f"issued by {bounded(issuer)}"
    yield f"  {number}  {bounded(name)}, {by}; {validity(*period(certificate), now)}"
    yield from (f"     - {remark}" for remark in _remarks(number, certificate, sent, path))


def _remarks(
    number: int,
    certificate: x509.Certificate,
    sent: Sequence[x509.Certificate | None],
    path: CertificationPath,
) -> Iterator[str]:
    if certificate in sent[:number]:
        yield "sent a second time"
        return
    if number and is_self_issued(certificate):
        yield "a root, sent needlessly: a verifier has it, or does not trust it"
    elif certificate not in path.certificates:
        yield "leads nowhere: it has issued nothing that was sent"
    elif number + 1 < len(sent) and not is_self_issued(certificate):
        above = sent[number + 1]
        is_next = above is not None and subject_name(above) == issuer_name(certificate)
        if not is_next and any(c and subject_name(c) == issuer_name(certificate) for c in sent):
            yield "its issuer does not follow: out of order (RFC 5246 §7.4.2, RFC 8446 §4.4.2)"
    if certificate in path.certificates:
        depth = path.certificates.index(certificate)
        found = [fault for fault in path.faults if fault.depth == depth]
        yield from (f"{fault.detail} ({fault.slug})" for fault in found[:_MOST_FAULTS])


def _end(path: CertificationPath, sent: Sequence[x509.Certificate | None]) -> Iterator[str]:
    """How the path ends, and which link of it was not sent."""
    if not path.certificates:
        return
    unsent = [c for c in path.certificates if c not in sent]
    missing = [c for c in (*unsent, *path.omitted) if not is_self_issued(c)]
    for certificate in dict.fromkeys(missing):
        name = bounded(display_name(subject_name(certificate)))
        yield f"  missing: {name}, which is known here; others refuse the server without it"
    last = path.certificates[-1]
    if path.anchored:
        yield f"  ends at our trust anchor {bounded(display_name(subject_name(last)))}"
    elif is_self_issued(last):
        yield f"  ends at {bounded(display_name(subject_name(last)))}, not a trust anchor of ours"
    else:
        name = bounded(display_name(issuer_name(last)))
        yield f"  missing: {name}, the issuer of the last of them: neither sent nor trusted here"
