"""Two reports of one connection, joined into a single account.

Each side knows what the other cannot: the judge its anchors, its clock and OpenSSL's verdict; the
judged its own whole path and whether its key is its own. Both know ``ClientHello.random``, which
joins them. What remains possible for both is what happened. And one thing only both together can
see: an alert that one received and the other never sent. In the clear anybody on the path can
write one, and the side that gets it cannot tell.
"""

from __future__ import annotations

from dataclasses import dataclass

from mtls_echo_tls.causes import CAUSES
from mtls_echo_tls.evidence import Side
from mtls_echo_tls.report import Report
from mtls_echo_tls.wording import Words

# What a side says that has only seen the connection end: any other account is better.
_ENDINGS = frozenset({"closed-without-alert", "reset", "truncated", "internal-error"})


@dataclass(frozen=True)
class Account:
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
    causes: tuple[str, ...]
    forged: bool
    summary: str
    remedies: dict[Side, str]


def join(client: Report, server: Report) -> Account:
    """Join the two sides' reports.

    Raises:
        ValueError: They are not of one connection, or not of its two sides.
    """
    if (client.side, server.side) != ("client", "server"):
        raise ValueError(f"a {client.side}'s and a {server.side}'s report do not make a pair")
    if client.client_random is None or client.client_random != server.client_random:
        raise ValueError("the two reports are not of one connection")
    forged = _forged(client, server) or _forged(server, client)
    rejected_by, causes = (None, ("tampered",)) if forged else _agree(client, server)
    return Account(
        client_random=client.client_random,
        rejected_by=rejected_by,
        causes=causes,
        forged=forged,
        summary=_summary(client, server, rejected_by, causes, forged),
        remedies=_remedies(rejected_by, causes),
    )


def _forged(receiver: Report, sender: Report) -> bool:
    """Whether the receiver was told something that the sender did not say."""
    alert = receiver.alert
    if alert is None or alert.direction != "received" or alert.protected:
        return False
    said = sender.alert
    return said is None or said.direction != "sent" or said.code != alert.code


def _agree(client: Report, server: Report) -> tuple[Side | None, tuple[str, ...]]:
    for judge, other in ((client, server), (server, client)):
        if judge.rejected_by == judge.side:
            if judge.peer and other.own and judge.peer.fingerprint != other.own.fingerprint:
                # What was judged is not what was presented.
                return judge.side, ("tampered",)
            both = tuple(slug for slug in judge.causes if slug in other.causes)
            return judge.side, both or tuple(judge.causes)
    for one, other in ((client, server), (server, client)):
        # Refused by the other side, which does not know that it refused: it denies in words.
        if one.rejected_by is not None:
            return one.rejected_by, tuple(one.causes)
        if one.causes and not set(one.causes) <= _ENDINGS:
            return None, tuple(one.causes)
        if one.causes and not other.causes:
            return None, tuple(one.causes)
    return None, tuple(client.causes or server.causes)


def _summary(
    client: Report,
    server: Report,
    rejected_by: Side | None,
    causes: tuple[str, ...],
    forged: bool,
) -> str:
    if forged:
        receiver = client if _forged(client, server) else server
        other = "server" if receiver.side == "client" else "client"
        name = receiver.alert.name if receiver.alert else "?"
        return f"the {receiver.side} received alert {name}, which the {other} never sent"
    if not causes:
        return "the client and the server accepted each other"
    # Told by the judge, about the other: "its" is then the owner's.
    words = Words(rejected_by or "client", rejected_by or "client")
    told = ", or ".join(words.says(slug).replace("our", f"the {words.side}'s") for slug in causes)
    if rejected_by is None:
        return told
    return f"the {rejected_by} refused the {words.peer}: {told}"


def _remedies(rejected_by: Side | None, causes: tuple[str, ...]) -> dict[Side, str]:
    if not causes:
        return {}
    cause = CAUSES[causes[0]]
    sides: tuple[Side, Side] = ("client", "server")
    return {side: Words(side, rejected_by).remedy(cause) for side in sides}
