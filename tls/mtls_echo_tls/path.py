"""An offline second look at a presented certification path, which lists every fault it has.

OpenSSL stops at the first thing it dislikes and says it in one number that several causes share.
This module reads the same certificates again and notes all that is wrong with them, each fault
with the two things that were compared. It decides nothing: who is admitted was OpenSSL's decision,
and has been made. Its findings narrow what that decision can have meant, and name a second fault
that would be met as soon as the first is mended.

It is applied to the peer's path when the verdict was ours, and to our own when it was the peer's.
In the second case the peer's trust anchors are not known, so nothing is said about them: a path
that ends nowhere is a fault only in the eyes of somebody's anchors.

Nothing here raises, whatever was presented, and a path is followed for `_LONGEST_PATH`
certificates at the most.
"""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

from mtls_echo_pki.printable import printable
from mtls_echo_tls import rules
from mtls_echo_tls.evidence import Side
from mtls_echo_tls.identity import UNREADABLE, load_certificate, serial_number
from mtls_echo_tls.rules import Fault, called, is_self_issued

_LONGEST_PATH = 10

# A path of this many bytes has been made to be expensive; its judge has refused it already.
_MOST_BYTES = 64 * 1024

# Faults kept, and characters of each one's detail: the peer wrote what they quote.
_MOST_FAULTS = 32
_LONGEST_DETAIL = 256

# Several faults at once: the order in which OpenSSL checks (chain, usage, strength, name,
# signature, dates), so that the first fault is the one it reports.
_ORDER = (
    "empty-trust",
    "unknown-authority",
    "missing-intermediate",
    "impostor-authority",
    "self-signed",
    "not-conforming",
    "missing-key-identifier",
    "unknown-critical-extension",
    "not-an-authority",
    "path-too-long",
    "wrong-usage",
    "name-not-permitted",
    "weak-key",
    "weak-signature",
    "no-san",
    "wrong-name",
    "revoked-authority",
    "revoked",
    "bad-signature",
    # Dates are checked from the anchor down.
    "not-yet-valid-authority",
    "expired-authority",
    "not-yet-valid",
    "expired",
)


@dataclass(frozen=True)
class Path:
    """A path as far as it can be followed.

    Attributes:
        certificates: End-entity first; the last is a trust anchor when ``anchored``.
        anchored: Whether it ends at one of the given anchors.
        faults: Everything found, in the order in which OpenSSL would meet it.
    """

    certificates: tuple[x509.Certificate, ...] = ()
    anchored: bool = False
    faults: tuple[Fault, ...] = ()

    @property
    def slugs(self) -> tuple[str, ...]:
        """The causes, each once."""
        return tuple(dict.fromkeys(fault.slug for fault in self.faults))

    @property
    def is_complete(self) -> bool:
        """Whether it leads to a root, with nothing left out in between."""
        return len(self.certificates) > 1 and is_self_issued(self.certificates[-1])

    @property
    def intermediates(self) -> tuple[x509.Certificate, ...]:
        """The authorities between the end-entity certificate and a root."""
        return tuple(c for c in self.certificates[1:] if not is_self_issued(c))


def examine(
    chain: Sequence[bytes],
    *,
    presenter: Side,
    anchors: Sequence[x509.Certificate] | None = None,
    crls: Sequence[x509.CertificateRevocationList] = (),
    reference: str | None = None,
    others: Sequence[x509.Certificate] = (),
    now: datetime.datetime | None = None,
) -> Path:
    """Examine the certificates that one side presented.

    Args:
        chain: DER, as in the Certificate message: end-entity first.
        presenter: Who presented them; decides the extendedKeyUsage that is needed.
        anchors: The judge's trust anchors. None when they are not known: then an end that is
            not anchored is no fault.
        crls: The judge's revocation lists.
        reference: The name the client asked for, if the presenter is the server.
        others: Certificates known from elsewhere, our own chain or anchors. An intermediate
            among them may turn out to be a link that was left out; a root, where the path leads.
        now: The time to judge by.
    """
    moment = now or datetime.datetime.now(datetime.UTC)
    with warnings.catch_warnings():
        # `cryptography` warns about odd certificates; who presented one must not write our log.
        warnings.simplefilter("ignore")
        try:
            path = _examine(chain, presenter, anchors, reference, others, moment)
            found = [*path.faults, *_revoked(path.certificates, crls)]
            found.sort(key=lambda fault: _ORDER.index(fault.slug))
            return replace(path, faults=tuple(_bounded(found)))
        except (UnsupportedAlgorithm, *UNREADABLE):
            return Path()


def _examine(
    chain: Sequence[bytes],
    presenter: Side,
    anchors: Sequence[x509.Certificate] | None,
    reference: str | None,
    others: Sequence[x509.Certificate],
    now: datetime.datetime,
) -> Path:
    if not chain or sum(map(len, chain)) > _MOST_BYTES:
        return Path()
    presented = [load_certificate(der) for der in chain[:_LONGEST_PATH]]
    certificates, anchored, found = _follow(presented, anchors, others)
    for depth, certificate in enumerate(certificates):
        is_anchor = anchored and depth == len(certificates) - 1
        found += rules.of_any(certificate, depth, now, anchor=is_anchor)
        if depth:
            found += rules.of_authority(certificate, certificates[:depth], presenter)
        if depth and (anchored or anchors is None):
            # Comparing names costs their number times that of the subtrees. A stranger could
            # make that large; one who is anchored, or we ourselves, could not.
            found += rules.of_names(certificate, certificates[:depth])
    found += rules.of_end_entity(certificates[0], presenter, reference)
    return Path(tuple(certificates), anchored, tuple(found))


def _bounded(faults: Sequence[Fault]) -> Iterator[Fault]:
    for fault in faults[:_MOST_FAULTS]:
        yield replace(fault, detail=printable(fault.detail[:_LONGEST_DETAIL]))


def _revoked(
    certificates: Sequence[x509.Certificate], crls: Sequence[x509.CertificateRevocationList]
) -> Iterator[Fault]:
    for depth, certificate in enumerate(certificates):
        number = serial_number(certificate)
        for crl in crls:
            if crl.issuer == certificate.issuer:
                entry = crl.get_revoked_certificate_by_serial_number(number)
                if entry is not None:
                    when = f"{entry.revocation_date_utc:%Y-%m-%d %H:%M:%S}"
                    slug = "revoked-authority" if depth else "revoked"
                    yield Fault(slug, depth, f"serial number {number:x}, on {when}")
                    break


# --- from the end-entity certificate to an anchor ------------------------------------------------


def _follow(
    presented: list[x509.Certificate],
    anchors: Sequence[x509.Certificate] | None,
    others: Sequence[x509.Certificate],
) -> tuple[list[x509.Certificate], bool, list[Fault]]:
    """The path as OpenSSL builds it, whether it is anchored, and why it ends where it does."""
    trusted = list(anchors or ())
    # Where the judge's anchors are not known, our own show how the path would go on.
    roots = [other for other in others if is_self_issued(other)] if anchors is None else []
    path = [presented[0]]
    while len(path) <= _LONGEST_PATH:
        current = path[-1]
        if current in trusted:
            return path, True, []
        # Trusted issuers are tried before presented ones, as OpenSSL does.
        named = [
            candidate
            for candidate in (*trusted, *presented[1:], *roots)
            if candidate.subject == current.issuer and candidate not in path
        ]
        identified = [candidate for candidate in named if _may_have_signed(candidate, current)]
        issuer = next((c for c in identified if _signed(c, current)), None)
        if issuer is None:
            end = _dead_end(current, len(path) - 1, named, identified, anchors, others)
            return path, False, list(end)
        path.append(issuer)
    return path, False, [Fault("path-too-long", len(path) - 1, "the path does not end")]


def _dead_end(
    current: x509.Certificate,
    depth: int,
    named: Sequence[x509.Certificate],
    identified: Sequence[x509.Certificate],
    anchors: Sequence[x509.Certificate] | None,
    others: Sequence[x509.Certificate],
) -> Iterator[Fault]:
    """Why the path goes no further."""
    issuer = called(current.issuer)
    left_out = any(not is_self_issued(c) and has_signed(c, current) for c in others)
    if identified:
        # The right name, and nothing says that the key is another: but it did not sign this.
        detail = f"the signature does not verify with the key of {issuer}"
        yield Fault("bad-signature", depth, detail)
        yield Fault("impostor-authority", depth, detail)
    elif is_self_issued(current) and depth == 0:
        yield Fault("self-signed", 0, f"subject and issuer are both {issuer}")
    elif left_out:
        yield Fault("missing-intermediate", depth, f"{issuer} was not sent, and is known here")
    elif anchors is None:
        return
    elif any(anchor.subject == current.issuer for anchor in anchors):
        detail = f"a trust anchor is called {issuer} too, but has another key"
        yield Fault("impostor-authority", depth, detail)
    elif is_self_issued(current):
        yield Fault("unknown-authority", depth, f"{issuer} is not among the trust anchors")
    elif named:
        detail = f"the certificate sent for {issuer} has another key"
        yield Fault("missing-intermediate", depth, detail)
    elif not anchors:
        yield Fault("empty-trust", depth, "there are no trust anchors")
    else:
        # Nothing here can tell whether that issuer is a stranger or a link that was left out.
        detail = f"{issuer} was not sent, and is not among the trust anchors"
        yield Fault("unknown-authority", depth, detail)
        yield Fault("missing-intermediate", depth, detail)


def _may_have_signed(issuer: x509.Certificate, subject: x509.Certificate) -> bool:
    """Whether names and key identifiers allow it (RFC 5280 §4.2.1.1)."""
    if issuer.subject != subject.issuer:
        return False
    try:
        wanted = subject.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
        own = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    except (x509.ExtensionNotFound, *UNREADABLE):
        return True
    return wanted.key_identifier is None or wanted.key_identifier == own.digest


def has_signed(issuer: x509.Certificate, subject: x509.Certificate) -> bool:
    """Whether names, key identifiers and the signature all say so."""
    return _may_have_signed(issuer, subject) and _signed(issuer, subject)


def _signed(issuer: x509.Certificate, subject: x509.Certificate) -> bool:
    try:
        subject.verify_directly_issued_by(issuer)
    except (InvalidSignature, UnsupportedAlgorithm, *UNREADABLE):
        return False
    return True
