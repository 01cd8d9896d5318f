"""Two reports of one connection, joined into a single account.

Each side knows what the other cannot: the judge its anchors, its clock and OpenSSL's verdict; the
judged its own whole path and whether its key is its own. Both know ``ClientHello.random``, which
joins them. What remains possible for both is what happened. And four things only both together can
see:

* An alert that one received and the other never sent. In the clear anybody on the path can write
  one, and the side that gets it cannot tell.
* A certificate that is not the one that was sent.
* Where the path of the judged leads, and whether that is among the judge's anchors. If it is, and
  a link was not sent, that link is missing; if it is not, and all were sent, the authority is
  unknown; if it is not, and one was not sent, both are so.
* A certificate that one finds expired, or not valid yet, and the other valid, at the same moment:
  then it is their clocks that disagree. Both must have looked at that very certificate.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

from mtls_echo_tls.causes import OWNERS, Slug, Slugs, cause_of, drop, keep
from mtls_echo_tls.diagnosis.report import Report
from mtls_echo_tls.diagnosis.vocabulary import API, Vocabulary
from mtls_echo_tls.diagnosis.wording import Perspective, in_third_person
from mtls_echo_tls.sides import Side, peer_of

# What a side says that has only seen the connection end: any other account is better.
_ENDINGS: frozenset[Slug] = frozenset(
    {"closed-without-alert", "reset", "truncated", "internal-error"}
)

# What only a clock decides.
_DATED: frozenset[Slug] = frozenset(
    {"expired", "expired-authority", "not-yet-valid", "not-yet-valid-authority", "clock-skew"}
)

# What a path that leads nowhere can mean, for want of a certificate.
_CHAIN_CAUSES: frozenset[Slug] = frozenset(
    {"unknown-authority", "missing-intermediate", "impostor-authority"}
)

# OpenSSL's verify code for a certificate, as opposed to a revocation list, and what it can mean.
_BAD_SIGNATURE = 7
_UNSIGNED: frozenset[Slug] = frozenset({"bad-signature", "impostor-authority"})

_TAMPERED: tuple[None, Slugs] = None, ("tampered",)


@dataclass(frozen=True)
class JointReport:
    """What happened to one connection.

    Attributes:
        client_random: Which connection.
        rejected_by: Who refused; None when neither did.
        causes: What remains possible for both sides. One element is certain.
        forged: Whether an alert was received that the other side never sent.
        summary: What happened, in one sentence, in the third person.
        remedies: What each side can do about it.
    """

    client_random: str
    rejected_by: Side | None
    causes: Slugs
    forged: bool
    summary: str
    remedies: dict[Side, str]


def join_reports(client: Report, server: Report, *, vocabulary: Vocabulary = API) -> JointReport:
    """Join the two sides' reports.

    Args:
        client, server: Of one connection.
        vocabulary: What the reader calls settings and programs.

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
    """Whether the receiver was told something that the sender did not say."""
    alert = receiver.alert
    if alert is None or alert.direction != "received" or alert.protected:
        return False
    said = sender.alert
    return said is None or said.direction != "sent" or said.code != alert.code


def _agree(client: Report, server: Report) -> tuple[Side | None, Slugs]:
    for judge, other in ((client, server), (server, client)):
        if judge.rejected_by == judge.side:
            if judge.peer and other.own and judge.peer.fingerprint != other.own.fingerprint:
                # What was judged is not what was presented.
                return judge.side, ("tampered",)
            return judge.side, _together(judge, other)
    for one, other in ((client, server), (server, client)):
        # Refused by the other side, which does not know that it refused: it denies in words.
        if one.rejected_by is not None:
            return one.rejected_by, tuple(one.causes)
        if one.causes and not set(one.causes) <= _ENDINGS:
            return None, tuple(one.causes)
        if one.causes and not other.causes:
            return None, tuple(one.causes)
    return None, tuple(client.causes or server.causes)


def _together(judge: Report, judged: Report) -> Slugs:
    """What the two reports of one refusal leave."""
    if _clocks_disagree(judge, judged):
        return ("clock-skew",)
    both = keep(judge.causes, judged.causes) or tuple(judge.causes)
    if judge.peer is None or judged.own is None:
        return both
    ruled_out: set[Slug] = set()
    if len(_CHAIN_CAUSES & {*both}) > 1:
        ruled_out |= _decided_by_anchors(judge, judged)
    unsigned = next((fault for fault in judge.faults if fault.slug in _UNSIGNED), None)
    if judge.verify_code == _BAD_SIGNATURE and unsigned is not None:
        sent = {judged.own.fingerprint, *(i.fingerprint for i in judged.issuers if i.presented)}
        if unsigned.fingerprint in sent:
            ruled_out.add("tampered")  # it is what was sent, so nobody altered it on its way
        seen = _UNSIGNED.isdisjoint(fault.slug for fault in judged.faults)
        if seen and len(judged.issuers) > unsigned.depth:
            ruled_out.add("bad-signature")  # the judged knows whose key did sign it
    return drop(both, ruled_out) or both


def _clocks_disagree(judge: Report, judged: Report) -> bool:
    """Whether they looked at the same dates and found them otherwise."""
    if judged.rejected_by != judge.side or not {*judge.causes} <= _DATED:
        return False
    wrong = {fault.fingerprint for fault in judged.faults if fault.slug in _DATED}
    above = {issuer.fingerprint for issuer in judged.issuers}
    return any(
        fault.fingerprint not in wrong
        # What it has not found in its own certificate, it rules out.
        and (fault.fingerprint in above if fault.depth else fault.slug not in judged.causes)
        for fault in judge.faults
        if fault.slug in judge.causes
    )


def _decided_by_anchors(judge: Report, judged: Report) -> Set[Slug]:
    """Those of `_CHAIN_CAUSES` that it is not, by where the path leads."""
    if not judge.anchors or not judged.issuers:
        return set()
    left_out = any(not (issuer.presented or issuer.root) for issuer in judged.issuers)
    if any(issuer.fingerprint in judge.anchors for issuer in judged.issuers):
        return _CHAIN_CAUSES - {"missing-intermediate"} if left_out else set()
    complete = judged.issuers[-1].root
    return {"missing-intermediate"} if complete and not left_out else set()


def _summary(
    client: Report,
    server: Report,
    rejected_by: Side | None,
    causes: Slugs,
    forged: bool,
) -> str:
    if forged:
        receiver = client if _forged(client, server) else server
        other = peer_of(receiver.side)
        name = receiver.alert.name if receiver.alert else "?"
        return f"the {receiver.side} received alert {name}, which the {other} never sent"
    if not causes:
        return "the client and the server accepted each other"
    owner, code = peer_of(rejected_by or "client"), _verdict(client, server)
    told = ", or ".join(
        in_third_person(cause_of(slug, code).clause, owner, named=True) for slug in causes
    )
    if rejected_by is None:
        return told
    return f"the {rejected_by} refused the {owner}: {told}"


def _remedies(
    client: Report,
    server: Report,
    rejected_by: Side | None,
    causes: Slugs,
    vocabulary: Vocabulary,
) -> dict[Side, str]:
    if not causes:
        return {}
    cause = cause_of(causes[0], _verdict(client, server))
    sides: tuple[Side, Side] = ("client", "server")
    owner = OWNERS.get(causes[0])
    return {
        side: Perspective(side, rejected_by, owner, vocabulary).remedy(cause) for side in sides
    }


def _verdict(client: Report, server: Report) -> int | None:
    """OpenSSL's verify code, of whoever judged."""
    return server.verify_code if client.verify_code is None else client.verify_code
