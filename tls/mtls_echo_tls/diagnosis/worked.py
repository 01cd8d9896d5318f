"""What a connection to a server of another maker has proved, said for a person who has to act.

A handshake that is complete is not acceptance: so it is said what was agreed on, asked for and
sent, how far the server has shown that it takes it, and which setting of the server decides.
"""

from __future__ import annotations

from collections.abc import Iterator

from mtls_echo_tls.answers.settings import product_of, settings, topic_of
from mtls_echo_tls.diagnosis.evidence import Evidence
from mtls_echo_tls.diagnosis.perspective import Perspective
from mtls_echo_tls.diagnosis.report import Fact
from mtls_echo_tls.diagnosis.tables import SILENT
from mtls_echo_tls.path.certificates import end_entity
from mtls_echo_tls.path.summaries import presented_as
from mtls_echo_tls.slugs import Slugs, drop
from mtls_echo_tls.stacks.fingerprint import recognise
from mtls_echo_tls.stacks.request import asked_for_in_words


def has_worked(evidence: Evidence, words: Perspective) -> bool:
    """Whether a client that was not refused by TLS is to be told what was proved."""
    if evidence.side == "server" or evidence.version is None or evidence.verify_code is not None:
        return False
    told = evidence.timed_out or evidence.answer is not None or evidence.purpose != "echo"
    return told and (words.rejected_by is None or evidence.answer is not None)


def worked(evidence: Evidence, words: Perspective) -> Iterator[Fact]:
    """What a client's handshake has agreed on and proved, and what it has not."""
    agreed = (evidence.version, evidence.cipher, evidence.group)
    alpn = f"; ALPN {evidence.alpn}" if evidence.alpn else ""
    yield Fact("TLS", ", ".join(filter(None, agreed)) + alpn)
    leaf = end_entity(evidence.peer_chain)
    shown = f", by a {presented_as(leaf)}" if leaf is not None else ""
    yield Fact("server", f"proved to be {evidence.server_name}{shown}")
    asked = evidence.certificate_request
    if words.rejected_by is not None and asked is not None:
        return  # what was asked for and sent has been said
    if asked is None:
        yield Fact("asked for", "no certificate of ours: this is not mutual TLS")
        return
    yield Fact("asked for", asked_for_in_words(asked))
    ours = end_entity(evidence.own_chain)
    why = "our key makes none of the signatures that the server takes"
    why = why if evidence.context_info.credential is not None else "we were given none to present"
    yield Fact("we sent", presented_as(ours) if ours is not None else f"none: {why}")
    if evidence.answer is not None or evidence.waited is not None or evidence.timed_out:
        yield Fact("proved", words.text(_proved(evidence)))


def deciding_settings(evidence: Evidence, words: Perspective, causes: Slugs) -> Iterator[Fact]:
    """Which setting of the server decides, where it may be a product of another maker."""
    is_other = evidence.purpose != "echo" or evidence.context_info.other_files
    if evidence.side == "server" or not is_other:
        return
    reasons = drop(causes, SILENT)
    unasked = not causes and evidence.certificate_request is None and evidence.version is not None
    by_us = words.rejected_by == "client"
    if not unasked and (not reasons or (words.rejected_by is None and reasons == causes)):
        return
    topic = topic_of(None if unasked else reasons[0], "server" if by_us else "client")
    stacks = evidence.peer_stacks or recognise(evidence.recorder)
    product = product_of(evidence.answer, stacks, evidence.product)
    for name, text in settings(topic, product):
        yield Fact(f"on {name}", text)


def _proved(evidence: Evidence) -> str:
    """How far a server has shown that it takes what we presented.

    Its Finished of TLS 1.2 shows no more than silence does: nginx, Exim and Dovecot complete the
    handshake with every client, and turn it away later.
    """
    shown = "our certificate" if evidence.own_chain else "a client without one"
    if evidence.answer is None:
        so_far = f"{shown} is not refused{_within(evidence)}"
        so_far = "nothing yet" if evidence.timed_out else so_far
        ticket = evidence.recorder.find("received", "NewSessionTicket") is not None
        went_on = "; it has sent a session ticket, which follows our Finished" if ticket else ""
        if evidence.stage == "established":
            went_on = "; its TLS went on with us: its Finished came after it"
        proof = f"which is not yet proof that it is accepted{went_on}"
        asks = "; a server of HTTP is asked by {http}" if evidence.purpose != "http" else ""
        return f"{so_far}, {proof}{asks}"
    by_tls = f"{shown} is not refused by the server's TLS, whose first data came after it"
    if evidence.purpose == "http":
        return by_tls
    return f"{by_tls}; many servers judge it when they are asked for something ({{http}})"


def what_is_up(evidence: Evidence) -> str:
    """What the handshake has made; it is mutual where a certificate of ours was sent."""
    return "mutual TLS is up" if evidence.own_chain else "TLS is up"


def of_answer(evidence: Evidence) -> str:
    """What came in place of an echo, or that nothing was to come."""
    up, answer = what_is_up(evidence), evidence.answer
    if evidence.purpose == "echo":
        return f"{up}, but the server does not echo: it answered {answer}"
    if evidence.purpose == "http" and answer is not None:
        if answer.status is None:
            return f"{up}, but its answer is not HTTP/1.1: {answer}"
        return f"the server answered {answer}"
    if answer is not None:
        return f"the handshake is complete, and the server has said something: {answer}"
    return f"the handshake is complete, and the server has not refused us{_within(evidence)}"


def _within(evidence: Evidence) -> str:
    return "" if evidence.waited is None else f" within {evidence.waited:g} s"
