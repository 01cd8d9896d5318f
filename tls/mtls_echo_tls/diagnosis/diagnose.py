"""The diagnosis: from the evidence of a connection to its report, step by step.

Each step is a pure function of the values before it:

    Evidence  ->  Verdict             who refused, and what it can mean       `verdict`
              ->  the path, faults    the certificates examined again         `narrowing`
              ->  causes              those that the path leaves possible     `narrowing`
              ->  Report              the same in words, for the reader       `wording`

One cause is certain; several say honestly that the other side's report decides
(`mtls_echo_tls.diagnosis.joint`).
"""

from __future__ import annotations

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding

from mtls_echo_pki.certificates.reading import (
    fingerprint,
    is_self_issued,
    issuer_name,
    subject_name,
)
from mtls_echo_tls.alerts import alert_name
from mtls_echo_tls.causes import OWNERS
from mtls_echo_tls.diagnosis.evidence import Evidence
from mtls_echo_tls.diagnosis.narrowing import examine_path, narrow
from mtls_echo_tls.diagnosis.report import Alert, FaultFound, Issuer, Parameters, Report
from mtls_echo_tls.diagnosis.verdict import Verdict, verdict_of
from mtls_echo_tls.diagnosis.wording import (
    Perspective,
    facts,
    fault_of,
    remedy,
    summary,
    texts_of,
)
from mtls_echo_tls.fault_causes import fix_of
from mtls_echo_tls.path.rules import Fault, short_name
from mtls_echo_tls.path.summaries import bounded, summarise
from mtls_echo_tls.path.validate import CertificationPath
from mtls_echo_tls.sides import Side, peer_of
from mtls_echo_tls.slugs import Slug, Slugs
from mtls_echo_tls.trace.decoding import trace_of

# Trust anchors named in a report; a bundle of the web's CAs has more.
_MOST_ANCHORS = 32


def diagnose(evidence: Evidence) -> Report:
    """Say what the evidence means; never raises, and never claims more than it knows.

    For a connection on which nothing failed, the report says so (outcome ``echoed``).
    """
    observed = evidence.concluded()
    verdict = verdict_of(observed)
    path = examine_path(observed, verdict)
    causes, owner = narrow(observed, verdict, path)
    return _report(observed, verdict, path, causes, owner)


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
    words = Perspective(evidence.side, rejected_by, owner, vocabulary, faults, evidence.ground)
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
    found = FaultFound(
        slug=fault.slug,
        depth=fault.depth,
        detail=fault.detail,
        variant=fault.variant,
        fix=fault.fix or fix_of(fault.slug, presenter),
    )
    if fault.depth >= len(path.certificates):
        return found
    certificate = path.certificates[fault.depth]
    return msgspec.structs.replace(
        found,
        fingerprint=fingerprint(certificate),
        subject=bounded(short_name(subject_name(certificate))),
        issuer=bounded(short_name(issuer_name(certificate))),
        root=is_self_issued(certificate),
    )


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
