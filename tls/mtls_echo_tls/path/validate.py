"""An offline second look at a presented certification path, which lists every fault it has.

OpenSSL stops at the first thing it dislikes and says it in one number that several causes share.
This module reads the same certificates again and notes all that is wrong with them, each fault
with the two things that were compared. It decides nothing: who is admitted was OpenSSL's decision,
and has been made. Its findings narrow what that decision can have meant, and name a second fault
that would be met as soon as the first is mended.

It is applied to the peer's path when the verdict was ours, and to our own when it was the peer's.
In the second case the peer's trust anchors are not known, so nothing is said about them: a path
that ends nowhere is a fault only in the eyes of somebody's anchors. How the path is followed, and
why it ends, is the subject of `mtls_echo_tls.path.chain`.

Nothing here raises, whatever was presented, and a path is followed for `LONGEST_PATH`
certificates at the most.
"""

from __future__ import annotations

import datetime
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from cryptography import x509

from mtls_echo_pki.certificates.reading import (
    UNREADABLE,
    has_readable_extensions,
    is_self_issued,
    load_certificate,
)
from mtls_echo_pki.printable import printable
from mtls_echo_tls.path import rules
from mtls_echo_tls.path.chain import LONGEST_PATH, ChainInputs, build_chain
from mtls_echo_tls.path.revocation import revocation_faults
from mtls_echo_tls.path.rules import Fault
from mtls_echo_tls.sides import Side

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
    "crl-missing",
    "crl-not-yet-valid",
    "crl-expired",
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
class CertificationPath:
    """A path as far as it can be followed.

    Attributes:
        certificates: End-entity first; the last is a trust anchor when ``anchored``.
        anchored: Whether it ends at one of the given anchors.
        omitted: Those among them that were not presented and should have been: all but a root.
        cross_signed: Whether another path may exist: see `mtls_echo_tls.path.chain.BuiltChain`.
        faults: Everything found, in the order in which OpenSSL would meet it.
    """

    certificates: tuple[x509.Certificate, ...] = ()
    anchored: bool = False
    omitted: tuple[x509.Certificate, ...] = ()
    cross_signed: bool = False
    faults: tuple[Fault, ...] = ()

    @property
    def slugs(self) -> tuple[str, ...]:
        """The causes, each once."""
        return tuple(dict.fromkeys(fault.slug for fault in self.faults))

    @property
    def is_complete(self) -> bool:
        """Whether it leads to a root, and to no other, by certificates that are known here."""
        ends = len(self.certificates) > 1 and is_self_issued(self.certificates[-1])
        return ends and not self.cross_signed

    @property
    def is_readable(self) -> bool:
        """Whether every extension in it can be read, so that what is not there is absent."""
        return all(map(has_readable_extensions, self.certificates))

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
) -> CertificationPath:
    """Examine the certificates that one side presented.

    Args:
        chain: DER, as in the Certificate message: end-entity first.
        presenter: Who presented them; decides the extendedKeyUsage that is needed.
        anchors: The judge's trust anchors. None when they are not known: then an end that is
            not anchored is no fault.
        crls: The judge's revocation lists.
        reference: The name the client asked for, if the presenter is the server.
        others: Certificates known from elsewhere: our own chain, our anchors, what lies beside
            them. An authority among them may turn out to be a link that was left out; a root,
            where the path leads.
        now: The time to judge by.
    """
    moment = now or datetime.datetime.now(datetime.UTC)
    with warnings.catch_warnings():
        # `cryptography` warns about odd certificates; who presented one must not write our log.
        warnings.simplefilter("ignore")
        try:
            path = _examine(chain, presenter, anchors, reference, others, moment)
            found = [*path.faults]
            if anchors is None or path.anchored:
                found += revocation_faults(path.certificates, crls, moment)
            found.sort(key=lambda fault: _ORDER.index(fault.slug))
            return replace(path, faults=tuple(_bounded(found)))
        except UNREADABLE:
            return CertificationPath()


def _examine(
    chain: Sequence[bytes],
    presenter: Side,
    anchors: Sequence[x509.Certificate] | None,
    reference: str | None,
    others: Sequence[x509.Certificate],
    now: datetime.datetime,
) -> CertificationPath:
    if not chain or sum(map(len, chain)) > _MOST_BYTES:
        return CertificationPath()
    presented = [load_certificate(der) for der in chain[:LONGEST_PATH]]
    # For a stranger a server does not search at length.
    thorough = anchors is None or presenter == "server"
    links = build_chain(ChainInputs(presented, anchors, others, now, thorough))
    certificates, found = links.certificates, list(links.faults)
    for depth, certificate in enumerate(certificates):
        ends = depth == len(certificates) - 1
        # Nobody looks at the signature of an anchor, and whose roots are anchors is not known.
        is_anchor = ends and (links.anchored or (anchors is None and is_self_issued(certificate)))
        found += rules.check_certificate(certificate, depth, now, anchor=is_anchor)
        if depth:
            found += rules.check_ca(certificate, certificates[:depth], presenter)
        if depth and (links.anchored or anchors is None):
            # Comparing names costs their number times that of the subtrees. A stranger could
            # make that large; one who is anchored, or we ourselves, could not.
            found += rules.check_name_constraints(certificate, certificates[:depth])
    found += rules.check_end_entity(certificates[0], presenter, reference)
    return CertificationPath(
        tuple(certificates), links.anchored, links.omitted, links.cross_signed, tuple(found)
    )


def _bounded(faults: Sequence[Fault]) -> Iterator[Fault]:
    for fault in faults[:_MOST_FAULTS]:
        yield replace(fault, detail=printable(fault.detail[:_LONGEST_DETAIL]))
