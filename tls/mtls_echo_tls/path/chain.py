"""Certification path building (RFC 4158): from an end-entity certificate to a trust anchor.

Each certificate on a path has signed the one below it: names, key identifiers and the signature
say so (RFC 5280 §6.1, §4.2.1.1). Certificates that were not presented may be known all the same:
our own chain and anchors, and the CAs in the folders of our files
(`mtls_echo_tls.path.local_cas`). They make nothing trusted. They tell *why* a path ends: a CA that
is known and was not sent is a missing intermediate; a root that is known and is not an anchor is
an unknown CA.

Of an issuer that is not known here it cannot be decided which of the two it is, as a CA of its
name may exist in either place. Two things rule the missing intermediate out. The anchors may
permit no further CA below them (pathLenConstraint), and a certificate's authorityKeyIdentifier may
name its issuer's issuer: where that is the issuer itself, it is a root. (A CA that writes that
falsely is itself an unknown CA.) The reverse proves nothing, as any CA can name one of our anchors
there, but makes the missing intermediate the likelier of the two; and so does what else a
certificate tells of its issuer (`mtls_echo_tls.path.issuers`).
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Sequence

import msgspec
from cryptography import x509

from mtls_echo_pki.certificates.reading import (
    is_self_issued,
    is_valid_at,
    issuer_name,
    serial_number,
    subject_name,
    value_of,
)
from mtls_echo_tls.fault_causes import Variant
from mtls_echo_tls.path.certificates import shortened
from mtls_echo_tls.path.issuers import (
    above_issuer,
    is_above,
    is_issued_by_root,
    issuers_issuer,
    why_intermediate,
)
from mtls_echo_tls.path.rules import Fault, check_validity, display_name
from mtls_echo_tls.path.tampering import evidence_of_tampering, is_signed_by

LONGEST_PATH = 10


class ChainInputs(msgspec.Struct, frozen=True):
    """What a path is built from.

    Attributes:
        presented: As they came, end-entity first.
        anchors: The verifier's; None when they are not known: then the others continue the path.
        now: The time of verification: of two certificates of one CA the valid one counts.
        thorough: Whether to search for a single altered bit (`mtls_echo_tls.path.tampering`).
        more: Whether more were presented than are given here.
    """

    presented: Sequence[x509.Certificate]
    anchors: Sequence[x509.Certificate] | None
    others: Sequence[x509.Certificate]
    now: datetime.datetime
    thorough: bool = False
    more: bool = False

    @property
    def roots_first(self) -> list[x509.Certificate]:
        """The others, roots first: nothing above them is missing."""
        return sorted(self._valid_first, key=lambda c: not is_self_issued(c))

    @property
    def roots_last(self) -> list[x509.Certificate]:
        """The others, roots last: an intermediate may lead on to an anchor."""
        return sorted(self._valid_first, key=is_self_issued)

    @property
    def _valid_first(self) -> list[x509.Certificate]:
        return sorted(self.others, key=lambda c: not is_valid_at(c, self.now))


class BuiltChain(msgspec.Struct, frozen=True):
    """A path as far as it can be built, end-entity first, and the faults that end it there.

    Attributes:
        anchored: Whether the last is one of the anchors.
        omitted: Those among them that were not presented, roots excepted.
        cross_signed: Whether another path may exist: another issuer has certified one of the
            CAs too, in a certificate that was not presented.
    """

    certificates: list[x509.Certificate]
    anchored: bool
    omitted: tuple[x509.Certificate, ...] = ()
    cross_signed: bool = False
    faults: tuple[Fault, ...] = ()


def build_chain(inputs: ChainInputs) -> BuiltChain:
    """Build a path as OpenSSL does: trusted issuers are tried before presented ones.

    Where the verifier's anchors are not known, the other certificates continue it.
    """
    trusted = list(inputs.anchors or ())
    path, omitted, faults = [inputs.presented[0]], list[x509.Certificate](), list[Fault]()
    while len(path) <= LONGEST_PATH:
        current, depth = path[-1], len(path) - 1
        if current in trusted:
            return BuiltChain(path, True)
        issuer = _issuer(current, (*trusted, *inputs.presented[1:]), path)
        if issuer is None and inputs.more:
            break  # it may be among those that were left out
        if issuer is None and inputs.anchors is None and not is_self_issued(current):
            issuer = _issuer(current, inputs.roots_first, path)
            if issuer is not None and not is_self_issued(issuer):
                omitted.append(issuer)
                faults.append(_not_sent(issuer, depth))
        if issuer is None:
            faults += _dead_end(current, depth, inputs, path)
            break
        path.append(issuer)
    return BuiltChain(path, False, tuple(omitted), _is_cross_signed(path, inputs), tuple(faults))


def _is_cross_signed(path: Sequence[x509.Certificate], inputs: ChainInputs) -> bool:
    others = [c for c in inputs.others if not is_self_issued(c) and c not in inputs.presented]
    above: list[x509.Certificate | None] = [*path[1:], None]
    return any(
        # A second certificate from the same issuer is a renewal, and leads to the same root.
        has_signed(other, certificate)
        and (issuer is None or issuer_name(issuer) != issuer_name(other))
        for other in others
        for certificate, issuer in zip(path, above, strict=True)
    )


def _issuer(
    current: x509.Certificate,
    candidates: Iterable[x509.Certificate],
    path: Sequence[x509.Certificate],
) -> x509.Certificate | None:
    fitting = [c for c in candidates if c not in path and _may_have_signed(c, current)]
    # A signature that cannot be verified here does not prove that the path ends.
    unproved: x509.Certificate | None = None
    for candidate in fitting:
        signed = is_signed_by(current, candidate)
        if signed:
            return candidate
        unproved = unproved or (candidate if signed is None else None)
    return unproved


def _dead_end(
    current: x509.Certificate, depth: int, inputs: ChainInputs, path: Sequence[x509.Certificate]
) -> Iterator[Fault]:
    """Why the path ends at this certificate."""
    issuer, anchors = display_name(issuer_name(current)), inputs.anchors
    if anchors is None and depth and is_self_issued(current):
        return  # it is where it should end
    tried = (*inputs.presented[1:], *(inputs.others if anchors is None else anchors))
    named = [c for c in tried if subject_name(c) == issuer_name(current) and c not in path]
    identified = [candidate for candidate in named if _may_have_signed(candidate, current)]
    # An omitted intermediate may lead to an anchor; a known root leads to itself.
    signer = _issuer(current, inputs.roots_last, path)
    same_key = next((c for c in named if is_signed_by(current, c)), None)
    # If another CA is meant by the identifiers, and is known, this one has only taken its name.
    is_meant = not identified or same_key in (anchors or ())
    if signer is None and same_key is not None and is_meant:
        yield _identifiers_differ(current, depth, same_key)
    elif identified:
        yield from _unsigned(current, depth, inputs, identified)
    elif is_self_issued(current) and depth == 0:
        yield Fault("self-signed", 0, f"subject and issuer are both {issuer}")
    elif anchors is None:
        above = above_issuer(current)
        if above:
            detail = f"{issuer} was not sent; by its key identifier, {above} issued it"
            yield Fault("missing-intermediate", depth, detail)
    elif signer is not None and not is_self_issued(signer):
        yield from _unsent(signer, depth, inputs, path)
    elif any(subject_name(anchor) == issuer_name(current) for anchor in anchors):
        yield from _same_name(current, depth, anchors)
    elif is_self_issued(current) or signer is not None:
        yield Fault("unknown-authority", depth, f"{issuer} is not among the trust anchors")
    elif not anchors:
        yield Fault("empty-trust", depth, "there are no trust anchors")
    else:
        yield from _unknown(current, depth, anchors, path, named)


def _identifiers_differ(current: x509.Certificate, depth: int, signer: x509.Certificate) -> Fault:
    """The key of this CA has signed it; by the identifiers another one should have."""
    ca_name = display_name(subject_name(signer))
    wanted = value_of(current, x509.AuthorityKeyIdentifier)
    own = value_of(signer, x509.SubjectKeyIdentifier)
    key = wanted.key_identifier if wanted is not None else None
    if key is not None and own is not None and key != own.digest:
        named, has = f"{shortened(key)}", f"subjectKeyIdentifier is {shortened(own.digest)}"
    else:
        named = "another issuer or serial number"
        has = (
            f"issuer is {display_name(issuer_name(signer))}, its serial {serial_number(signer):x}"
        )
    return Fault(
        "not-conforming",
        depth,
        f"the key of {ca_name} signed it; authorityKeyIdentifier is {named}, that CA's {has}",
        variant="identifiers-differ",
        fix=f"with the subjectKeyIdentifier of {ca_name} copied into its authorityKeyIdentifier"
        " (openssl: authorityKeyIdentifier=keyid)",
    )


def _same_name(
    current: x509.Certificate, depth: int, anchors: Sequence[x509.Certificate]
) -> Iterator[Fault]:
    """The faults where anchors have the issuer's name, and by their identifiers another key."""
    issuer = display_name(issuer_name(current))
    same = [anchor for anchor in anchors if subject_name(anchor) == issuer_name(current)]
    if all(is_signed_by(current, anchor) is False for anchor in same):
        detail = f"a trust anchor has the name {issuer} too, but another key"
        yield Fault("impostor-authority", depth, detail)
        return
    detail = f"a trust anchor has the name {issuer}; whether its key signed it is not known here"
    yield Fault("unknown-authority", depth, detail)
    yield Fault("missing-intermediate", depth, detail)


def _unsigned(
    current: x509.Certificate,
    depth: int,
    inputs: ChainInputs,
    identified: Sequence[x509.Certificate],
) -> Iterator[Fault]:
    """The faults where an issuer fits by name and key identifiers, and did not sign."""
    issuer = display_name(issuer_name(current))
    candidates = (*inputs.presented[1:], *inputs.others)
    if any(
        subject_name(c) == issuer_name(current) and is_signed_by(current, c) for c in candidates
    ):
        detail = f"the key of another CA with the name {issuer} signed it"
        yield Fault("impostor-authority", depth, detail)
        return
    proofs = (evidence_of_tampering(current, c, thorough=inputs.thorough) for c in identified)
    if proof := next(filter(None, proofs), None):
        yield Fault("bad-signature", depth, proof)
        return
    detail = f"the signature does not verify with the key of {issuer}"
    yield Fault("bad-signature", depth, detail)
    yield Fault("impostor-authority", depth, detail)


def _unsent(
    signer: x509.Certificate, depth: int, inputs: ChainInputs, path: Sequence[x509.Certificate]
) -> Iterator[Fault]:
    """The faults where a known CA has signed it, and was not sent."""
    yield from check_validity(signer, depth + 1, inputs.now)
    onwards = [*path, signer]
    candidates = (*(inputs.anchors or ()), *inputs.presented[1:], *inputs.roots_first)
    while len(onwards) <= LONGEST_PATH:
        last = onwards[-1]
        if last in (inputs.anchors or ()):
            yield _not_sent(signer, depth)
            return
        above = _issuer(last, candidates, onwards)
        if above is None:
            break
        onwards.append(above)
    # Sending it would remove one fault, and show the other.
    detail = f"{display_name(issuer_name(onwards[-1]))}, above it, is not among the trust anchors"
    yield Fault("unknown-authority", depth, detail)
    yield _not_sent(signer, depth)


def _unknown(
    current: x509.Certificate,
    depth: int,
    anchors: Sequence[x509.Certificate],
    path: Sequence[x509.Certificate],
    named: Sequence[x509.Certificate],
) -> Iterator[Fault]:
    """The faults where the issuer is not known: an unknown CA, or a missing intermediate."""
    issuer = display_name(issuer_name(current))
    detail = f"{issuer} was not sent, and is not among the trust anchors"
    if any(has_signed(anchor, candidate) for anchor in anchors for candidate in named):
        # Either of two CAs of that name was omitted, or another CA has taken the name.
        detail = f"the certificate sent for {issuer} has another key"
        yield Fault("impostor-authority", depth, detail)
        yield Fault("missing-intermediate", depth, detail)
        return
    renamed = next((anchor for anchor in anchors if is_signed_by(current, anchor)), None)
    variant: Variant | None = None
    if renamed is not None:
        now = display_name(subject_name(renamed))
        detail = f"it was issued under the name {issuer}, by the key of the trust anchor {now}"
        variant = "renamed-ca"
    if is_issued_by_root(current):
        root = f"{issuer} is a root by its key identifier, and is not among the trust anchors"
        yield Fault("unknown-authority", depth, detail if renamed else root, variant)
    elif not any(_has_room(anchor, path) for anchor in anchors):
        last = f"{issuer} is not among the trust anchors, which permit no CA below them"
        yield Fault("unknown-authority", depth, detail if renamed else last, variant)
    elif renamed is None and (why := _why_below(current, anchors) or why_intermediate(current)):
        yield Fault("missing-intermediate", depth, f"{detail}; {why}")
        yield Fault("unknown-authority", depth, f"{detail}; {why}")
    else:
        yield Fault("unknown-authority", depth, detail, variant)
        yield Fault("missing-intermediate", depth, detail)


def _why_below(current: x509.Certificate, anchors: Sequence[x509.Certificate]) -> str:
    """Why the issuer of this certificate is likely to stand below one of the anchors."""
    if not any(map(is_above(current), anchors)):
        return ""
    return f"by its key identifier, the trust anchor {above_issuer(current)} issued it"


def _not_sent(issuer: x509.Certificate, depth: int) -> Fault:
    detail = f"{display_name(subject_name(issuer))} was not sent, and is known here"
    return Fault("missing-intermediate", depth, detail)


def _has_room(anchor: x509.Certificate, path: Sequence[x509.Certificate]) -> bool:
    """Whether one more CA may stand between an anchor and this path."""
    constraints = value_of(anchor, x509.BasicConstraints)
    if constraints is None:
        return True
    if constraints.path_length is None:
        return constraints.ca  # an end-entity certificate may be trusted by itself
    return sum(not is_self_issued(c) for c in path[1:]) < constraints.path_length


def _may_have_signed(issuer: x509.Certificate, subject: x509.Certificate) -> bool:
    """Whether names and key identifiers allow it (RFC 5280 §4.2.1.1)."""
    if subject_name(issuer) != issuer_name(subject):
        return False
    wanted = value_of(subject, x509.AuthorityKeyIdentifier)
    own = value_of(issuer, x509.SubjectKeyIdentifier)
    if wanted is None:
        return True
    identifier = wanted.key_identifier
    if own is not None and identifier is not None and own.digest != identifier:
        return False
    number = wanted.authority_cert_serial_number
    if number is not None and number != serial_number(issuer):
        return False
    above = issuers_issuer(wanted)
    return not above or above[0] == issuer_name(issuer)


def has_signed(issuer: x509.Certificate, subject: x509.Certificate) -> bool:
    """Whether names, key identifiers and the signature all say so."""
    return _may_have_signed(issuer, subject) and is_signed_by(subject, issuer) is True
