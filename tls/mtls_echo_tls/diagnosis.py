"""From evidence to causes: small tables, and what the presented certificates add.

Order matters, most certain first: what is not TLS at all, what the two ends said in words, our
own deadline, our own verdict on a certificate, the peer's fatal alert, our other errors, and last
how the transport ended. Who refused follows from the same: an alert received means the peer did,
an error of our own means that we did, and otherwise nobody can know on this side.

An alert names a family of causes (`alerts`), and so does a `verify_code`. The tables give the
family; the certificates that crossed the connection narrow it: what is a fact about them stays,
what is not goes. What remains is the answer. One slug is certain; several say honestly that this
side cannot know, and the other side's report decides.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable

from cryptography import x509

from mtls_echo_tls.alerts import CERTIFICATE_ALERTS, alert_name
from mtls_echo_tls.alerts import AlertDescription as A
from mtls_echo_tls.causes import CAUSES
from mtls_echo_tls.evidence import Evidence, Side
from mtls_echo_tls.identity import end_entity, hosts, names_host, valid_at
from mtls_echo_tls.protocol import denial_in
from mtls_echo_tls.report import Alert, Outcome, Parameters, Report
from mtls_echo_tls.wording import Words, facts, summarise, summary

# X509_V_ERR_* (openssl/x509_vfy.h), stable numbers, unlike the texts beside them.
VERIFY: dict[int, tuple[str, ...]] = {
    2: ("unknown-authority",),
    3: ("crl-missing",),
    7: ("bad-signature", "impostor-authority"),
    8: ("bad-signature",),
    9: ("not-yet-valid", "not-yet-valid-authority"),
    10: ("expired", "expired-authority"),
    11: ("crl-not-yet-valid",),
    12: ("crl-expired",),
    18: ("self-signed",),
    19: ("unknown-authority",),
    20: ("unknown-authority", "missing-intermediate"),
    23: ("revoked", "revoked-authority"),
    25: ("path-too-long",),
    26: ("wrong-usage",),
    34: ("unknown-critical-extension",),
    47: ("name-not-permitted",),
    48: ("name-not-permitted",),
    62: ("wrong-name", "no-san"),
    64: ("wrong-name", "no-san"),
    66: ("weak-key",),
    67: ("weak-key",),
    68: ("weak-signature",),
    79: ("not-an-authority",),
    85: ("missing-key-identifier",),
    86: ("missing-key-identifier",),
}

# The peer's alert, for a certificate of ours that was judged: what it can mean, likely first.
ALERT: dict[int, tuple[str, ...]] = {
    A.bad_certificate: (
        "wrong-name",
        "no-san",
        "not-yet-valid",
        "not-yet-valid-authority",
        "weak-key",
        "weak-signature",
        "clock-skew",
    ),
    A.unsupported_certificate: ("wrong-usage",),
    A.certificate_revoked: ("revoked", "revoked-authority"),
    A.certificate_expired: ("expired", "expired-authority", "clock-skew", "crl-expired"),
    A.certificate_unknown: (
        "name-not-permitted",
        "unknown-critical-extension",
        "missing-key-identifier",
    ),
    A.unknown_ca: (
        "unknown-authority",
        "missing-intermediate",
        "self-signed",
        "not-an-authority",
        "path-too-long",
        "impostor-authority",
        "empty-trust",
        "crl-missing",
    ),
    A.decrypt_error: ("key-not-owned", "bad-signature", "impostor-authority", "tampered"),
    A.certificate_required: ("no-client-certificate",),
    A.access_denied: ("not-authorised",),
    # OpenSSL's TLS 1.3 servers send the same when they have no certificate.
    A.protocol_version: ("no-common-version", "no-server-certificate"),
    A.insufficient_security: ("no-common-cipher",),
    A.inappropriate_fallback: ("downgrade",),
    A.unrecognized_name: ("unrecognised-name",),
    A.no_application_protocol: ("no-common-alpn",),
    A.bad_record_mac: ("tampered",),
    A.decryption_failed: ("tampered",),
    A.record_overflow: ("oversize",),
    A.illegal_parameter: ("downgrade", "oversize"),
}

# Our own errors other than a verdict on a certificate: OpenSSL's reason symbols.
REASON: dict[str, tuple[str, ...]] = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": ("no-client-certificate",),
    "UNSUPPORTED_PROTOCOL": ("no-common-version",),
    "NO_PROTOCOLS_AVAILABLE": ("no-common-version",),
    "VERSION_TOO_LOW": ("no-common-version",),
    "NO_SHARED_CIPHER": ("no-common-cipher", "no-common-signature-algorithm", "no-common-group"),
    "NO_SUITABLE_KEY_SHARE": ("no-common-group",),
    "NO_SUITABLE_SIGNATURE_ALGORITHM": ("no-common-signature-algorithm",),
    "NO_APPLICATION_PROTOCOL": ("no-common-alpn",),
    "BAD_SIGNATURE": ("key-not-owned", "tampered"),
    "HTTP_REQUEST": ("plaintext-client",),
    "HTTPS_PROXY_REQUEST": ("plaintext-client",),
    # A peer that never spoke TLS was told by its first bytes: these came in the middle.
    "WRONG_VERSION_NUMBER": ("tampered",),
    "DECRYPTION_FAILED_OR_BAD_RECORD_MAC": ("tampered",),
    "PACKET_LENGTH_TOO_LONG": ("oversize",),
    "EXCESSIVE_MESSAGE_SIZE": ("oversize",),
    "INAPPROPRIATE_FALLBACK": ("downgrade",),
}

# Where a reason says less than the alert that OpenSSL answered it with: 3.6 reports every damaged
# record as RECORD_LAYER_FAILURE.
OWN_ALERT: dict[int, tuple[str, ...]] = {
    A.bad_record_mac: ("tampered",),
    A.record_overflow: ("oversize",),
    A.protocol_version: ("no-common-version",),
}

# What one look at the judged end-entity certificate decides: the fault is there, or it is not
# and the cause is ruled out. Causes without an entry cannot be decided that way.
_Glance = Callable[[x509.Certificate, Evidence, datetime.datetime], bool]
_GLANCES: dict[str, _Glance] = {
    "expired": lambda leaf, _, now: valid_at(leaf, now) > 0,
    "not-yet-valid": lambda leaf, _, now: valid_at(leaf, now) < 0,
    "self-signed": lambda leaf, _, __: leaf.issuer == leaf.subject,
    "no-san": lambda leaf, _, __: not hosts(leaf),
    "wrong-name": lambda leaf, evidence, _: (
        bool(hosts(leaf))
        and evidence.server_name is not None
        and not names_host(leaf, evidence.server_name)
    ),
}

# Nobody looks for a host's name in a client's certificate.
_OF_SERVERS_ONLY = {"wrong-name", "no-san"}


def diagnose(evidence: Evidence) -> Report:
    """Say what the evidence means; never raises, and never claims more than it knows.

    For a connection on which nothing failed, the report says so (outcome ``echoed``).
    """
    evidence.read_recording()
    evidence.finish()
    if evidence.denied is None and evidence.side == "client":
        evidence.denied = denial_in(evidence.last_words)
    outcome, rejected_by, causes = _judge(evidence)
    cause = CAUSES[causes[0]] if causes else None
    return Report(
        side=evidence.side,
        outcome=outcome,
        rejected_by=rejected_by,
        stage=evidence.stage,
        causes=list(causes),
        alert=_alert(evidence),
        verify_code=evidence.verify_code,
        evidence=facts(evidence, rejected_by, causes),
        summary=summary(evidence, outcome, rejected_by, causes),
        remedy=Words(evidence.side, rejected_by).remedy(cause) if cause else "",
        rfc=cause.rfc if cause else "",
        tls=_parameters(evidence),
        peer=summarise(evidence.peer_chain),
        own=summarise(evidence.own_chain),
        client_random=evidence.client_random,
        duration_ms=round((evidence.duration or 0.0) * 1000, 3),
    )


def _judge(evidence: Evidence) -> tuple[Outcome, Side | None, tuple[str, ...]]:
    """The outcome, who refused, and the causes, most certain evidence first."""
    me = evidence.side
    peer: Side = "server" if me == "client" else "client"
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
        return "refused", me, _causes_of_verdict(evidence.verify_code, evidence)
    if evidence.alert is not None and not evidence.alert.sent:
        outcome: Outcome = "denied" if evidence.alert.code == A.access_denied else "refused"
        return outcome, peer, _causes_of_alert(evidence.alert.code, evidence)
    if evidence.reason is not None:
        return "refused", me, _causes_of_reason(evidence.reason, evidence)
    if evidence.transport_end == "reset":
        return "failed", None, ("reset",)
    if evidence.transport_end == "eof":
        ended = "truncated" if evidence.stage == "established" else "closed-without-alert"
        return "failed", None, (ended,)
    if evidence.stage != "established" and evidence.close_notify:
        return "failed", None, ("closed-without-alert",)
    if evidence.failed:
        return "failed", None, ("internal-error",)
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


def _causes_of_verdict(verify_code: int, evidence: Evidence) -> tuple[str, ...]:
    """The causes of our own verdict on the peer's certificate."""
    causes = VERIFY.get(verify_code, ("internal-error",))
    if causes[0] == "wrong-name":
        # OpenSSL compared the names, and more strictly than any second look would.
        leaf = end_entity(evidence.peer_chain)
        return causes if leaf is None else (("wrong-name",) if hosts(leaf) else ("no-san",))
    judged: Side = "server" if evidence.side == "client" else "client"
    return _narrow(causes, evidence.peer_chain, judged, evidence)


def _causes_of_reason(reason: str, evidence: Evidence) -> tuple[str, ...]:
    """The causes of an error that our own side found."""
    sent = OWN_ALERT.get(evidence.alert.code) if evidence.alert is not None else None
    return REASON.get(reason) or sent or ("internal-error",)


def _causes_of_alert(code: int, evidence: Evidence) -> tuple[str, ...]:
    """The causes of a verdict that the peer announced."""
    unknown = ("internal-error",)
    # Without a recording (see `trace`) nothing is known of what was asked for and presented.
    recorded = evidence.client_random is not None
    if (
        recorded
        and not evidence.own_chain
        and (code in CERTIFICATE_ALERTS | {A.handshake_failure})
    ):
        # Which alert a missing certificate gets differs: handshake_failure in TLS 1.2 (RFC 5246
        # §7.4.6), certificate_required in TLS 1.3, bad_certificate from Java and older Go.
        if evidence.side == "client" and evidence.certificate_requested:
            return ("no-client-certificate",)
        if code != A.handshake_failure:
            return unknown  # there was no certificate of ours to judge
    if code == A.handshake_failure:
        # Before ServerHello it says "no common parameters", and after it nothing in particular.
        if evidence.hello_answered or evidence.side == "server":
            return unknown
        return ("no-common-cipher", "no-common-group", "no-common-signature-algorithm",
                "no-server-certificate")  # fmt: skip
    causes = ALERT.get(code, unknown)
    if evidence.side == "server" or evidence.hello_answered:
        # Only a server that has not answered yet can be without a certificate.
        causes = tuple(slug for slug in causes if slug != "no-server-certificate")
    return _narrow(causes, evidence.own_chain, evidence.side, evidence)


def _narrow(
    causes: tuple[str, ...], chain: tuple[bytes, ...], judged: Side, evidence: Evidence
) -> tuple[str, ...]:
    """Keep the causes that the judged certificate shows; if none, those it does not rule out."""
    if judged == "client":
        causes = tuple(slug for slug in causes if slug not in _OF_SERVERS_ONLY) or causes
    leaf = end_entity(chain)
    if leaf is None or len(causes) == 1:
        return causes
    now = datetime.datetime.now(datetime.UTC)
    shown: list[str] = []
    possible: list[str] = []
    for slug in causes:
        glance = _GLANCES.get(slug)
        if glance is None or (slug == "wrong-name" and evidence.server_name is None):
            possible.append(slug)
        elif glance(leaf, evidence, now):
            shown.append(slug)
    return tuple(shown or possible) or causes


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
