"""Offline validation of a presented certification path, which lists every fault it has.

OpenSSL stops at the first fault, and reports it in one number that several causes share. This
module reads the same certificates again and lists every fault, each with the two things that were
compared. It decides nothing: OpenSSL has decided already. Its findings narrow what that decision
can have meant, and name a second fault that would show as soon as the first is repaired.

It is applied to the peer's path when we were the verifier, and to our own when the peer was. In
the second case the peer's trust anchors are not known, so that a path without an anchor is not a
fault. How the path is built, and why it ends, is the subject of `mtls_echo_tls.path.chain`.

Nothing here raises, whatever was presented, and a path is followed for at most `LONGEST_PATH`
certificates.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Sequence
from contextlib import suppress

import msgspec
from cryptography import x509
from msgspec.structs import replace

from mtls_echo_pki.certificates.der import UnreadableError
from mtls_echo_pki.certificates.loading import load_certificate, parsing
from mtls_echo_pki.certificates.reading import (
    has_readable_extensions,
    is_self_issued,
    issuer_name,
    subject_name,
)
from mtls_echo_pki.printable import printable
from mtls_echo_tls.path import rules
from mtls_echo_tls.path.chain import LONGEST_PATH, ChainInputs, build_chain
from mtls_echo_tls.path.crl import revocation_faults
from mtls_echo_tls.path.issuers import why_intermediate
from mtls_echo_tls.path.rules import Fault, display_name
from mtls_echo_tls.sides import Side
from mtls_echo_tls.slugs import Slugs

# A longer path was made to be expensive; its verifier has refused it already.
_MOST_BYTES = 64 * 1024

# How many certificates OpenSSL follows, unless it is told otherwise (SSL_CTX_set_verify_depth).
_OPENSSLS_DEPTH = 100

# Faults kept, and characters of each one's detail: the peer wrote what they quote.
_MOST_FAULTS = 32
_LONGEST_DETAIL = 256

# Several faults at once: the order in which OpenSSL checks (chain, usage, strength, name,
# signature, dates), so that the first fault is the one it reports.
# fmt: off
_ORDER: Slugs = (
    "empty-trust", "unknown-authority", "impostor-authority", "self-signed", "not-conforming",
    "missing-key-identifier", "unknown-critical-extension", "not-an-authority", "path-too-long",
    "wrong-usage", "name-not-permitted", "weak-key", "weak-signature", "no-san", "wrong-name",
    "crl-missing", "crl-not-yet-valid", "crl-expired", "revoked", "revoked-authority",
    "bad-signature",
    # Dates are checked from the anchor down.
    "not-yet-valid-authority", "expired-authority", "not-yet-valid", "expired",
)
# fmt: on


class CertificationPath(msgspec.Struct, frozen=True):
    """A certification path (RFC 5280 §6) as far as it can be built, end-entity first.

    Attributes:
        anchored: Whether its last certificate is one of the given anchors.
        omitted, cross_signed: As of a `mtls_echo_tls.path.chain.BuiltChain`.
        faults: Everything found, in the order in which OpenSSL would meet it.
    """

    certificates: tuple[x509.Certificate, ...] = ()
    anchored: bool = False
    omitted: tuple[x509.Certificate, ...] = ()
    cross_signed: bool = False
    faults: tuple[Fault, ...] = ()

    @property
    def slugs(self) -> Slugs:
        """The causes, each once."""
        return tuple(dict.fromkeys(fault.slug for fault in self.faults))

    @property
    def is_complete(self) -> bool:
        """Whether the certificates known here lead to a root, and to one only."""
        ends = len(self.certificates) > 1 and is_self_issued(self.certificates[-1])
        return ends and not self.cross_signed

    @property
    def is_readable(self) -> bool:
        """Whether all extensions can be read, so that one that is not found is absent."""
        return all(map(has_readable_extensions, self.certificates))

    @property
    def intermediates(self) -> tuple[x509.Certificate, ...]:
        """The CAs between the end-entity certificate and a root."""
        return tuple(c for c in self.certificates[1:] if not is_self_issued(c))

    @property
    def why_omitted(self) -> str:
        """Why a CA above the last certificate was probably left out; "" if nothing says so."""
        if not self.certificates or self.is_complete or "missing-intermediate" in self.slugs:
            return ""
        return why_intermediate(self.certificates[-1])

    def located(self, fault: Fault) -> str:
        """A fault's detail, with the certificate that has it unless it is the end-entity's."""
        if fault.depth == 0 or fault.depth >= len(self.certificates):
            return fault.detail
        name = display_name(subject_name(self.certificates[fault.depth]))
        return fault.detail if fault.detail.startswith(name) else f"{name}: {fault.detail}"


def examine(
    chain: Sequence[bytes],
    *,
    presenter: Side,
    anchors: Sequence[x509.Certificate] | None = None,
    crls: Sequence[x509.CertificateRevocationList] = (),
    reference: str | None = None,
    others: Sequence[x509.Certificate] = (),
    now: datetime.datetime | None = None,
    strict: bool = True,
) -> CertificationPath:
    """Examine the certificates that one side presented: DER, end-entity first.

    Args:
        chain: As in the Certificate message.
        presenter: The side that presented them; decides the extendedKeyUsage that is needed.
        anchors, crls: The verifier's. None when the anchors are not known: then a path without one
            has no fault for it.
        reference: The reference identifier, if the presenter is the server.
        others: Certificates known from elsewhere: our own chain, our anchors, the CAs in the same
            folders. An intermediate among them may turn out to be missing from the chain; a root,
            to be where the path leads.
        now: The time of verification.
        strict: Whether the verifier is, or may be, strict about RFC 5280.
    """
    moment = now or datetime.datetime.now(datetime.UTC)
    with suppress(UnreadableError), parsing():
        path = _examine(chain, presenter, anchors, reference, others, moment)
        found = [*path.faults]
        if anchors is None or path.anchored:
            found += revocation_faults(path.certificates, crls, moment)
        if not strict:
            found = [fault for fault in found if not fault.strict]
        found.sort(key=_rank)
        return replace(path, faults=tuple(_bounded(found)))
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
    more = len(chain) > LONGEST_PATH
    # A server does not search at length on behalf of an unauthenticated client.
    thorough = anchors is None or presenter == "server"
    built = build_chain(ChainInputs(presented, anchors, others, now, thorough, more))
    certificates, found = built.certificates, list(built.faults)
    if len(chain) > _OPENSSLS_DEPTH and len(certificates) >= LONGEST_PATH:
        detail = f"{len(chain)} certificates were sent; OpenSSL follows {_OPENSSLS_DEPTH}"
        found.append(Fault("path-too-long", 0, detail))
    found += _namesakes(certificates, anchors or ())
    for depth, certificate in enumerate(certificates):
        ends = depth == len(certificates) - 1
        # An anchor's signature is not checked; nor is a root's where the anchors are not known.
        is_anchor = ends and (built.anchored or (anchors is None and is_self_issued(certificate)))
        found += rules.check_certificate(certificate, depth, now, anchor=is_anchor)
        if anchors is not None:  # our own OpenSSL has read
            found += rules.check_extensions(certificate, depth)
        if depth:
            # What is not issued by itself is an anchor only where it was named as one.
            last = ends and (built.anchored or is_self_issued(certificate))
            found += rules.check_ca(certificate, certificates[:depth], presenter, last=last)
        if depth and (built.anchored or anchors is None):
            # The comparisons are as many as names times subtrees. An unauthenticated peer could
            # make that large; one below an anchor, or our own CA, does not.
            found += rules.check_name_constraints(certificate, certificates[:depth])
    found += rules.check_end_entity(certificates[0], presenter, reference)
    return CertificationPath(
        tuple(certificates), built.anchored, built.omitted, built.cross_signed, tuple(found)
    )


def _namesakes(
    certificates: Sequence[x509.Certificate], anchors: Sequence[x509.Certificate]
) -> Iterator[Fault]:
    """Where one of several trust anchors of a name has signed, and no identifier says which."""
    for depth, certificate in enumerate(certificates):
        same = [anchor for anchor in anchors if subject_name(anchor) == issuer_name(certificate)]
        if (
            len(same) > 1
            and not is_self_issued(certificate)
            and rules.lacks_issuer_key(certificate)
        ):
            ca_name = rules.display_name(issuer_name(certificate))
            detail = (
                f"there is no authorityKeyIdentifier, and {len(same)} trust anchors are called"
                f" {ca_name}: OpenSSL tries one of them"
            )
            yield Fault("missing-key-identifier", depth, detail, "namesakes")


def _rank(fault: Fault) -> int:
    """Its place among the faults; of two readings of one, the likelier was found first."""
    missing = fault.slug == "missing-intermediate"
    return _ORDER.index("unknown-authority" if missing else fault.slug)


def _bounded(faults: Sequence[Fault]) -> Iterator[Fault]:
    for fault in faults[:_MOST_FAULTS]:
        yield replace(fault, detail=printable(fault.detail[:_LONGEST_DETAIL]))
