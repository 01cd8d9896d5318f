"""The sentences of a report: who refused whom, what was compared, what went over the wire.

They are written for a person who has to act. "tlsv1 alert unknown ca" reads as if our side had
found the fault, while it means that the *peer* did; so every sentence here says which side
refused. What a cause is called at the reader's end, a `Perspective` says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from mtls_echo_pki.certificates.reading import subject_name
from mtls_echo_pki.printable import printable
from mtls_echo_tls.alerts import AlertDescription, alert_meaning, alert_name
from mtls_echo_tls.answers.starttls import AT_AN_END, remedy_for
from mtls_echo_tls.causes import (
    IF_BROWSER,
    IF_PROBE,
    IN_THE_CLEAR,
    InTheClear,
    cause_of,
    denied_for,
)
from mtls_echo_tls.denial import NOT_AMONG, ONLY_CERTAIN
from mtls_echo_tls.diagnosis.evidence import Evidence
from mtls_echo_tls.diagnosis.narrowing import same_name_root
from mtls_echo_tls.diagnosis.perspective import Perspective, fault_of, texts_of
from mtls_echo_tls.diagnosis.report import Fact, Outcome
from mtls_echo_tls.diagnosis.tables import SILENT, silence_in
from mtls_echo_tls.diagnosis.verdict import ground_of, may_be_probe
from mtls_echo_tls.diagnosis.worked import (
    deciding_settings,
    has_worked,
    of_answer,
    what_is_up,
    worked,
)
from mtls_echo_tls.path.certificates import end_entity
from mtls_echo_tls.path.reference import unnamed
from mtls_echo_tls.path.rules import display_name
from mtls_echo_tls.path.summaries import presented_as, rfc3339, validity
from mtls_echo_tls.path.validate import CertificationPath
from mtls_echo_tls.reasons import UNKNOWN
from mtls_echo_tls.sides import Side, peer_of
from mtls_echo_tls.slugs import Slugs, drop
from mtls_echo_tls.stacks.fingerprint import display
from mtls_echo_tls.stacks.request import (
    accepted_authorities,
    enumerated,
    issuers,
    request_in_words,
)
from mtls_echo_tls.trace.decoding import decoded

# What came was not what was asked for, and refuses neither side.
_ANSWERED: frozenset[Slugs] = frozenset({("other-protocol",), ("error-answer",)})

# Further candidates named in full; the slugs of the others follow on one line.
_NAMED = 2

# What the detail is of a server that does not start TLS.
_IN_THE_CLEAR: dict[InTheClear, str] = {
    "not-offered": "missing",
    "refused": "server said",
    "ended": "waited for",
    "silent": "waited for",
    **dict.fromkeys(("not-understood", "tls-at-once", "injected"), "received"),
}


def accepted(side: Side) -> str:
    """What there is to say of a success."""
    return f"the {peer_of(side)} and we accepted each other"


def summary(evidence: Evidence, outcome: Outcome, words: Perspective, causes: Slugs) -> str:
    """Who refused whom, and why, in one sentence."""
    peer, rejected_by = words.peer, words.rejected_by
    if outcome == "echoed" or (outcome == "completed" and evidence.side == "server"):
        return accepted(evidence.side)
    if outcome == "completed" or causes[:1] in _ANSWERED:
        return of_answer(evidence)
    if evidence.closed_early is not None:
        why = f", {_likelihood(causes, words)} because {words.clause(causes[0])}"
        closed = f"the {peer} closed the connection {evidence.closed_early}"
        return closed + (why if causes[0] != silence_in(causes) else "")
    if evidence.no_tls is not None:
        clause = IN_THE_CLEAR[evidence.no_tls].clause
        return clause if rejected_by is None else f"we refused the {peer}: {clause}"
    if evidence.side == "client" and evidence.timed_out and evidence.version is not None:
        late = f"{words.clause(causes[0])} from the server"
        if evidence.answer is not None:
            late = f"its answer did not end in time: {evidence.answer}"
        return f"{what_is_up(evidence)}, but {late}"
    silence = silence_in(causes)
    if rejected_by is None and len(causes) > 1 and silence is not None:
        how = "reset" if silence == "reset" else "closed"
        ended = f"the {peer} {how} the connection without an alert"
        ended = f"the {peer} left without having sent a byte" if evidence.unused else ended
        likelihood = _likelihood(causes, words)
        if may_be_probe(evidence) and likelihood == "perhaps":
            ended = "the client left in the middle of the handshake, as health checks do"
            if _may_be_browser(evidence):
                ended += ", and browsers that ask their user for a certificate"
            likelihood = "or perhaps"
        return f"{ended}, {likelihood} because {words.clause(causes[0])}"
    if (len(causes) > 2 or causes[:1] == UNKNOWN) and evidence.alert is not None:
        why = f"alert {alert_name(evidence.alert.code)}, “{alert_meaning(evidence.alert.code)}”"
        if causes[:1] != UNKNOWN:
            likely, other = (words.clause(slug, evidence.verify_code) for slug in causes[:2])
            why = f"most likely {likely}, or {other} ({why})"
    elif len(causes) > 1 and evidence.answer is not None and outcome == "refused":
        likely, other = (words.clause(slug) for slug in causes[:2])
        why = f"most likely {likely}, or {other}"
    else:
        why = ", or ".join(words.clause(slug, evidence.verify_code) for slug in causes[:2])
    if outcome == "denied":
        ours = evidence.side == "client"
        who = f"the {peer} turned us away" if ours else f"turned the {peer} away"
        return f"{who}: {why}"
    if rejected_by is None:
        if not causes and evidence.stage == "established":
            return "we gave up in the middle of the connection"
        return why or f"we ended the connection before the {peer} had shown that it accepts us"
    if rejected_by == evidence.side:
        return f"we refused the {peer}: {why}"
    return f"the {peer} refused us: {why}"


def _may_be_browser(evidence: Evidence) -> bool:
    """Whether it may be one that breaks off while its user chooses a certificate."""
    return evidence.certificate_requested and evidence.alpn_offered


def _if_probe(evidence: Evidence) -> str:
    return IF_BROWSER if _may_be_browser(evidence) else IF_PROBE


def _likelihood(causes: Slugs, words: Perspective) -> str:
    """Of the first of several causes: behind a silence only what is provable is likely."""
    guessed = silence_in(causes) is not None and not fault_of(causes[0], words.faults)
    return "perhaps" if guessed else "most likely"


def remedy(evidence: Evidence, words: Perspective, causes: Slugs, path: CertificationPath) -> str:
    """What the reader can do about the first cause."""
    if not causes:
        return ""
    if evidence.no_tls is not None:
        return words.remedy(IN_THE_CLEAR[evidence.no_tls])
    first, silence = causes[0], silence_in(causes)
    if first == "plaintext-peer" and (text := remedy_for(evidence.first_bytes)):
        return words.text(text)
    if first == "closed-without-alert" and evidence.side == "client" and not evidence.first_bytes:
        return words.text(AT_AN_END)
    if silence is not None and first != silence:
        likely = remedy(evidence, words, drop(causes, SILENT), path)
        if may_be_probe(evidence) and _likelihood(causes, words) == "perhaps":
            likely = f"{_if_probe(evidence)}; otherwise {likely}"
        return f"{likely}; or read the {words.peer}'s log: it may have refused without telling"
    if first == "missing-intermediate" and words.reader_owns:
        where = {one.certificate: one.file for one in evidence.context_info.local_cas}
        files = [str(where[one]) for one in path.omitted if one in where]
        if files:
            return f"append to the certificate file, in this order: {', '.join(files)}"
    if silence is not None and may_be_probe(evidence) and not evidence.own_chain:
        return f"{_if_probe(evidence)}; otherwise {words.remedy(cause_of(first, None))}"
    if first == "closed-without-alert" and evidence.side == "server" and evidence.own_chain:
        return words.text(
            "read the client's log: many programs refuse a server without telling it, most often"
            " because its certificate's CA is not among their trust anchors ({ca})"
        )
    denied = evidence.denied or ""
    if "client certificate" in denied and not denied.endswith((NOT_AMONG, ONLY_CERTAIN)):
        return words.remedy(denied_for(denied))
    fault = words.fault(first, evidence.verify_code)
    return words.remedy(texts_of(first, fault, evidence.verify_code, words.reason), fault)


def facts(
    evidence: Evidence, words: Perspective, causes: Slugs, path: CertificationPath
) -> list[Fact]:
    """What was compared and what crossed the connection, in the order of finding."""
    found: Iterable[Fact] = _facts(evidence, words, causes, path) if causes else ()
    if has_worked(evidence, words):
        found = (*found, *worked(evidence, words))
    found = (*found, *deciding_settings(evidence, words, causes))
    if not causes and evidence.unused and evidence.side == "server":
        # curl and others compare the name after the handshake, and send no alert.
        found = [Fact("found", it) for it in unnamed(evidence.own_chain, evidence.server_name)]
    return [Fact(fact.fact, printable(fact.value)) for fact in found]


def _facts(
    evidence: Evidence, words: Perspective, causes: Slugs, path: CertificationPath
) -> Iterator[Fact]:
    silent = silence_in(causes) is not None
    if evidence.answer is not None and words.rejected_by == "server":
        said = f": “{evidence.answer.said}”" if evidence.answer.said else ""
        yield Fact("received", f"{evidence.answer}{said}")
        if wanted := evidence.answer.wanted:
            yield Fact("it wants", wanted)
    if len(causes) > 2:
        yield Fact(_likelihood(causes, words), words.clause(causes[0], evidence.verify_code))
        others = drop(causes[1:], SILENT)  # how it ended was seen
        yield from (Fact("or", words.clause(s, evidence.verify_code)) for s in others[:_NAMED])
        if rarer := others[_NAMED:]:
            yield Fact("or", f"rarer: {', '.join(rarer)}")
    if evidence.no_tls is not None and evidence.no_tls_detail:
        yield Fact(_IN_THE_CLEAR[evidence.no_tls], evidence.no_tls_detail)
    if evidence.connect_error is not None:
        yield Fact("system", evidence.connect_error)
    if evidence.denied is not None:
        label = "server said" if evidence.side == "client" else "told the client"
        yield Fact(label, evidence.denied)
    if evidence.mismatched_echo is not None:
        yield Fact("echo", evidence.mismatched_echo)
    if evidence.closed_early is not None:
        yield Fact("received", "close_notify, which gives no reason")
    if evidence.purpose == "http" and "no-common-alpn" in causes:
        hello = evidence.recorder.find("sent", "ClientHello")
        fields = decoded([hello])[0].fields if hello is not None else {}
        alpn: list[str] = fields.get("alpn", [])
        if alpn and "h2" not in alpn:
            why = "which a server of HTTP/2 alone refuses; {handshake} judges its TLS"
            yield Fact("offered", f"{', '.join(alpn)}, {words.text(why)}")
    if evidence.purpose == "handshake" and silent and len(causes) > 1 and not path.faults:
        bare = evidence.recorder.find("sent", "ClientHello") and not evidence.alpn_offered
        offered = "no application protocol, without which servers of gRPC close: {alpn} h2"
        if bare and evidence.own_chain:
            yield Fact("offered", words.text(offered))
    yield from _refused(evidence, words, causes, path)
    asked = evidence.certificate_request
    if evidence.side == "server" and causes == ("no-client-certificate",) and asked is not None:
        yield Fact("asked for", request_in_words(asked, only_tls13=evidence.is_tls13))
    if words.rejected_by == words.peer or silent:
        yield from _of_peer(evidence, words, path)
    if evidence.verify_code is not None:
        yield Fact("verdict", f"OpenSSL verify code {evidence.verify_code}")
    if evidence.alert is not None:
        yield _alert_fact(evidence, causes)
    if (ground := ground_of(evidence)) is not None:
        yield Fact("reason", ground)
    if evidence.first_bytes and causes[:1] in (("plaintext-peer",), ("plaintext-client",)):
        yield Fact("received", repr(evidence.first_bytes[:32])[1:])


def _of_peer(evidence: Evidence, words: Perspective, path: CertificationPath) -> Iterator[Fact]:
    """What the peer's handshake messages show of the peer that refused us."""
    stack = display(evidence.peer_stacks) or ("OpenSSL" if evidence.peer_is_openssl else "")
    if stack and evidence.own_chain:
        yield Fact(f"{words.peer} runs", f"{stack}, by its handshake messages")
    if evidence.side == "client" and (listed := accepted_authorities(evidence.recorder)):
        ours = issuers(path.certificates)
        which = "" if not ours else ", not ours" if ours.isdisjoint(listed) else ", ours too"
        yield Fact("server accepts", f"certificates issued by {enumerated(listed)}{which}")


def _refused(
    evidence: Evidence, words: Perspective, causes: Slugs, path: CertificationPath
) -> Iterator[Fact]:
    """The certificate that was refused, and each fault in its path with what was compared."""
    silent = len(causes) > 1 and silence_in(causes) is not None
    refused_us = silent or words.rejected_by == words.peer
    leaf = end_entity(evidence.own_chain if refused_us else evidence.peer_chain)
    if (words.rejected_by is None and not silent) or (leaf is None and not path.faults):
        return
    if leaf is not None:
        yield Fact("presented", presented_as(leaf))
    # Two readings of one fault share their detail.
    named = [fault for fault in path.faults if fault.slug in causes]
    named.sort(key=lambda fault: causes.index(fault.slug))
    details = dict.fromkeys(map(path.located, named))
    yield from (Fact("found", detail) for detail in details)
    if path.why_omitted and "missing-intermediate" in causes:
        yield Fact("its issuer", f"was not sent; {path.why_omitted}")
    others = (fault for fault in path.faults if fault.slug not in causes)
    yield from (Fact("also wrong", f"{path.located(one)} ({one.slug})") for one in others)
    impostor = refused_us and "impostor-authority" in causes
    if impostor and (other := same_name_root(path, evidence)) is not None:
        who = display_name(subject_name(other))
        yield Fact("beside it", f"a root that is called {who} too, and has another key")
    if leaf is not None and "clock-skew" in causes:
        yield Fact("valid", validity(leaf))
        own = evidence.context_info.credential
        if own is not None and not refused_us:
            yield Fact("our own", f"certificate is valid {validity(own.certificate)}")
        if evidence.ended_at is not None:
            yield Fact("our clock", rfc3339(evidence.ended_at))
    compared = {fault.slug for fault in path.faults}
    if "wrong-name" in causes and "wrong-name" not in compared and evidence.server_name:
        yield Fact("reference", f"{evidence.server_name} (the name that was asked for)")


def _alert_fact(evidence: Evidence, causes: Slugs) -> Fact:
    assert evidence.alert is not None  # noqa: S101  narrows the type: the caller has looked
    code, sent = evidence.alert.code, evidence.alert.sent
    text = f"alert {alert_name(code)} ({code})"
    if code == AlertDescription.handshake_failure and causes == ("no-client-certificate",):
        text += ", since TLS 1.2 has no alert for this"  # RFC 5246 §7.4.6
    else:
        text += f": “{alert_meaning(code)}”"
    if not sent and evidence.alert.protected is False:
        text += ", in the clear"
    if not sent and evidence.stage == "first-read":
        text += ", with the first read (TLS 1.3 verifies clients after their Finished)"
    return Fact("sent" if sent else "received", text)
