"""The diagnosis: from the evidence of a connection to its report, step by step.

Each step is a pure function of the values before it:

    Evidence  ->  Verdict             who refused, and what it can mean       `verdict`
              ->  the path, faults    the certificates examined again         here
              ->  causes              those that the path leaves possible     `narrowing`
              ->  Report              the same in words, for the reader       `wording`

One cause is certain; several say honestly that the other side's report decides
(`mtls_echo_tls.diagnosis.joint`).
"""

from __future__ import annotations

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec.structs import replace

from mtls_echo_pki.certificates.identifiers import (
    has_unreadable_names,
    subject_alternative_names,
)
from mtls_echo_pki.certificates.reading import (
    fingerprint,
    is_self_issued,
    issuer_name,
    subject_name,
)
from mtls_echo_tls.alerts import alert_name
from mtls_echo_tls.causes import OWNERS
from mtls_echo_tls.diagnosis import tables
from mtls_echo_tls.diagnosis.evidence import Evidence
from mtls_echo_tls.diagnosis.narrowing import OWN_CHAIN, narrow
from mtls_echo_tls.diagnosis.perspective import Perspective, fault_of, texts_of
from mtls_echo_tls.diagnosis.report import Alert, FaultFound, Issuer, Parameters, Report
from mtls_echo_tls.diagnosis.verdict import (
    Verdict,
    ground_of,
    is_silent,
    verdict_of,
    went_well,
    without_certificate,
)
from mtls_echo_tls.diagnosis.wording import accepted, facts, remedy, summary
from mtls_echo_tls.fault_causes import fix_of
from mtls_echo_tls.path.certificates import end_entity, odd_curve
from mtls_echo_tls.path.reference import listed_hosts
from mtls_echo_tls.path.rules import Fault, short_name
from mtls_echo_tls.path.summaries import bounded, summarise
from mtls_echo_tls.path.validate import CertificationPath, examine
from mtls_echo_tls.sides import Side, peer_of
from mtls_echo_tls.slugs import Slug, Slugs
from mtls_echo_tls.stacks.alerts import meant_by
from mtls_echo_tls.trace.cipher_mismatch import owns_its_key, why_unfit
from mtls_echo_tls.trace.decoding import trace_of

# Stacks whose clients send the name that they ask for.
_NAMING = frozenset({"OpenSSL", "Go up to 1.20", "Go since 1.21", "rustls", "Java"})

# What depends on the anchors that a path leads to.
_OF_ANCHORS: Slugs = ("unknown-authority", "missing-intermediate", "impostor-authority")

# Why a certificate of ours was not sent.
_WITHHELD: Slugs = ("no-client-certificate", "no-common-signature-algorithm")

_DENIED: Slug = "not-authorised"

# Trust anchors named in a report; a bundle of the web's CAs has more.
_MOST_ANCHORS = 32


def diagnose(evidence: Evidence) -> Report:
    """Say what the evidence means; never raises, and never claims more than it knows.

    For a connection on which nothing failed, the report says so (outcome ``echoed``).
    """
    return _success(evidence) if evidence.is_success else _diagnose(evidence)


def _success(evidence: Evidence) -> Report:
    """As `_diagnose`, of a connection of which there is nothing to explain: as most are."""
    return Report(
        side=evidence.side,
        outcome=went_well(evidence),
        rejected_by=None,
        stage=evidence.stage,
        causes=[],
        alert=None,
        verify_code=None,
        evidence=[],
        summary=accepted(evidence.side),
        remedy="",
        rfc="",
        tls=_parameters(evidence),
        requested=evidence.certificate_request,
        peer=summarise(evidence.peer_chain),
        own=summarise(evidence.own_chain),
        client_random=evidence.client_random,
        duration_ms=round(evidence.lasted * 1000, 3),
    )


def _diagnose(evidence: Evidence) -> Report:
    observed = evidence.concluded()
    verdict = verdict_of(observed)
    path = _examine_path(observed, verdict)
    causes, owner = narrow(observed, verdict, path)
    if observed.answer is not None and verdict.outcome == "denied" and causes[0] != _DENIED:
        # Turned away in HTTP, and most likely for its certificate.
        verdict = replace(verdict, outcome="refused")
    return _report(observed, verdict, path, causes, owner)


def _examine_path(evidence: Evidence, verdict: Verdict) -> CertificationPath:
    """Examine the path that was refused: the peer's when we refused, ours when the peer did."""
    rejected_by = verdict.rejected_by
    silent = is_silent(verdict, evidence)
    if rejected_by is None and not silent:
        return CertificationPath()
    unfit = _unfit_key(evidence, verdict)
    if unfit is not None:
        return CertificationPath(faults=(unfit,))
    if silent:
        return _own_path(evidence)
    if rejected_by != evidence.side:
        path = _with_address(_own_path(evidence), evidence)
        return _with_key(path, evidence) if "key-not-owned" in verdict.candidates else path
    if evidence.verify_code is None:
        # OpenSSL did not send our own chain.
        return _own_path(evidence) if ground_of(evidence) in OWN_CHAIN else CertificationPath()
    mine = evidence.context_info
    known = mine.trust if mine.complete else None
    our_chain = mine.credential.path if mine.credential else ()
    return examine(
        evidence.peer_chain,
        presenter=peer_of(evidence.side),
        anchors=known.anchors if known else None,
        crls=known.crls if known else (),
        reference=evidence.server_name if evidence.side == "client" else None,
        others=(*our_chain, *(one.certificate for one in mine.local_cas)),
        now=evidence.ended_at,
        strict=mine.strict,
    )


def _unfit_key(evidence: Evidence, verdict: Verdict) -> Fault | None:
    """A configured certificate that OpenSSL or the peer could not use, for the sake of its key."""
    cause, mine = verdict.candidates[0], evidence.context_info.credential
    only_tls13 = evidence.is_tls13 or evidence.reason == "UNSUPPORTED_PROTOCOL"
    if cause in tables.SILENT and not evidence.own_chain:
        cause = without_certificate(evidence)[0]
    if evidence.side == "server" and verdict.candidates[:2] == _WITHHELD:
        sent = evidence.certificate_request
        shown = ", ".join(sent.signature_algorithms[:8]) if sent is not None else "none"
        return Fault(_WITHHELD[1], 0, f"the server accepts {shown}", "withheld")
    withheld = evidence.certificate_requested and not evidence.own_chain
    if evidence.side == "client" and withheld and cause in _WITHHELD and mine is not None:
        wanted = evidence.recorder.find("received", "CertificateRequest")
        why = why_unfit(mine.certificate, wanted, evidence.side, only_tls13=only_tls13)
        return Fault(cause, 0, why, "not-sent")
    if cause != "no-common-signature-algorithm":
        return None
    if evidence.side == "server" and verdict.rejected_by == "server" and not evidence.peer_chain:
        if mine is None:
            return None
        wanted = evidence.recorder.find("received", "ClientHello")
        return Fault(
            cause,
            0,
            why_unfit(mine.certificate, wanted, evidence.side, only_tls13=only_tls13),
            "not-used",
        )
    ours = verdict.rejected_by != evidence.side
    curve = odd_curve(end_entity(evidence.own_chain if ours else evidence.peer_chain))
    detail = f"it is on the curve {curve}, which few programs accept"
    return Fault(cause, 0, detail, "odd-curve") if curve else None


def _own_path(evidence: Evidence) -> CertificationPath:
    """Examine what we presented, or would have."""
    mine = evidence.context_info
    configured = mine.credential.chain_der if mine.credential else ()
    return examine(
        evidence.own_chain or (configured if ground_of(evidence) in OWN_CHAIN else ()),
        presenter=evidence.side,
        # On the server the name is SNI; a client that asked for an address sends none.
        reference=evidence.server_name if evidence.side == "server" else None,
        others=(
            *(mine.trust.anchors if mine.trust else ()),
            *(one.certificate for one in mine.local_cas),
        ),
        now=evidence.ended_at,
    )


def _with_address(path: CertificationPath, evidence: Evidence) -> CertificationPath:
    """The path, and that it does not name the address which the client must have asked for.

    No client sends an address as SNI (RFC 6066 §3), and these stacks send every name; Java, every
    one that has a dot. OpenSSL refuses a wrong name and a wrong address with bad_certificate,
    before it looks at dates.
    """
    alert, stacks = evidence.alert, evidence.peer_stacks
    if not stacks and evidence.peer_is_openssl:
        stacks = frozenset({"OpenSSL"})
    if evidence.side != "server" or evidence.server_name or alert is None:
        return path
    if not stacks or not stacks <= _NAMING or not path.certificates:
        return path
    leaf = path.certificates[0]
    if "wrong-name" not in meant_by(stacks, alert.code, "client") or has_unreadable_names(leaf):
        return path
    names = subject_alternative_names(leaf)
    dotless = any("." not in name for name in names.get_values_for_type(x509.DNSName))
    if names.get_values_for_type(x509.IPAddress) or (dotless and "Java" in stacks):
        return path
    named = listed_hosts(leaf)
    detail = f"it names {named or 'no host'}, and no address; no name was asked for"
    fault = Fault("wrong-name" if named else "no-san", 0, detail)
    return replace(path, faults=(*path.faults, fault))


def _with_key(path: CertificationPath, evidence: Evidence) -> CertificationPath:
    """The path, and that the key we sign with is not the certificate's, if that is so.

    OpenSSL loads them all the same if the file of an EC key (RFC 5915) says that it is.
    """
    mine = evidence.context_info.credential
    presented = path.certificates[:1] == (mine.certificate,) if mine is not None else False
    if mine is None or not presented or owns_its_key(mine):
        return path
    detail = "the private key that was loaded belongs to another public key"
    return replace(path, faults=(Fault("key-not-owned", 0, detail), *path.faults))


def _report(
    evidence: Evidence,
    verdict: Verdict,
    path: CertificationPath,
    causes: Slugs,
    owner: Side | None,
) -> Report:
    rejected_by = verdict.rejected_by
    owner = owner or (OWNERS.get(causes[0]) if causes else None)
    faults, mine = _faults(path, evidence), evidence.context_info
    vocabulary = mine.vocabulary.for_other_files() if mine.other_files else mine.vocabulary
    about = _suspected(path)
    words = Perspective(
        evidence.side, rejected_by, owner, vocabulary, faults, ground_of(evidence), about
    )
    return Report(
        side=evidence.side,
        outcome=verdict.outcome,
        rejected_by=rejected_by,
        stage=evidence.stage,
        causes=list(causes),
        faults=faults,
        alert=_alert(evidence),
        verify_code=evidence.verify_code,
        evidence=facts(evidence, words, causes, path),
        summary=summary(evidence, verdict.outcome, words, causes),
        remedy=remedy(evidence, words, causes, path),
        rfc=_rfc(causes[0], words) if causes else "",
        tls=_parameters(evidence),
        requested=evidence.certificate_request,
        answer=evidence.answer,
        peer=summarise(evidence.peer_chain),
        own=summarise(evidence.own_chain),
        anchors=_anchors(evidence),
        issuers=_issuers(path, evidence) if rejected_by not in (None, evidence.side) else [],
        client_random=evidence.client_random,
        duration_ms=round((evidence.duration or 0.0) * 1000, 3),
        trace=trace_of(evidence.recorder),
    )


def _rfc(slug: Slug, words: Perspective) -> str:
    return texts_of(slug, fault_of(slug, words.faults), None, words.reason).rfc


def _faults(path: CertificationPath, evidence: Evidence) -> list[FaultFound]:
    presenter = peer_of(evidence.side) if evidence.verify_code is not None else evidence.side
    return [_fault(fault, path, presenter) for fault in path.faults]


def _fault(fault: Fault, path: CertificationPath, presenter: Side) -> FaultFound:
    found = _located(fault, path)
    return replace(found, fix=fault.fix or fix_of(fault.slug, presenter))


def _located(fault: Fault, path: CertificationPath) -> FaultFound:
    found = FaultFound(
        slug=fault.slug, depth=fault.depth, detail=fault.detail, variant=fault.variant
    )
    if fault.depth >= len(path.certificates):
        return found
    certificate = path.certificates[fault.depth]
    return replace(
        found,
        fingerprint=fingerprint(certificate),
        subject=bounded(short_name(subject_name(certificate))),
        issuer=bounded(short_name(issuer_name(certificate))),
        root=is_self_issued(certificate),
    )


def _suspected(path: CertificationPath) -> list[FaultFound]:
    """Where in a path that is as it should be the causes would lie that only the verifier sees."""
    if not path.certificates:
        return []
    depth = len(path.certificates) - 1
    if depth and is_self_issued(path.certificates[-1]):
        depth -= 1  # the CA is the root, and this is what the root has issued
    return [_located(Fault(slug, depth, ""), path) for slug in _OF_ANCHORS]


def _anchors(evidence: Evidence) -> list[str]:
    """Our trust anchors, where we refused a certificate."""
    known = evidence.context_info
    if evidence.verify_code is None or not known.complete or known.trust is None:
        return []
    anchors = known.trust.fingerprints
    return list(anchors) if len(anchors) <= _MOST_ANCHORS else []


def _issuers(path: CertificationPath, evidence: Evidence) -> list[Issuer]:
    """The CAs above our own certificate, as far as they are known here."""
    return [
        Issuer(
            fingerprint=fingerprint(certificate),
            presented=certificate.public_bytes(Encoding.DER) in evidence.own_chain,
            root=path.is_complete and certificate == path.certificates[-1],
        )
        for certificate in path.certificates[1:]
    ]


def _alert(evidence: Evidence) -> Alert | None:
    seen = evidence.alert
    if seen is None:
        return None
    return Alert(
        name=alert_name(seen.code),
        code=seen.code,
        direction="sent" if seen.sent else "received",
        protected=seen.protected,
    )


def _parameters(evidence: Evidence) -> Parameters | None:
    if evidence.version is None:
        return None
    return Parameters(
        version=evidence.version,
        cipher=evidence.cipher,
        group=evidence.group,
        signature=evidence.signature,
        alpn=evidence.alpn,
        server_name=evidence.server_name,
        resumed=evidence.resumed,
    )
