"""Write `docs/clients.md`: every ready-made client that is here, by every exhibit.

The rows are what `gallery judge --client NAME --json` prints, one client after the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

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

# Why clients differ where a rule forbids it, in the words of a programmer who has to know.
_WHY = {
    "no-san": "RFC 2818 §3.1 had clients fall back to the common name of a certificate without"
    " subjectAltName; RFC 9110 §4.3.4 and RFC 9525 §2 have them no longer. OpenSSL's"
    " X509_check_host falls back unless X509_CHECK_FLAG_NEVER_CHECK_SUBJECT is set (Python:"
    " `hostname_checks_common_name = False`, which urllib3, and so requests, sets); GnuTLS, node"
    " and Java fall back, too. Go and Chromium do not.",
    "wrong-usage": "By RFC 5280 §4.2.1.12 a certificate with extendedKeyUsage serves its purposes"
    " only. GnuTLS checks the purpose when it is asked to"
    " (gnutls_certificate_verify_peers with GNUTLS_KP_TLS_WWW_SERVER), as gnutls-cli does; wget"
    " does not ask.",
    "truncates": "RFC 8446 §6.1 and RFC 5246 §7.2.1: without close_notify more may have been to"
    " come. gnutls-cli may take the end of TCP for that of the data, with status 0. HTTP"
    " clients count the bytes of the body; Java's HttpsURLConnection, which is judged here, does"
    " not. (java.net.http.HttpClient does, but sends hardly any alert.)",
    "alert-close-notify": "The server closes before it has shown anything, which is the end of the"
    " connection (RFC 8446 §6.1), and no success. `openssl s_client` ends with status 0; it sends"
    " nothing.",
    "oversize": "OpenSSL and BoringSSL (Chromium) take 100 KiB of certificates, Go 64 KiB of one"
    " message, Java 32 KiB, and GnuTLS more.",
    "weak-key": "OpenSSL's security level 1 takes RSA from 1024 bits on, level 2, Debian's,"
    " from 2048; node has an OpenSSL of its own, with level 1.",
}

_NOTES = {
    "revocation": "The CRLs of both CAs of a path, the root's and the intermediate's. gnutls-cli"
    " cannot be given the latter: it verifies a CRL when it loads it, with the trust anchors only,"
    ' and ends ("Error in the CRL verification"). Go, Java, requests and Chromium have no option'
    " for a CRL of one's own in what is run here. Where a CRL does not count, RFC 5280 §6.3.3"
    " leaves the decision to the application: OpenSSL refuses, GnuTLS accepts.",
}


def page(scores: Sequence[Scored]) -> Iterator[str]:
    """The page, piece by piece."""
    yield _PREAMBLE
    yield "| client | version |\n|---|---|"
    for score in scores:
        yield f"| {score['client']} | {printable(score['version'] or '?')} |"
    by_group = {group: [e for e in EXHIBITS.values() if e.group == group] for group in _GROUPS}
    for group, about in _GROUPS.items():
        yield f"\n## {about}\n"
        if group in _NOTES:
            yield f"{_NOTES[group]}\n"
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
            said = " ".join(filter(None, (rule, _WHY.get(exhibit.slug))))
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
