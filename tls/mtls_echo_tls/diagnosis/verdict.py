"""The verdict on a connection: its outcome, the side that refused, and what that can mean.

Order matters, most certain first: what is not TLS at all, what the two ends said in words, our
own deadline, our own verdict on a certificate, the peer's fatal alert, our other errors, and last
how the transport ended. Which side refused follows from the same: an alert received means the
peer did, an error of our own means that we did, and otherwise it cannot be known on this side.

An alert names a family of causes, and so does a verify code (`mtls_echo_tls.diagnosis.tables`).
What an alert about a certificate means depends on the stack that sent it
(`mtls_echo_tls.stacks.alerts`); the peer's, if its messages show it, and otherwise any.
"""

from __future__ import annotations

import msgspec

from mtls_echo_tls import reasons
from mtls_echo_tls.alerts import CERTIFICATE_ALERTS
from mtls_echo_tls.alerts import AlertDescription as A
from mtls_echo_tls.answers.answer import ServerAnswer
from mtls_echo_tls.answers.meaning import meaning_of
from mtls_echo_tls.diagnosis import tables
from mtls_echo_tls.diagnosis.evidence import Evidence
from mtls_echo_tls.diagnosis.report import Outcome
from mtls_echo_tls.path.certificates import end_entity, is_readable, odd_curve
from mtls_echo_tls.reasons import UNKNOWN
from mtls_echo_tls.sides import Side, peer_of
from mtls_echo_tls.slugs import Slug, Slugs, drop
from mtls_echo_tls.stacks.alerts import meant_by
from mtls_echo_tls.trace.cipher_mismatch import fits, takes_usual_keys
from mtls_echo_tls.trace.cursor import MalformedError, numbers
from mtls_echo_tls.trace.messages import hello_extensions

# The alerts that are about a certificate, in one stack or another.
_ABOUT_CERTIFICATES = CERTIFICATE_ALERTS | {A.decrypt_error}

_NOT_ALLOWED: Slugs = ("tampered", "protocol-violation")

# The extension of a ClientHello that lists its versions (RFC 8446 §4.2.1).
_SUPPORTED_VERSIONS = 43

# What OpenSSL accepts as a Certificate message, in bytes (SSL_MAX_CERT_LIST_DEFAULT).
_LONGEST_CERTIFICATE_MESSAGE = 100 * 1024


class Verdict(msgspec.Struct, frozen=True):
    """What the evidence shows before any certificate is examined.

    Neither side refused, or it cannot be known: `rejected_by` is None. The candidates are the
        causes that this can have, the likeliest first.
    """

    outcome: Outcome
    rejected_by: Side | None
    candidates: Slugs


def ground_of(evidence: Evidence) -> str | None:
    """OpenSSL's reason; also that for a certificate it cannot parse, which Python omits."""
    if evidence.reason is None and evidence.alert is not None and evidence.alert.sent:
        code, unreadable = evidence.alert.code, not all(map(is_readable, evidence.peer_chain))
        if code == A.bad_certificate or (code == A.decode_error and unreadable):
            return "ASN1_LIB"
    return evidence.reason


def verdict_of(evidence: Evidence) -> Verdict:
    """The verdict, from the most certain evidence that there is."""
    return Verdict(*_verdict(evidence))


def _verdict(evidence: Evidence) -> tuple[Outcome, Side | None, Slugs]:
    outcome: Outcome
    me = evidence.side
    peer = peer_of(me)
    if evidence.denied is not None:
        return "denied", "server", ("not-authorised",)
    if evidence.answer is not None:
        return _of_answer(evidence, evidence.answer)
    if evidence.mismatched_echo is not None:
        return "failed", None, ("altered-echo",)
    if evidence.closed_early is not None:
        return "failed", None, ("closed-without-alert",)
    if evidence.no_tls is not None:
        outcome, causes = tables.CAUSES_IN_THE_CLEAR[evidence.no_tls]
        return outcome, me if outcome == "refused" else None, causes
    if evidence.stage == "connect":
        return "failed", None, ("timeout" if evidence.timed_out else "no-connection",)
    if evidence.version is None and not _is_tls(evidence):
        # Whatever OpenSSL made of it (it depends on the bytes), it never was TLS.
        return "failed", None, ("plaintext-peer" if me == "client" else "plaintext-client",)
    if evidence.timed_out:
        return "failed", None, ("timeout",)
    if evidence.verify_code is not None:
        found = tables.CAUSES_BY_VERIFY_CODE.get(evidence.verify_code, UNKNOWN)
        return "refused", me, found
    if evidence.alert is not None and not evidence.alert.sent:
        # gnutls-serv says access_denied of every certificate that it cannot verify.
        is_denial = evidence.alert.code == A.access_denied and "GnuTLS" not in evidence.peer_stacks
        outcome = "denied" if is_denial else "refused"
        return outcome, peer, _family_of_alert(evidence.alert.code, evidence)
    ground = ground_of(evidence)
    if ground is not None:
        return "refused", me, _family_of_reason(ground, evidence)
    if evidence.alert is not None and evidence.failed:
        # An error of OpenSSL's parsers has no reason of its own.
        causes = reasons.CAUSES_BY_OWN_ALERT.get(evidence.alert.code, _without_reason(evidence))
        return "refused", me, causes
    if evidence.no_common_alpn:
        # Python cannot send no_application_protocol, so the side that minds just closes.
        return "refused", me if evidence.failed else peer, ("no-common-alpn",)
    if evidence.ended_between and not evidence.abandoned:
        return went_well(evidence), None, ()
    if evidence.transport_end == "reset":
        return "failed", None, ("reset",)
    if evidence.transport_end == "eof":
        ended: Slug = "truncated" if evidence.stage == "established" else "closed-without-alert"
        return "failed", None, (ended,)
    if evidence.stage != "established" and evidence.close_notify:
        return "failed", None, ("closed-without-alert",)
    if evidence.failed:
        return "failed", None, _without_reason(evidence)
    if evidence.waited is not None:
        return "completed", None, ()
    if evidence.stage != "established" or evidence.abandoned:
        # We ended it ourselves: nothing failed, and nothing was proved either.
        return "failed", None, ()
    return went_well(evidence), None, ()


def went_well(evidence: Evidence) -> Outcome:
    """What a connection is called on which nothing failed: not every one is for an echo."""
    return "completed" if evidence.purpose == "http" else "echoed"


def _of_answer(evidence: Evidence, answer: ServerAnswer) -> tuple[Outcome, Side | None, Slugs]:
    """What the server said in place of an echo, or in answer to a request."""
    if evidence.purpose == "handshake":
        return "completed", None, ()  # whatever it is, it was said to us
    if evidence.timed_out:
        return "failed", None, ("timeout",)  # before the header was complete
    if answer.status is None or (evidence.purpose == "echo" and answer.is_success):
        return "failed", None, ("other-protocol",)
    asked, sent = evidence.certificate_requested, bool(evidence.own_chain)
    causes, _, in_words = meaning_of(answer, asked=asked, sent=sent)
    # What was sent to be echoed is not a request that could be forbidden.
    if causes and (in_words or evidence.purpose == "http"):
        return "denied" if causes[0] == "not-authorised" else "refused", "server", causes
    if answer.is_success:
        return "completed", None, ()
    unasked: Slug = "other-protocol" if evidence.purpose == "echo" else "error-answer"
    return "failed", None, (unasked,)


def _without_reason(evidence: Evidence) -> Slugs:
    """The causes of an error of ours for which OpenSSL has no word.

    It has none for a record of TLS 1.2 that is too short to be a protected one.
    """
    received = evidence.version is not None or evidence.first_bytes
    return ("tampered", *UNKNOWN) if received else UNKNOWN


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
    mine = evidence.context_info
    if evidence.side == "server" and reason == "UNSUPPORTED_PROTOCOL":
        # An OpenSSL server without a certificate says the same of TLS 1.3.
        common = evidence.tls13_offered and evidence.tls13_enabled
        if common and mine.credential is not None and odd_curve(mine.credential.certificate):
            return ("no-common-signature-algorithm",)  # nor has it one that TLS 1.3 can use
        return ("no-server-certificate",) if common else ("no-common-version",)
    if evidence.side == "server" and reason == "NO_SHARED_CIPHER" and mine.credential is None:
        # So it does in TLS 1.2; whether a context has a certificate, it does not tell.
        without: Slugs = ("no-server-certificate",)
        return without if mine.declared else (*reasons.CAUSES_BY_REASON[reason], *without)
    if evidence.side == "client" and reason == "NO_SUITABLE_KEY_SHARE":
        return _NOT_ALLOWED  # the ServerHello has none, or not for a group that we offered
    if reason == "WRONG_CURVE" and odd_curve(end_entity(evidence.peer_chain)):
        return ("no-common-signature-algorithm",)  # that of the certificate's key in TLS 1.2
    if reason == "NO_SHARED_CIPHER" and evidence.not_shared:
        return evidence.not_shared
    causes = reasons.CAUSES_BY_REASON.get(reason)
    if evidence.side == "server" and causes == ("no-client-certificate",):
        return without_certificate(evidence)
    if (causes is None or reason == reasons.BLURRED) and evidence.alert is not None:
        causes = reasons.CAUSES_BY_OWN_ALERT.get(evidence.alert.code, causes)
    if causes is None:
        return UNKNOWN
    if reason == "EXCESSIVE_MESSAGE_SIZE" and not evidence.hello_answered:
        return causes[::-1]  # a hello, which has no reason to be long
    # What travels under the connection's keys cannot be altered unnoticed.
    is_protected = evidence.is_tls13 or evidence.version is not None
    is_authentic = reason in reasons.ABOUT_CONTENTS and is_protected
    return (drop(causes, {"tampered"}) or causes) if is_authentic else causes


def _family_of_alert(code: int, evidence: Evidence) -> Slugs:
    """The causes of a refusal that the peer announced."""
    if code == A.handshake_failure and evidence.version not in (None, "TLSv1.3"):
        # After one handshake it is the end of another, which we do not take part in.
        return ("renegotiation",)
    # Without a recording (see `trace`) nothing is known of what was asked for and presented.
    if evidence.client_random is not None and not evidence.own_chain:
        if evidence.side == "client" and evidence.certificate_requested:
            without = _family_without_certificate(code, evidence)
            if without:
                return (*without_certificate(evidence), *without[1:])
        if code in CERTIFICATE_ALERTS:
            return UNKNOWN  # there was no certificate of ours to verify
    if code == A.protocol_version and evidence.hello_answered:
        # The version was agreed on: it was the one in a record that was not that of the others.
        # Only a server may hear so from a client that does not speak what the server has chosen.
        agreed = evidence.side == "client" or evidence.version is not None
        return _NOT_ALLOWED if agreed else ("no-common-version", *_NOT_ALLOWED)
    if code == A.illegal_parameter:
        return _family_of_illegal_parameter(evidence)
    if code == A.handshake_failure:
        # Before ServerHello it says "no common parameters", and after it nothing in particular.
        if evidence.hello_answered or evidence.side == "server":
            return _meant_by_peer(code, evidence) or UNKNOWN
        # GnuTLS says so of versions too, and a server that knows no TLS 1.3 finds in a hello for
        # that alone no cipher suite that it knows.
        version: Slugs = ("no-common-version",) if _offers_one_version(evidence) else ()
        return ("no-common-cipher", *version, "no-common-group", "no-common-signature-algorithm",
                "no-server-certificate", "wrong-usage")  # fmt: skip
    causes = tables.CAUSES_BY_OPENSSL_ALERT.get(code, ()) if evidence.peer_is_openssl else ()
    causes = causes or _meant_by_peer(code, evidence)
    if not causes and code in _ABOUT_CERTIFICATES:
        causes = meant_by(frozenset(), code, peer_of(evidence.side))
    causes = causes or tables.CAUSES_BY_ALERT.get(code, UNKNOWN)
    if code == A.decrypt_error and evidence.is_tls13 and _is_protected(evidence):
        # Had the handshake been altered, there would be other keys, and no alert could be read.
        causes = drop(causes, {"tampered"}) or causes
    is_old = code == A.protocol_version and not evidence.tls13_offered
    if evidence.side == "server" or evidence.hello_answered or is_old:
        # Only a server that has not answered yet can be without a certificate; it says so with
        # protocol_version where TLS 1.3 was offered, and with handshake_failure where it was not.
        causes = drop(causes, {"no-server-certificate", "no-common-signature-algorithm"})
    return causes


def _is_protected(evidence: Evidence) -> bool:
    return evidence.alert is not None and evidence.alert.protected is True


def _offers_one_version(evidence: Evidence) -> bool:
    """Whether our ClientHello leaves the server no choice of TLS versions."""
    hello = evidence.recorder.find("sent", "ClientHello")
    if hello is None:
        return False
    try:
        listed = dict(hello_extensions(hello.body)).get(_SUPPORTED_VERSIONS)
        return listed is None or len([*numbers(listed, 1)]) == 1
    except MalformedError:
        return False


def _meant_by_peer(code: int, evidence: Evidence) -> Slugs:
    """What this stack's alert says of our certificate; () when the stack is not known."""
    if not evidence.peer_stacks or evidence.peer_is_openssl:
        return ()
    return meant_by(evidence.peer_stacks, code, peer_of(evidence.side))


def _family_without_certificate(code: int, evidence: Evidence) -> Slugs:
    """A server asked for a certificate, and we sent none: () when the alert is about that no more.

    Which alert that gets differs: handshake_failure in TLS 1.2 (RFC 5246 §7.4.6),
    certificate_required in TLS 1.3, bad_certificate from Java and older Go.
    """
    if code in CERTIFICATE_ALERTS | {A.handshake_failure}:
        return ("no-client-certificate",)
    if evidence.recorder.find("sent", "Certificate") is None:
        return ()
    if code == A.decode_error:
        # GnuTLS in TLS 1.2; from another stack it may mean what it says.
        known = evidence.peer_stacks == frozenset({"GnuTLS"})
        return ("no-client-certificate",) if known else ("no-client-certificate", "tampered")
    return ("no-client-certificate", "not-authorised") if code == A.access_denied else ()


def without_certificate(evidence: Evidence) -> Slugs:
    """Why a client presents no certificate to a server that asks for one.

    OpenSSL withholds one whose key makes none of the signatures that the server accepts, and a
    server cannot tell: unless it accepts those of every usual kind of key.
    """
    none: Slug = "no-client-certificate"
    unfit: Slug = "no-common-signature-algorithm"
    asked, mine = evidence.certificate_request, evidence.context_info.credential
    schemes = asked.signature_algorithms if asked is not None else []
    if evidence.side == "server":
        return (none,) if not schemes or takes_usual_keys(schemes) else (none, unfit)
    if mine is None or asked is None:
        return (none,)
    fitting = fits(mine.certificate, schemes, only_tls13=evidence.is_tls13)
    return (none,) if fitting else (unfit,)


def _family_of_illegal_parameter(evidence: Evidence) -> Slugs:
    if sum(map(len, evidence.own_chain)) > _LONGEST_CERTIFICATE_MESSAGE:
        return ("oversize",)
    if odd_curve(end_entity(evidence.own_chain)):
        return ("no-common-signature-algorithm", "tampered")
    # Only a client compares the version with what the server's random says of it.
    first: Slug = "downgrade" if evidence.side == "server" else "protocol-violation"
    return (first, "tampered")


def is_silent(verdict: Verdict, evidence: Evidence) -> bool:
    """Whether the peer left without a word when it had seen our certificate, or its lack."""
    asked = evidence.side == "server" or evidence.certificate_requested
    if not asked or verdict.candidates[:1] not in {(slug,) for slug in tables.SILENT}:
        return False
    unused = evidence.unused or evidence.stage in ("handshake", "first-read")
    sent = bool(evidence.own_chain) or evidence.recorder.find("sent", "Certificate") is not None
    return unused and sent


def may_be_probe(evidence: Evidence) -> bool:
    """Whether a client went without having finished its part of the handshake, or begun it.

    A load balancer's health check leaves this trace, and a port scanner.
    """
    return evidence.side == "server" and evidence.stage == "handshake"
