"""Write `docs/clients.md`: every ready-made client that is here, by every exhibit.

The rows are what `gallery judge --client NAME --json` prints, one client after the other.
``clients.toml`` says why they differ where a rule forbids it, and what is to be known of a group.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec
import trio

from mtls_echo.gallery.clients import CLIENTS
from mtls_echo.gallery.collection import EXHIBITS
from mtls_echo.gallery.exhibit import Exhibit
from mtls_echo.gallery.judge import judge
from mtls_echo_pki.printable import printable
from mtls_echo_tls.alerts import AlertDescription

# A client's score as JSON has it.
Scored: TypeAlias = dict[str, Any]

REMARKS = msgspec.toml.decode(
    Path(__file__).with_suffix(".toml").read_bytes(),
    type=dict[Literal["differences", "notes"], dict[str, str]],
)

_PREAMBLE = """\
# What clients make of bad servers

This page is generated: `make docs` runs each client once for each exhibit of the
[gallery](gallery.md) and each version of TLS, and writes down what the *server* saw. A test runs a
sample of it again. Make yours with `mtls-echo gallery judge --client NAME`.

A client gets a file of trust anchors and asks for `https://localhost:PORT/`; nothing else is
configured, but for the CRLs in the second table. Each exhibit differs in one thing from a server
that the same client has accepted: from `good`, or from the same certification path without the
fault.

- A number is the alert by which a client refused. *closed*: it refused without one; it completed
  the handshake, looked, and sent nothing, or just closed the connection.
- **sent** means that its request was sent, so the server was accepted, and **late** that it then
  said that it had failed. *(sent)*: the rule leaves the client the choice.
- Two values are those of TLS 1.2 and 1.3. Empty: not tested, for want of a CRL or because the
  client fails on the same path without the fault.
"""


def page(scores: Sequence[Scored]) -> Iterator[str]:
    """The page, piece by piece."""
    yield _PREAMBLE
    yield "| client | version |\n|---|---|"
    for score in scores:
        yield f"| {score['client']} | {printable(score['version'] or '?')} |"
    by_group = {group: [e for e in EXHIBITS.values() if e.group == group] for group in _GROUPS}
    for group, about in _GROUPS.items():
        yield f"\n## {about}\n"
        if group in REMARKS["notes"]:
            yield f"{REMARKS['notes'][group]}\n"
        yield from _table(by_group[group], [s for s in scores if _knows(s, group)])
    yield "\n## Where they differ\n"
    yield from _differences(scores)
    yield "\n## The alerts\n"
    yield f"{', '.join(f'{each} {each.name}' for each in _alerts(scores))}."


_GROUPS = {
    "certificate": "Certificates",
    "revocation": "Revocation, by clients that were given CRLs",
    "protocol": "Protocol",
    "alert": "Alerts in place of an answer",
    "client certificate": "Clients that have a certificate",
}


# More exhibits than these with one result are the alerts.
_MOST_NAMED = 20


def _knows(score: Scored, group: str) -> bool:
    return any(row["group"] == group and row["verdict"] != "not tested" for row in score["rows"])


def _table(exhibits: Sequence[Exhibit], scores: Sequence[Scored]) -> Iterator[str]:
    yield f"| | {' | '.join(score['client'] for score in scores)} |"
    yield "|---|" + "---|" * len(scores)
    alike: dict[tuple[str, ...], list[str]] = {}
    for exhibit in exhibits:
        cells = tuple(cell(score, exhibit) for score in scores)
        alike.setdefault(cells, []).append(exhibit.slug)
    for cells, slugs in alike.items():
        named = "<br>".join(slugs)
        if len(slugs) > _MOST_NAMED:
            named = f"{slugs[0]}<br>and {len(slugs) - 1} more"
        yield f"| {named} | {' | '.join(cells)} |"


def cell(score: Scored, exhibit: Exhibit) -> str:
    """What a client did with an exhibit, in both versions."""
    found = [_of(row) for row in score["rows"] if row["exhibit"] == exhibit.slug]
    return " / ".join(dict.fromkeys(found))


def _of(row: dict[str, Any]) -> str:
    if row["verdict"] == "refused" and row["must"] == "fail":
        return "fails"
    if row["verdict"] == "refused":
        return str(AlertDescription[row["alert"]].value) if row["alert"] else "closed"
    text = {"accepted": "sent", "accepted late": "late", "not tested": ""}.get(row["verdict"])
    if text is None:
        return str(row["verdict"])
    if text and row["must"] == "fail":
        text = "status 0"
    return text and (f"*({text})*" if row["must"] == "either" else f"**{text}**")


def _differences(scores: Sequence[Scored]) -> Iterator[str]:
    """Which exhibits were accepted, by which clients, and what the rule is."""
    found: dict[tuple[str, str], list[str]] = {}
    for exhibit in EXHIBITS.values():
        accepted = dict.fromkeys(
            score["client"]
            for score in scores
            for row in score["rows"]
            if row["exhibit"] == exhibit.slug and row["verdict"] in ("accepted", "accepted late")
        )
        if accepted:
            rule = exhibit.choice and f"{exhibit.choice[0].upper()}{exhibit.choice[1:]}."
            said = " ".join(filter(None, (rule, REMARKS["differences"].get(exhibit.slug))))
            named = f"**{exhibit.slug}** ({exhibit.title})"
            found.setdefault((", ".join(accepted), said), []).append(named)
    for (who, said), named_ones in found.items():
        yield f"- {', '.join(named_ones)}: accepted by {who}. {said}"


def _alerts(scores: Sequence[Scored]) -> list[AlertDescription]:
    names = {row["alert"] for score in scores for row in score["rows"] if row["alert"]}
    return sorted(AlertDescription[name] for name in names)


def score_of(name: str) -> Scored:
    """Judge a ready-made client."""
    scored = trio.run(judge, CLIENTS[name], EXHIBITS.values())
    found: Scored = msgspec.json.decode(scored.as_json({}))
    return found


def main() -> None:
    """Judge the clients that are here, and print the page."""
    names = [name for name, client in CLIENTS.items() if not client.missing]
    print("\n".join(page([score_of(name) for name in names])))


if __name__ == "__main__":
    main()
