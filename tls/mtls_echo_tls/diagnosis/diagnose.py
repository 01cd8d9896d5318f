"""From evidence to causes: small tables, and a second look at the presented certificates.

Order matters, most certain first: what is not TLS at all, what the two ends said in words, our
own deadline, our own verdict on a certificate, the peer's fatal alert, our other errors, and last
how the transport ended. Who refused follows from the same: an alert received means the peer did,
an error of our own means that we did, and otherwise nobody can know on this side.

An alert names a family of causes (`alerts`), and so does a `verify_code`. The tables give the
family; where the peer can only be OpenSSL (`stack`), the alert's family is a smaller one. The path
that was judged, examined once more offline (`path`), narrows it (`narrowing`): the peer's path and
our anchors when we judged, our own path when the peer did. One slug is certain; several say
honestly that the other side's report decides.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.serialization import Encoding

from mtls_echo_pki.certificates.reading import fingerprint
from mtls_echo_tls.alerts import CERTIFICATE_ALERTS, alert_name
from mtls_echo_tls.alerts import AlertDescription as A
from mtls_echo_tls.causes import CAUSES, OWNERS, Slug, Slugs, drop
from mtls_echo_tls.diagnosis.evidence import Evidence
from mtls_echo_tls.diagnosis.narrowing import UNKNOWN, narrow, second_look
from mtls_echo_tls.diagnosis.report import Alert, FaultFound, Issuer, Outcome, Parameters, Report
from mtls_echo_tls.diagnosis.tables import ALERT, OPENSSL_ALERT, OWN_ALERT, REASON, VERIFY
from mtls_echo_tls.diagnosis.wording import Words, facts, remedy, summary
from mtls_echo_tls.path.summaries import summarise
from mtls_echo_tls.path.validate import CertificationPath
from mtls_echo_tls.sides import Side, peer_of
from mtls_echo_tls.trace.decoding import trace_of

# What OpenSSL accepts as a Certificate message, in bytes (SSL_MAX_CERT_LIST_DEFAULT).
_LONGEST_CERTIFICATE_MESSAGE = 100 * 1024

# Trust anchors named in a report; a bundle of the web's authorities has more.
_MOST_ANCHORS = 32


def diagnose(evidence: Evidence) -> Report:
    """Say what the evidence means; never raises, and never claims more than it knows.

    For a connection on which nothing failed, the report says so (outcome ``echoed``).
    """
    evidence = evidence.concluded()
    outcome, rejected_by, family = _judge(evidence)
    path = second_look(evidence, rejected_by)
    causes, owner = narrow(family, path, evidence, rejected_by)
    words = Words(
        evidence.side,
        rejected_by,
        owner or (OWNERS.get(causes[0]) if causes else None),
        evidence.context_info.vocabulary,
    )
    return Report(
        side=evidence.side,
        outcome=outcome,
        rejected_by=rejected_by,
        stage=evidence.stage,
        causes=list(causes),
        faults=_faults(path),
        alert=_alert(evidence),
        verify_code=evidence.verify_code,
        evidence=facts(evidence, words, causes, path),
        summary=summary(evidence, outcome, words, causes),
        remedy=remedy(evidence, words, causes, path),
        rfc=CAUSES[causes[0]].rfc if causes else "",
        tls=_parameters(evidence),
        peer=summarise(evidence.peer_chain),
        own=summarise(evidence.own_chain),
        anchors=_anchors(evidence),
        issuers=_issuers(path, evidence) if rejected_by not in (None, evidence.side) else [],
        client_random=evidence.client_random,
        duration_ms=round((evidence.duration or 0.0) * 1000, 3),
        trace=trace_of(evidence.recorder),
    )


def _judge(evidence: Evidence) -> tuple[Outcome, Side | None, Slugs]:
    """The outcome, who refused, and the family of causes, most certain evidence first."""
    me = evidence.side
    peer = peer_of(me)
    if evidence.denied is not None:
        return "denied", "server", ("not-authorised",)
    if evidence.mismatched_echo is not None:
        return "failed", None, ("altered-echo",)
    if evidence.closed_early is not None:
        return "failed", None, ("closed-without-alert",)
    if evidence.stage == "connect":
        return "failed", None, ("timeout" if evidence.timed_out else "no-connection",)
    if evidence.version is None and not _is_tls(evidence):
        # Whatever OpenSSL made of it (it depends on the bytes), it never was TLS.
        return "failed", None, ("plaintext-peer" if me == "client" else "plaintext-client",)
    if evidence.timed_out:
        return "failed", None, ("timeout",)
    if evidence.verify_code is not None:
        return "refused", me, VERIFY.get(evidence.verify_code, UNKNOWN)
    if evidence.alert is not None and not evidence.alert.sent:
        outcome: Outcome = "denied" if evidence.alert.code == A.access_denied else "refused"
        return outcome, peer, _family_of_alert(evidence.alert.code, evidence)
    if evidence.reason is not None:
        return "refused", me, _family_of_reason(evidence.reason, evidence)
    if evidence.alert is not None and evidence.failed:
        # An error of OpenSSL's parsers has no reason of its own.
        return "refused", me, OWN_ALERT.get(evidence.alert.code, UNKNOWN)
    if evidence.no_common_alpn:
        # Python cannot send no_application_protocol, so whoever minds closes without a word.
        return "refused", me if evidence.failed else peer, ("no-common-alpn",)
    if evidence.transport_end == "reset":
        return "failed", None, ("reset",)
    if evidence.transport_end == "eof":
        ended: Slug = "truncated" if evidence.stage == "established" else "closed-without-alert"
        return "failed", None, (ended,)
    if evidence.stage != "established" and evidence.close_notify:
        return "failed", None, ("closed-without-alert",)
    if evidence.failed:
        return "failed", None, UNKNOWN
    if evidence.stage != "established" or evidence.abandoned:
        # We ended it ourselves: nothing failed, and nothing was proved either.
        return "failed", None, ()
    return "echoed", None, ()


def _is_tls(evidence: Evidence) -> bool:
    """Whether the first bytes received can be a TLS peer's, and not our own sent back."""
    first = evidence.first_bytes
    if not first:
        return True
    # ContentType 20 to 23, then a version whose first byte is 3 (RFC 8446 §5.1).
    if first[0] not in range(20, 24) or first[1:2] not in (b"", b"\x03"):
        return False
    random = evidence.client_random
    echoed = evidence.side == "client" and random is not None and random in first.hex()
    return not echoed


def _family_of_reason(reason: str, evidence: Evidence) -> Slugs:
    """The causes of an error that our own side found."""
    if reason == "BAD_SIGNATURE" and evidence.is_tls13:
        # There CertificateVerify is encrypted: who alters it on the way damages a record.
        return ("key-not-owned",)
    mine = evidence.context_info
    if evidence.side == "server" and reason == "UNSUPPORTED_PROTOCOL":
        # An OpenSSL server without a certificate says the same of TLS 1.3.
        common = evidence.tls13_offered and evidence.tls13_enabled
        return ("no-server-certificate",) if common else ("no-common-version",)
    if evidence.side == "server" and reason == "NO_SHARED_CIPHER" and mine.credential is None:
        # So it does in TLS 1.2; whether a context has a certificate, it does not tell.
        without: Slugs = ("no-server-certificate",)
        return without if mine.declared else (*REASON[reason], *without)
    if reason == "NO_SHARED_CIPHER" and evidence.not_shared:
        return evidence.not_shared
    sent = OWN_ALERT.get(evidence.alert.code) if evidence.alert is not None else None
    return REASON.get(reason) or sent or UNKNOWN


def _family_of_alert(code: int, evidence: Evidence) -> Slugs:
    """The causes of a verdict that the peer announced."""
    if code == A.handshake_failure and evidence.version not in (None, "TLSv1.3"):
        # After one handshake it is the end of another, which we do not take part in.
        return ("renegotiation",)
    # Without a recording (see `trace`) nothing is known of what was asked for and presented.
    recorded = evidence.client_random is not None
    if recorded and not evidence.own_chain and code in CERTIFICATE_ALERTS | {A.handshake_failure}:
        # Which alert a missing certificate gets differs: handshake_failure in TLS 1.2 (RFC 5246
        # §7.4.6), certificate_required in TLS 1.3, bad_certificate from Java and older Go.
        if evidence.side == "client" and evidence.certificate_requested:
            return ("no-client-certificate",)
        if code != A.handshake_failure:
            return UNKNOWN  # there was no certificate of ours to judge
    if code == A.illegal_parameter:
        return _family_of_illegal_parameter(evidence)
    if code == A.handshake_failure:
        # Before ServerHello it says "no common parameters", and after it nothing in particular.
        if evidence.hello_answered or evidence.side == "server":
            return UNKNOWN
        return ("no-common-cipher", "no-common-group", "no-common-signature-algorithm",
                "no-server-certificate", "wrong-usage")  # fmt: skip
    openssl = OPENSSL_ALERT.get(code) if evidence.peer_is_openssl else None
    causes = openssl or ALERT.get(code, UNKNOWN)
    without = code == A.protocol_version and not evidence.tls13_offered
    if evidence.side == "server" or evidence.hello_answered or without:
        # Only a server that has not answered yet can be without a certificate; it says so with
        # protocol_version where TLS 1.3 was offered, and with handshake_failure where it was not.
        causes = drop(causes, {"no-server-certificate"})
    return causes


def _family_of_illegal_parameter(evidence: Evidence) -> Slugs:
    if sum(map(len, evidence.own_chain)) > _LONGEST_CERTIFICATE_MESSAGE:
        return ("oversize",)
    # Only a client compares the version with what the server's random says of it.
    first: Slug = "downgrade" if evidence.side == "server" else "internal-error"
    return (first, "tampered")


# --- the report ----------------------------------------------------------------------------------


def _faults(path: CertificationPath) -> list[FaultFound]:
    prints = [fingerprint(certificate) for certificate in path.certificates]
    return [
        FaultFound(
            slug=fault.slug,
            depth=fault.depth,
            detail=fault.detail,
            fingerprint=prints[fault.depth] if fault.depth < len(prints) else None,
        )
        for fault in path.faults
    ]


def _anchors(evidence: Evidence) -> list[str]:
    """Whom we would have believed, where we refused a certificate."""
    known = evidence.context_info
    if evidence.verify_code is None or not known.complete or known.trust is None:
        return []
    anchors = known.trust.fingerprints
    return list(anchors) if len(anchors) <= _MOST_ANCHORS else []


def _issuers(path: CertificationPath, evidence: Evidence) -> list[Issuer]:
    """The authorities above our own certificate, as far as they are known here."""
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
        alpn=evidence.alpn,
        server_name=evidence.server_name,
        resumed=evidence.resumed,
    )
