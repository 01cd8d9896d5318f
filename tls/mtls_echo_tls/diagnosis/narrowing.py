"""Narrow the candidate causes by examining the presented certificates once more.

What the refused path shows stays, what it rules out goes, and what cannot be known on this side
remains. The two sides know different things.

**The verifier** knows its anchors and the whole path: what that path does not show is not so. It
does not know whether its clock is right, and says so where its own certificate is out of date too.

**The presenter** knows its own path and not the verifier's anchors, clock and CRLs. A fault in its
path that the alert can mean is what the verifier met, with two exceptions: a CA certificate that
we did not send, and a rule that only strict verifiers enforce. The verifier may have that CA all
the same, or not be strict, and have refused us for another reason; so its other causes remain too.
And a sound path disproves only what is read in it: whether an
anchor is the same certificate as the root that we know, or a CRL the one that was loaded, only the
verifier can say. Nor does it disprove an alert in the clear, which an on-path attacker can write.
Both reports together decide (`mtls_echo_tls.diagnosis.joint`).
"""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec.structs import replace

from mtls_echo_pki.certificates.identifiers import has_unreadable_names, hosts
from mtls_echo_pki.certificates.reading import is_self_issued, issuer_name, subject_name, valid_at
from mtls_echo_tls.alerts import AlertDescription
from mtls_echo_tls.answers.meaning import TURNED_AWAY, turned_away
from mtls_echo_tls.diagnosis.evidence import Evidence
from mtls_echo_tls.diagnosis.tables import SHOWN_BESIDE
from mtls_echo_tls.diagnosis.verdict import Verdict, ground_of, is_silent, without_certificate
from mtls_echo_tls.path.certificates import end_entity
from mtls_echo_tls.path.rules import lacks_issuer_key, may_sign_crls
from mtls_echo_tls.path.tampering import is_signed_by
from mtls_echo_tls.path.validate import CertificationPath, examine
from mtls_echo_tls.reasons import UNKNOWN
from mtls_echo_tls.sides import Side, peer_of
from mtls_echo_tls.slugs import Slug, Slugs, drop, keep
from mtls_echo_tls.stacks.alerts import likely_first, meant_by
from mtls_echo_tls.stacks.request import accepted_authorities, by_listed_authorities, issuers
from mtls_echo_tls.trace.cipher_mismatch import is_strong, owns_its_key

# OpenSSL does not send a chain that its security level forbids, whether it was loaded or is
# completed from the trust anchors; of the peer's chain it says so with a verify code.
OWN_CHAIN: dict[str, Slug] = {
    "CA_KEY_TOO_SMALL": "weak-key",
    "EE_KEY_TOO_SMALL": "weak-key",
    "CA_MD_TOO_WEAK": "weak-signature",
}

# What access_denied says, where it says no more.
_DENIED: Slugs = ("not-authorised",)

# What our own path shows whatever the peer's anchors are: if it does not, it is not so.
_ALWAYS_SEEN: frozenset[Slug] = frozenset(
    {"expired", "not-yet-valid", "self-signed", "weak-signature"}
)

# A client's certificate is not checked for a host's name.
_OF_SERVERS_ONLY: frozenset[Slug] = frozenset({"wrong-name", "no-san"})

# Causes in a CA between end-entity and anchor; without one they cannot be.
_OF_INTERMEDIATES: frozenset[Slug] = frozenset({"path-too-long", "revoked-authority"})

# What a path that is known up to its root would show, to any verifier and to OpenSSL.
# (Not how long it may be: a verifier may have a bound of its own.)
_SEEN_WHEN_COMPLETE: frozenset[Slug] = frozenset({"wrong-usage", "not-an-authority"})
_SEEN_BY_OPENSSL: frozenset[Slug] = frozenset(
    {
        "name-not-permitted",
        "unknown-critical-extension",
        "missing-key-identifier",
        "not-conforming",
    }
)

# Alerts for what has no alert of its own, and that for a usage which our path has.
_CATCHALLS = {AlertDescription.certificate_unknown, AlertDescription.unsupported_certificate}

# What a peer that closes without an alert may have met, beside the faults that our path shows.
_BEHIND_SILENCE: frozenset[Slug] = frozenset(
    {
        "unknown-authority",
        "missing-intermediate",
        "impostor-authority",
        "wrong-usage",
        "revoked",
        "crl-missing",
        "wrong-name",
        "no-san",
    }
)

# On which side of its dates a certificate is then (`valid_at`).
_DATED: dict[Slug, int] = {
    "expired": 1,
    "expired-authority": 1,
    "not-yet-valid": -1,
    "not-yet-valid-authority": -1,
}

# What is met more often than a rule that only strict verification minds.
_USUAL: frozenset[Slug] = frozenset(
    {"unknown-authority", "missing-intermediate", "impostor-authority", "revoked"}
)

# Found together, these are two readings of one fault, not two faults.
_UNDECIDED: tuple[frozenset[Slug], ...] = (
    frozenset({"unknown-authority", "missing-intermediate"}),
    frozenset({"missing-intermediate", "impostor-authority"}),
    frozenset({"bad-signature", "impostor-authority"}),
)


def narrow(
    evidence: Evidence, verdict: Verdict, path: CertificationPath
) -> tuple[Slugs, Side | None]:
    """The candidates that remain possible, and whose fault it is when that is not obvious."""
    family, rejected_by = verdict.candidates, verdict.rejected_by
    if evidence.reason == "NO_SHARED_CIPHER" and _cannot_sign(evidence):
        # TLS 1.2 then finds no suite, and never gets to showing the certificate.
        return ("wrong-usage",), evidence.side
    if evidence.verify_code is None and (ground := ground_of(evidence)) in OWN_CHAIN:
        return (OWN_CHAIN[ground],), evidence.side
    if evidence.verify_code is not None:
        return _narrow_as_verifier(family, path, evidence), None
    if rejected_by is None:
        silent = is_silent(verdict, evidence)
        return (*_behind_silence(path, evidence), *family) if silent else family, None
    if rejected_by == evidence.side:
        return family, None
    if evidence.own_chain:
        family = _narrow_as_presenter(_with_provable(family, path, evidence), path, evidence)
        family = _with_namesakes(family, path, evidence)
    return _with_tampering(family, path, evidence), None


def _with_provable(family: Slugs, path: CertificationPath, evidence: Evidence) -> Slugs:
    """The family of an alert that says little, and before it the faults that our path shows.

    If any stack answers such a fault with such an alert, it is more likely than anything else.
    """
    if evidence.answer is not None and family == TURNED_AWAY:
        listed = accepted_authorities(evidence.recorder)
        certain: Slugs = tuple(fault.slug for fault in path.faults if not fault.strict)
        omitted = bool(path.why_omitted)
        return turned_away(certain, issuers(path.certificates), listed, omitted=omitted)
    if evidence.alert is None or family not in (UNKNOWN, _DENIED):
        return family
    verifier = peer_of(evidence.side)
    stacks = evidence.peer_stacks if evidence.peer_is_openssl else frozenset[str]()
    return (*keep(path.slugs, meant_by(stacks, evidence.alert.code, verifier)), *family)


def _with_namesakes(causes: Slugs, path: CertificationPath, evidence: Evidence) -> Slugs:
    """The causes, and that the verifier may have two CAs of one name and have tried the wrong one.

    OpenSSL does where no identifier tells them apart, and then says that the signature is wrong.
    """
    first: Slugs = ("impostor-authority",)
    is_about_signature = evidence.alert is not None and (
        evidence.alert.code == AlertDescription.decrypt_error
    )
    named = any(lacks_issuer_key(c) and not is_self_issued(c) for c in path.certificates)
    if not is_about_signature or not named or first[0] not in causes:
        return causes
    place = causes.index(first[0]) + 1
    return tuple(dict.fromkeys((*causes[:place], "missing-key-identifier", *causes[place:])))


def _behind_silence(path: CertificationPath, evidence: Evidence) -> Slugs:
    """Why a peer may have closed without an alert after it had seen our certificate, or none.

    node, asyncio, trio and curl since 8.17 refuse so. What is provably wrong with ours comes
    first; without that it is most often a CA that the peer does not have. (Of one that has closed
    cleanly, as whatever looks at a port does, only what our path or its list of CAs shows.)
    """
    if not evidence.own_chain:
        return without_certificate(evidence)
    if evidence.close_notify and not path.slugs:
        listed = accepted_authorities(evidence.recorder)
        if not listed or not issuers(path.certificates).isdisjoint(listed):
            return ()
    family = likely_first({*_BEHIND_SILENCE, *path.slugs})
    return _narrow_as_presenter(family, path, evidence)


def _narrow_as_verifier(family: Slugs, path: CertificationPath, evidence: Evidence) -> Slugs:
    """We know our anchors and the whole path: what the path does not show is not so."""
    shown = _shown_to_us(family, path, evidence)
    # What happened on the way is not in the path. In TLS 1.2, where certificates travel in the
    # clear, a signature that does not fit makes it possible whatever the verdict.
    unsigned = "bad-signature" in path.slugs and not path.anchored
    possible = unsigned and not evidence.is_tls13
    return (*shown, "tampered") if possible and "tampered" not in shown else shown


def _shown_to_us(family: Slugs, path: CertificationPath, evidence: Evidence) -> Slugs:
    if family[0] == "wrong-name":
        # OpenSSL compared the names, and more strictly than examining the path would.
        leaf = end_entity(evidence.peer_chain)
        if leaf is not None and hosts(leaf):
            return ("wrong-name",)
        return family if leaf is None or has_unreadable_names(leaf) else ("no-san",)
    shown = keep(path.slugs, (*family, *_shown_beside(path, evidence)))
    if family == UNKNOWN:
        shown = path.slugs[:1]
    if not shown:
        # OpenSSL found no CA that issued it, and there is one: it could not read what it compares.
        is_there = path.anchored and family[0] == "unknown-authority"
        return ("not-conforming", *UNKNOWN) if is_there else family
    # OpenSSL reports the first that it meets; the others are in the report's ``faults``.
    shown = keep(shown, next((pair for pair in _UNDECIDED if pair <= {*shown}), shown[:1]))
    return (*shown, "clock-skew") if _is_clock_suspect(shown, evidence) else shown


def _shown_beside(path: CertificationPath, evidence: Evidence) -> Slugs:
    kinds = SHOWN_BESIDE.get(evidence.verify_code or 0, ())
    return tuple(fault.slug for fault in path.faults if fault.variant in kinds)


def _is_clock_suspect(shown: Slugs, evidence: Evidence) -> bool:
    """Whether by our clock our own certificate has the same fault of date as the peer's."""
    credential = evidence.context_info.credential
    now = evidence.ended_at
    if credential is None or now is None or not {*shown} <= _DATED.keys():
        return False
    return valid_at(credential.certificate, now) == _DATED[shown[0]]


def _narrow_as_presenter(family: Slugs, path: CertificationPath, evidence: Evidence) -> Slugs:
    """We know our path and not their anchors: what lies with an anchor cannot be ruled out."""
    if evidence.side == "client":
        family = drop(family, _OF_SERVERS_ONLY) or family
    differing = {f.slug for f in path.faults if f.variant == "identifiers-differ"}
    if differing and "unknown-authority" in family:
        # Only OpenSSL minds, and only if its copy of the CA's certificate is like ours.
        sound = replace(path, faults=tuple(f for f in path.faults if f.slug not in differing))
        others = _narrow_as_presenter(family, sound, evidence)
        suspect: Slugs = ("not-conforming",)
        return (*suspect, *others) if evidence.peer_is_openssl else (*others, *suspect)
    shown = keep(family, drop(path.slugs, differing))
    proved = keep(shown, _slugs_of_presented(path, evidence) - {"missing-intermediate"})
    if not path.certificates or (proved and not _may_be_another(shown, family, evidence)):
        return (*proved, *drop(shown, {*proved})) or family
    # What is wrong with a CA that was not sent is one candidate more, and not the likeliest.
    suspected, strict = shown, keep(shown, _slugs_of_presented(path, evidence, strict=True))
    missing: Slugs = keep(shown, ("missing-intermediate",))
    shown = (*proved, *missing, *strict)
    ruled_out = _disproved(path, evidence) - {*suspected}
    remaining = _likelier_first(drop(family, {*ruled_out, *shown}), path, evidence)
    if strict and not (evidence.peer_is_openssl and evidence.alert is not None):
        # Few other verifiers are strict, and to all of them a CA may be unknown.
        usual = keep(remaining[:2], _USUAL)
        shown, remaining = (*proved, *missing, *usual, *strict), drop(remaining, usual)
    possible = (*shown, *remaining) or UNKNOWN
    # The alert for everything else: what is left over when all that is known has been ruled out
    # is not proved by that.
    is_catchall = evidence.alert is not None and evidence.alert.code in _CATCHALLS
    left_over = is_catchall and not shown and len(possible) == 1
    return (*drop(possible, {*UNKNOWN}), *UNKNOWN) if left_over else possible


def _likelier_first(causes: Slugs, path: CertificationPath, evidence: Evidence) -> Slugs:
    """The causes that our path does not show, in the order that it suggests all the same."""
    namesake = same_name_root(path, evidence) is not None
    if path.is_complete:
        # Every signature in it is sound: then only that of a CRL can be bad.
        last: Slugs = ("bad-signature",)
        causes = (*drop(causes, last), *keep(last, causes))
    elif namesake:
        first: Slugs = ("impostor-authority",)
        causes = (*keep(first, causes), *drop(causes, first))
    known, complete = path.certificates, path.is_complete
    causes = by_listed_authorities(causes, known, evidence.recorder, complete=complete)
    pair: Slugs = ("missing-intermediate", "unknown-authority")
    if namesake or not path.why_omitted or not {*pair} <= {*causes}:
        return causes
    place = causes.index(pair[1])
    return tuple(dict.fromkeys((*causes[:place], *pair, *causes[place:])))


def _slugs_of_presented(
    path: CertificationPath, evidence: Evidence, *, strict: bool = False
) -> set[Slug]:
    """The faults of what the verifier has seen; it may have another copy of a CA known here.

    With ``strict`` those that only strict verification minds, and without it the others.
    """
    seen = [c.public_bytes(Encoding.DER) in evidence.own_chain for c in path.certificates]
    return {
        fault.slug
        for fault in path.faults
        if fault.strict is strict and (fault.depth >= len(seen) or seen[fault.depth])
    }


def _may_be_another(shown: Slugs, family: Slugs, evidence: Evidence) -> bool:
    """Whether the alert would be the same if what we see in our path were not all.

    Of a certificate that is self-signed there is no more to see; OpenSSL has an alert of its own
    for nearly every verdict, and other stacks one for all.
    """
    vague = not {"unknown-authority", *UNKNOWN, *_DENIED}.isdisjoint(family)
    precise = evidence.peer_is_openssl and evidence.alert is not None
    return vague and not precise and "self-signed" not in shown


def same_name_root(path: CertificationPath, evidence: Evidence) -> x509.Certificate | None:
    """A root that we know, with the name of our certificate's issuer and another key.

    A CA that was made anew under its old name leaves this behind.
    """
    if not path.certificates or is_self_issued(path.certificates[-1]):
        return None
    mine, issuer = evidence.context_info, issuer_name(path.certificates[-1])
    beside = [
        *(mine.trust.anchors if mine.trust else ()),
        *(n.certificate for n in mine.local_cas),
    ]
    last = path.certificates[-1]
    named = (c for c in beside if is_self_issued(c) and subject_name(c) == issuer)
    return next((c for c in named if is_signed_by(last, c) is False), None)


def _with_tampering(causes: Slugs, path: CertificationPath, evidence: Evidence) -> Slugs:
    """The causes, and that an on-path attacker may have written the alert.

    That is possible where it travels in the clear, and worth saying where little is known.
    """
    is_clear = evidence.alert is not None and evidence.alert.protected is False
    is_vague = len(causes) > 2 or UNKNOWN[0] in causes
    if not is_clear or not is_vague or not {"tampered", *path.slugs}.isdisjoint(causes):
        return causes
    return (*causes, "tampered")


def _disproved(path: CertificationPath, evidence: Evidence) -> set[Slug]:
    """What our own path shows not to be so."""
    ruled_out = set(_ALWAYS_SEEN)
    if evidence.server_name is not None:
        ruled_out |= _OF_SERVERS_ONLY
    if path.is_complete and not path.intermediates:
        ruled_out |= _OF_INTERMEDIATES
    if path.is_complete and not path.omitted:
        ruled_out.add("missing-intermediate")
    if path.is_complete and path.is_readable:
        ruled_out |= _SEEN_WHEN_COMPLETE
        if evidence.peer_is_openssl:
            ruled_out |= _SEEN_BY_OPENSSL
            if not all(map(may_sign_crls, path.certificates[1:])):
                # Which matters to a verifier that has one of its CRLs.
                ruled_out.discard("not-conforming")
        if all(map(is_strong, path.certificates)):
            ruled_out.add("weak-key")
    mine = evidence.context_info
    if mine.credential is not None and owns_its_key(mine.credential):
        ruled_out.add("key-not-owned")
    if hosts(path.certificates[0]):
        ruled_out.add("no-san")
    return ruled_out


def _cannot_sign(evidence: Evidence) -> bool:
    """Whether our own certificate's keyUsage forbids what every current cipher suite needs."""
    credential = evidence.context_info.credential
    if credential is None:
        return False
    path = examine(credential.chain_der, presenter=evidence.side, now=evidence.ended_at)
    return any(fault.slug == "wrong-usage" and fault.depth == 0 for fault in path.faults)
