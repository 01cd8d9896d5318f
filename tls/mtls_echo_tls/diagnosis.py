"""From evidence to causes: small tables, and a second look at the presented certificates.

Order matters, most certain first: what is not TLS at all, what the two ends said in words, our
own deadline, our own verdict on a certificate, the peer's fatal alert, our other errors, and last
how the transport ended. Who refused follows from the same: an alert received means the peer did,
an error of our own means that we did, and otherwise nobody can know on this side.

An alert names a family of causes (`alerts`), and so does a `verify_code`. The tables give the
family. The path that was judged, examined once more offline (`path`), narrows it: the peer's path
and our anchors when we judged, our own path when the peer did. A cause that the path shows stays;
one that the path rules out goes; what nobody on this side can know remains. One slug is certain;
several say honestly that the other side's report decides.
"""

from __future__ import annotations

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from mtls_echo_pki import Credential
from mtls_echo_tls.alerts import CERTIFICATE_ALERTS, alert_name
from mtls_echo_tls.alerts import AlertDescription as A
from mtls_echo_tls.causes import CAUSES
from mtls_echo_tls.decoding import trace_of
from mtls_echo_tls.evidence import Evidence, Side
from mtls_echo_tls.identity import end_entity, has_unreadable_names, hosts
from mtls_echo_tls.path import Path, examine
from mtls_echo_tls.protocol import denial_in
from mtls_echo_tls.report import Alert, FaultFound, Outcome, Parameters, Report
from mtls_echo_tls.tables import ALERT, OWN_ALERT, REASON, VERIFY
from mtls_echo_tls.wording import Words, facts, summarise, summary

# What our own path shows whatever the peer's anchors are: if it does not, it is not so.
_ALWAYS_SEEN = frozenset({"expired", "not-yet-valid", "self-signed", "weak-signature"})

# Nobody looks for a host's name in a client's certificate.
_OF_SERVERS_ONLY = frozenset({"wrong-name", "no-san"})

# What lies with an authority between end-entity and anchor; without one it cannot be.
_OF_INTERMEDIATES = frozenset({"path-too-long", "revoked-authority"})

# Found together, these are two readings of one fault, not two faults.
_UNDECIDED = (
    frozenset({"unknown-authority", "missing-intermediate"}),
    frozenset({"bad-signature", "impostor-authority"}),
)

# What OpenSSL accepts as a Certificate message, in bytes (SSL_MAX_CERT_LIST_DEFAULT).
_LONGEST_CERTIFICATE_MESSAGE = 100 * 1024

_UNKNOWN = ("internal-error",)


def diagnose(evidence: Evidence) -> Report:
    """Say what the evidence means; never raises, and never claims more than it knows.

    For a connection on which nothing failed, the report says so (outcome ``echoed``).
    """
    evidence.read_recording()
    evidence.finish()
    if evidence.denied is None and evidence.side == "client":
        evidence.denied = denial_in(evidence.last_words)
    outcome, rejected_by, family = _judge(evidence)
    path = _second_look(evidence, rejected_by)
    causes, owner = _narrow(family, path, evidence, rejected_by)
    cause = CAUSES[causes[0]] if causes else None
    words = Words(evidence.side, rejected_by, owner)
    return Report(
        side=evidence.side,
        outcome=outcome,
        rejected_by=rejected_by,
        stage=evidence.stage,
        causes=list(causes),
        faults=[FaultFound(slug=f.slug, depth=f.depth, detail=f.detail) for f in path.faults],
        alert=_alert(evidence),
        verify_code=evidence.verify_code,
        evidence=facts(evidence, words, causes, path),
        summary=summary(evidence, outcome, words, causes),
        remedy=words.remedy(cause) if cause else "",
        rfc=cause.rfc if cause else "",
        tls=_parameters(evidence),
        peer=summarise(evidence.peer_chain),
        own=summarise(evidence.own_chain),
        client_random=evidence.client_random,
        duration_ms=round((evidence.duration or 0.0) * 1000, 3),
        trace=trace_of(evidence.recorder),
    )


def _judge(evidence: Evidence) -> tuple[Outcome, Side | None, tuple[str, ...]]:
    """The outcome, who refused, and the family of causes, most certain evidence first."""
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
        return "refused", me, VERIFY.get(evidence.verify_code, _UNKNOWN)
    if evidence.alert is not None and not evidence.alert.sent:
        outcome: Outcome = "denied" if evidence.alert.code == A.access_denied else "refused"
        return outcome, peer, _family_of_alert(evidence.alert.code, evidence)
    if evidence.reason is not None:
        return "refused", me, _family_of_reason(evidence.reason, evidence)
    if evidence.alert is not None and evidence.failed:
        # An error of OpenSSL's parsers has no reason of its own.
        return "refused", me, OWN_ALERT.get(evidence.alert.code, _UNKNOWN)
    if evidence.no_common_alpn:
        # Python cannot send no_application_protocol, so whoever minds closes without a word.
        return "refused", me if evidence.failed else peer, ("no-common-alpn",)
    if evidence.transport_end == "reset":
        return "failed", None, ("reset",)
    if evidence.transport_end == "eof":
        ended = "truncated" if evidence.stage == "established" else "closed-without-alert"
        return "failed", None, (ended,)
    if evidence.stage != "established" and evidence.close_notify:
        return "failed", None, ("closed-without-alert",)
    if evidence.failed:
        return "failed", None, _UNKNOWN
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


def _family_of_reason(reason: str, evidence: Evidence) -> tuple[str, ...]:
    """The causes of an error that our own side found."""
    if reason == "BAD_SIGNATURE" and evidence.is_tls13:
        # There CertificateVerify is encrypted: who alters it on the way damages a record.
        return ("key-not-owned",)
    mine = evidence.configuration
    if evidence.side == "server" and reason == "UNSUPPORTED_PROTOCOL":
        # An OpenSSL server without a certificate says the same of TLS 1.3.
        common = evidence.tls13_offered and evidence.tls13_enabled
        return ("no-server-certificate",) if common else ("no-common-version",)
    if evidence.side == "server" and reason == "NO_SHARED_CIPHER" and mine.credential is None:
        # So it does in TLS 1.2; whether a context has a certificate, it does not tell.
        without = ("no-server-certificate",)
        return without if mine.described else (*REASON[reason], *without)
    if reason == "NO_SHARED_CIPHER" and evidence.not_shared:
        return evidence.not_shared
    sent = OWN_ALERT.get(evidence.alert.code) if evidence.alert is not None else None
    return REASON.get(reason) or sent or _UNKNOWN


def _family_of_alert(code: int, evidence: Evidence) -> tuple[str, ...]:
    """The causes of a verdict that the peer announced."""
    # Without a recording (see `trace`) nothing is known of what was asked for and presented.
    recorded = evidence.client_random is not None
    if recorded and not evidence.own_chain and code in CERTIFICATE_ALERTS | {A.handshake_failure}:
        # Which alert a missing certificate gets differs: handshake_failure in TLS 1.2 (RFC 5246
        # §7.4.6), certificate_required in TLS 1.3, bad_certificate from Java and older Go.
        if evidence.side == "client" and evidence.certificate_requested:
            return ("no-client-certificate",)
        if code != A.handshake_failure:
            return _UNKNOWN  # there was no certificate of ours to judge
    if code == A.illegal_parameter:
        return _family_of_illegal_parameter(evidence)
    if code == A.handshake_failure:
        # Before ServerHello it says "no common parameters", and after it nothing in particular.
        if evidence.hello_answered or evidence.side == "server":
            return _UNKNOWN
        return ("no-common-cipher", "no-common-group", "no-common-signature-algorithm",
                "no-server-certificate", "wrong-usage")  # fmt: skip
    causes = ALERT.get(code, _UNKNOWN)
    without = code == A.protocol_version and not evidence.tls13_offered
    if evidence.side == "server" or evidence.hello_answered or without:
        # Only a server that has not answered yet can be without a certificate; it says so with
        # protocol_version where TLS 1.3 was offered, and with handshake_failure where it was not.
        causes = tuple(slug for slug in causes if slug != "no-server-certificate")
    return causes


def _family_of_illegal_parameter(evidence: Evidence) -> tuple[str, ...]:
    if sum(map(len, evidence.own_chain)) > _LONGEST_CERTIFICATE_MESSAGE:
        return ("oversize",)
    # Only a client compares the version with what the server's random says of it.
    first = "downgrade" if evidence.side == "server" else "internal-error"
    return (first, "tampered")


# --- the second look -----------------------------------------------------------------------------


def _second_look(evidence: Evidence, rejected_by: Side | None) -> Path:
    """The path that was judged, examined: the peer's when we refused, ours when the peer did."""
    if rejected_by is None:
        return Path()
    mine = evidence.configuration
    our_chain = (mine.credential.certificate, *mine.credential.chain) if mine.credential else ()
    if rejected_by != evidence.side:
        # On the server the name is SNI; a client that asked for an address sends none.
        reference = evidence.server_name if evidence.side == "server" else None
        return examine(
            evidence.own_chain,
            presenter=evidence.side,
            reference=reference,
            others=mine.trust.anchors if mine.trust else (),
        )
    if evidence.verify_code is None:
        return Path()
    known = mine.trust if mine.complete else None
    return examine(
        evidence.peer_chain,
        presenter="server" if evidence.side == "client" else "client",
        anchors=known.anchors if known else None,
        crls=known.crls if known else (),
        reference=evidence.server_name if evidence.side == "client" else None,
        others=our_chain,
    )


def _narrow(
    family: tuple[str, ...], path: Path, evidence: Evidence, rejected_by: Side | None
) -> tuple[tuple[str, ...], Side | None]:
    """What remains of a family of causes, and whose fault it is when that is not obvious."""
    if evidence.reason == "NO_SHARED_CIPHER" and _cannot_sign(evidence):
        # TLS 1.2 then finds no suite, and never gets to showing the certificate.
        return ("wrong-usage",), evidence.side
    if family == ("no-server-certificate",):
        return family, "server"
    if evidence.verify_code is not None:
        return _narrow_our_verdict(family, path, evidence), None
    if rejected_by is not None and rejected_by != evidence.side and evidence.own_chain:
        return _narrow_their_verdict(family, path, evidence), None
    return family, None


def _narrow_our_verdict(
    family: tuple[str, ...], path: Path, evidence: Evidence
) -> tuple[str, ...]:
    """We know our anchors and the whole path: what the path does not show is not so."""
    if family[0] == "wrong-name":
        # OpenSSL compared the names, and more strictly than any second look would.
        leaf = end_entity(evidence.peer_chain)
        if leaf is None or has_unreadable_names(leaf):
            return family
        return ("wrong-name",) if hosts(leaf) else ("no-san",)
    shown = tuple(slug for slug in path.slugs if slug in family)
    if family == _UNKNOWN:
        shown = path.slugs[:1]
    if not shown:
        return family
    # OpenSSL reports the first that it meets; the others are in the report's ``faults``.
    readings = next((pair for pair in _UNDECIDED if shown[0] in pair), {shown[0]})
    return tuple(slug for slug in shown if slug in readings)


def _narrow_their_verdict(
    family: tuple[str, ...], path: Path, evidence: Evidence
) -> tuple[str, ...]:
    """We know our path and not their anchors: what lies with an anchor cannot be ruled out."""
    if evidence.side == "client":
        family = tuple(slug for slug in family if slug not in _OF_SERVERS_ONLY) or family
    shown = tuple(slug for slug in family if slug in path.slugs)
    if shown or not path.certificates:
        return shown or family
    ruled_out = set(_ALWAYS_SEEN)
    if evidence.server_name is not None:
        ruled_out |= _OF_SERVERS_ONLY
    if path.is_complete and not path.intermediates:
        ruled_out |= _OF_INTERMEDIATES
    if path.is_complete:
        # It was followed by its signatures, so those are sound as well.
        ruled_out |= {"missing-intermediate", "bad-signature"}
    mine = evidence.configuration
    if mine.credential is not None and _owns_its_key(mine.credential):
        ruled_out.add("key-not-owned")
    if hosts(path.certificates[0]):
        ruled_out.add("no-san")
    return tuple(slug for slug in family if slug not in ruled_out) or family


def _owns_its_key(credential: Credential) -> bool:
    """Whether the key that was loaded is the certificate's: what OpenSSL was given counts."""
    try:
        key = load_pem_private_key(credential.key_pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return False
    return key.public_key() == credential.certificate.public_key()


def _cannot_sign(evidence: Evidence) -> bool:
    """Whether our own certificate's keyUsage forbids what every current cipher suite needs."""
    credential = evidence.configuration.credential
    if credential is None:
        return False
    path = examine(credential.chain_der, presenter=evidence.side)
    return any(fault.slug == "wrong-usage" and fault.depth == 0 for fault in path.faults)


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
