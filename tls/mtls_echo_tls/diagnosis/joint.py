"""Two reports of one connection, joined: what remains possible for both sides is what happened.

Each side knows what the other cannot: the verifier its anchors, its clock and OpenSSL's verdict;
the presenter its own whole path and whether its key is its own. Both know ``ClientHello.random``,
which joins them. Four things only both together can see:

* An alert that one received and the other never sent. In the clear an on-path attacker can write
  one, and the side that gets it cannot tell.
* A certificate that is not the one that was sent.
* Where the presenter's path leads, and whether that is among the verifier's anchors. If it is, and
  a certificate was not sent, that one is missing; if it is not, and all were sent, the CA is
  unknown; if it is not, and one was not sent, both are so.
* A certificate that one finds expired, or not valid yet, and the other valid, at the same moment:
  then it is their clocks that disagree. Both must have looked at that very certificate.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

from mtls_echo_tls.causes import OWNERS
from mtls_echo_tls.diagnosis.perspective import Perspective, fault_of, in_third_person, texts_of
from mtls_echo_tls.diagnosis.report import FaultFound, Report
from mtls_echo_tls.sides import Side, peer_of
from mtls_echo_tls.slugs import Slug, Slugs, drop, keep
from mtls_echo_tls.vocabulary import API, Vocabulary

# What a side says that has only seen the connection end: any other report is better.
_ENDINGS: frozenset[Slug] = frozenset(
    {"closed-without-alert", "reset", "truncated", "internal-error"}
)

# What only a clock decides.
_DATED: frozenset[Slug] = frozenset(
    {"expired", "expired-authority", "not-yet-valid", "not-yet-valid-authority", "clock-skew"}
)

# The causes of an incomplete path.
_CHAIN_CAUSES: frozenset[Slug] = frozenset(
    {"unknown-authority", "missing-intermediate", "impostor-authority"}
)

# OpenSSL's verify code for a certificate, as opposed to a CRL, and what it can mean.
_BAD_SIGNATURE = 7
_UNSIGNED: frozenset[Slug] = frozenset({"bad-signature", "impostor-authority"})

# Why a client that has a certificate may send none.
_WITHHELD: list[Slug] = ["no-common-signature-algorithm"]

_TAMPERED: tuple[None, Slugs] = None, ("tampered",)


@dataclass(frozen=True)
class JointReport:
    """What happened to one connection: who refused, if any side did, and why.

    Of several causes each remains possible for both sides; one is certain. `forged`: an alert was
    received that the other side never sent. The summary is one sentence, in the third person; the
    remedies, what each side can do about it.
    """

    client_random: str
    rejected_by: Side | None
    causes: Slugs
    forged: bool
    summary: str
    remedies: dict[Side, str]


def join_reports(client: Report, server: Report, *, vocabulary: Vocabulary = API) -> JointReport:
    """Join the two sides' reports of one connection.

    Args:
        client, server: Their reports, as the library returns or `connect --json` prints them.
        vocabulary: What the remedies call settings; those of the library unless given.

    Raises:
        ValueError: They are not of one connection, or not of its two sides.
    """
    if (client.side, server.side) != ("client", "server"):
        raise ValueError(f"a {client.side}'s and a {server.side}'s report do not make a pair")
    if client.client_random is None or client.client_random != server.client_random:
        raise ValueError("the two reports are not of one connection")
    forged = _forged(client, server) or _forged(server, client)
    rejected_by, causes = _TAMPERED if forged else _agree(client, server)
    return JointReport(
        client_random=client.client_random,
        rejected_by=rejected_by,
        causes=causes,
        forged=forged,
        summary=_summary(client, server, rejected_by, causes, forged),
        remedies=_remedies(client, server, rejected_by, causes, vocabulary),
    )


def _forged(receiver: Report, sender: Report) -> bool:
    """Whether the receiver got an alert that the sender did not send."""
    alert = receiver.alert
    if alert is None or alert.direction != "received" or alert.protected:
        return False
    said = sender.alert
    return said is None or said.direction != "sent" or said.code != alert.code


def _agree(client: Report, server: Report) -> tuple[Side | None, Slugs]:
    for verifier, other in ((client, server), (server, client)):
        if verifier.rejected_by == verifier.side:
            if verifier.peer and other.own and verifier.peer.fingerprint != other.own.fingerprint:
                # What arrived is not what was presented.
                return verifier.side, ("tampered",)
            return verifier.side, _together(verifier, other)
    for one, other in ((client, server), (server, client)):
        # Refused by the other side, which does not know that it refused: it denies in words.
        if one.rejected_by is not None:
            return one.rejected_by, tuple(one.causes)
        if one.causes and _ENDINGS.isdisjoint(one.causes):
            return None, tuple(one.causes)
        if one.causes and not other.causes:
            return None, tuple(one.causes)
    return None, tuple(client.causes or server.causes)


def _together(verifier: Report, presenter: Report) -> Slugs:
    """What the two reports of one refusal leave."""
    if _clocks_disagree(verifier, presenter):
        return ("clock-skew",)
    if "no-client-certificate" in verifier.causes and presenter.causes == _WITHHELD:
        return tuple(_WITHHELD)  # the server saw that there was none, the client knows why
    both = keep(verifier.causes, presenter.causes) or tuple(verifier.causes)
    if verifier.peer is None or presenter.own is None:
        return both
    ruled_out: set[Slug] = set()
    if len(_CHAIN_CAUSES & {*both}) > 1:
        ruled_out |= _decided_by_anchors(verifier, presenter)
    unsigned = next((fault for fault in verifier.faults if fault.slug in _UNSIGNED), None)
    if verifier.verify_code == _BAD_SIGNATURE and unsigned is not None:
        sent = {
            presenter.own.fingerprint,
            *(i.fingerprint for i in presenter.issuers if i.presented),
        }
        if unsigned.fingerprint in sent:
            ruled_out.add("tampered")  # it is what was sent, so it was not altered on its way
        seen = _UNSIGNED.isdisjoint(fault.slug for fault in presenter.faults)
        if seen and len(presenter.issuers) > unsigned.depth:
            ruled_out.add("bad-signature")  # the presenter knows which key did sign it
    return drop(both, ruled_out) or both


def _clocks_disagree(verifier: Report, presenter: Report) -> bool:
    """Whether they looked at the same dates and found them otherwise."""
    if presenter.rejected_by != verifier.side or not {*verifier.causes} <= _DATED:
        return False
    wrong = {fault.fingerprint for fault in presenter.faults if fault.slug in _DATED}
    above = {issuer.fingerprint for issuer in presenter.issuers}
    return any(
        fault.fingerprint not in wrong
        # What it has not found in its own certificate, it rules out.
        and (fault.fingerprint in above if fault.depth else fault.slug not in presenter.causes)
        for fault in verifier.faults
        if fault.slug in verifier.causes
    )


def _decided_by_anchors(verifier: Report, presenter: Report) -> Set[Slug]:
    """Those of `_CHAIN_CAUSES` that it is not, by where the path leads."""
    if not verifier.anchors or not presenter.issuers:
        return set()
    left_out = any(not (issuer.presented or issuer.root) for issuer in presenter.issuers)
    if any(issuer.fingerprint in verifier.anchors for issuer in presenter.issuers):
        return _CHAIN_CAUSES - {"missing-intermediate"} if left_out else set()
    complete = presenter.issuers[-1].root
    return {"missing-intermediate"} if complete and not left_out else set()


def _summary(
    client: Report, server: Report, rejected_by: Side | None, causes: Slugs, forged: bool
) -> str:
    if forged:
        receiver = client if _forged(client, server) else server
        other = peer_of(receiver.side)
        name = receiver.alert.name if receiver.alert else "?"
        return f"the {receiver.side} received alert {name}, which the {other} never sent"
    if not causes:
        return "the client and the server accepted each other"
    owner, grounds = peer_of(rejected_by or "client"), _grounds(client, server)
    faults = _faults(client, server, rejected_by)

    def clause(slug: Slug) -> str:
        fault = fault_of(slug, faults, grounds[0])
        text = texts_of(slug, fault, *grounds).clause
        return in_third_person(text, owner, named=True, fault=fault)

    clauses = ", or ".join(clause(slug) for slug in causes)
    if rejected_by is None:
        return clauses
    return f"the {rejected_by} refused the {owner}: {clauses}"


def _remedies(
    client: Report, server: Report, rejected_by: Side | None, causes: Slugs, vocabulary: Vocabulary
) -> dict[Side, str]:
    if not causes:
        return {}
    grounds = _grounds(client, server)
    fault = fault_of(causes[0], _faults(client, server, rejected_by), grounds[0])
    cause = texts_of(causes[0], fault, *grounds)
    sides: tuple[Side, Side] = ("client", "server")
    owner = OWNERS.get(causes[0])
    return {
        side: Perspective(side, rejected_by, owner, vocabulary).remedy(cause, fault)
        for side in sides
    }


def _faults(client: Report, server: Report, rejected_by: Side | None) -> list[FaultFound]:
    """What both have found in the path that was refused, the verifier first."""
    reports = (client, server) if rejected_by == "client" else (server, client)
    return [fault for report in reports for fault in report.faults]


def _grounds(client: Report, server: Report) -> tuple[int | None, str | None]:
    """OpenSSL's verify code, and its reason at the side that refused."""
    code = server.verify_code if client.verify_code is None else client.verify_code
    refused = server if server.rejected_by == "server" else client
    reasons = (fact.value for fact in refused.evidence if fact.fact == "reason")
    return code, next(reasons, None)
