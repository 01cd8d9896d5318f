"""The page of a handshake: who you are, what was agreed on, what you offered, the messages."""

from __future__ import annotations

from typing import Any, cast

from mtls_echo_pki.lifetimes import describe_lifetime
from mtls_echo_server.http.handshake import Handshake, time_left
from mtls_echo_server.http.markup import (
    Markup,
    fields,
    group,
    page,
    section,
    tag,
    text,
    value,
    values,
)
from mtls_echo_server.http.site import HTTPResponse
from mtls_echo_tls.diagrams.full import sequence
from mtls_echo_tls.path.summaries import MOST_NAMES, CertificateSummary

# Of what a client offers, in the order in which people ask for it.
_OFFERED = {
    "server_name": "server name (SNI)",
    "alpn": "protocols (ALPN)",
    "versions": "TLS versions",
    "cipher_suites": "cipher suites",
    "groups": "groups",
    "key_shares": "key shares",
    "signature_algorithms": "signatures",
    "certificate_compression": "compression",
    "resumption": "to resume",
}

_LINKS = (
    ("/json", "this as JSON"),
    ("/trace", "the messages as text"),
    ("/certificate.pem", "your certificate"),
)

# Less than this many seconds left is soon.
_SOON = 7 * 86_400

# Of the diagram, in columns; on a narrow screen it can be moved.
_WIDTH = 104
_MOST_DRAWN = 200_000


def handshake_page(handshake: Handshake) -> HTTPResponse:
    """The page of this handshake."""
    report, client = handshake.report, handshake.report.peer
    who = name_of(client) if client is not None else None
    title = f"mtls-echo: you are {who}" if who else "mtls-echo: you are anonymous"
    content = tag(
        "main",
        *_heading(who, asked=report.requested is not None),
        tag(
            "div",
            section("You presented", certificate(client)) if client else _no_certificate(),
            section("Agreed on", _agreed(handshake)),
            class_="pair",
        ),
        section(
            "Your client offered",
            _offered(handshake.hello),
            note="What its ClientHello says, in its own order.",
        ),
        section(
            "Message by message",
            tag("pre", text("\n".join(sequence(handshake.traced(), width=_WIDTH)), _MOST_DRAWN)),
            note="A double line is encrypted: a capture on the network does not show what it is.",
        )
        if handshake.messages
        else None,
        section("The server presented", certificate(report.own)) if report.own else None,
    )
    links = (tag("a", label, href=path) for path, label in _LINKS if client or "pem" not in path)
    random = report.client_random
    joined = tag("p", "client random: ", tag("span", random, class_="mono")) if random else None
    return page(title, content, tag("footer", tag("p", *links), joined))


def _heading(who: str | None, *, asked: bool) -> list[Markup]:
    if who is not None:
        mark = tag("span", "mutual TLS", class_="mark good")
        title = tag("h1", "You are ", value(who))
        lead = "Your client proved that it holds the key of a certificate that this server trusts."
    else:
        mark = tag("span", "TLS, server only", class_="mark warn")
        title = tag("h1", "You are anonymous")
        lead = "Your client presented no certificate" + (
            ", and this server admits clients without one." if asked
            else ": this server asks for none."
        )  # fmt: skip
    return [tag("p", mark), title, tag("p", lead, class_="lead")]


def _no_certificate() -> Markup:
    return section("You presented", tag("p", tag("em", "no certificate")))


def name_of(certificate: CertificateSummary) -> str:
    """How a certificate is called in a heading: its first name, or its subject."""
    return next(iter(certificate.names), "") or certificate.subject or "nameless"


def certificate(summary: CertificateSummary) -> Markup:
    """A certificate, for a page."""
    left = time_left(summary.not_after)
    seconds = left.total_seconds()
    if seconds < 0:
        state = tag("span", f"expired {describe_lifetime(-left)} ago", class_="mark bad")
    else:
        kind = "warn" if seconds < _SOON else "good"
        state = tag("span", f"{describe_lifetime(left)} left", class_=f"mark {kind}")
    first = f" the first {MOST_NAMES}" if len(summary.names) == MOST_NAMES else ""
    return fields(
        ("subject", value(summary.subject) if summary.subject else tag("em", "empty")),
        ("names", group(values(summary.names), tag("em", first) if first else None)),
        ("issued by", value(summary.issuer)),
        (
            "valid",
            group(
                *(_moment(summary.not_before), " to ", _moment(summary.not_after), " UTC ", state)
            ),
        ),
        ("serial", tag("span", value(summary.serial), class_="mono")),
        ("SHA-256", tag("span", summary.fingerprint, class_="mono")),
    )


def _moment(rfc3339: str) -> Markup:
    said = rfc3339.replace("T", " ").removesuffix("Z")[:16]
    return tag("span", said, class_="whole")


def _agreed(handshake: Handshake) -> Markup:
    report = handshake.report
    agreed = report.tls
    if agreed is None:
        return fields()
    return fields(
        ("version", agreed.version),
        ("cipher suite", tag("code", agreed.cipher) if agreed.cipher else None),
        ("group", tag("code", agreed.group) if agreed.group else None),
        ("signature", tag("code", agreed.signature) if agreed.signature else None),
        ("protocol", tag("code", value(agreed.alpn)) if agreed.alpn else tag("em", "none (ALPN)")),
        (
            "server name",
            tag("code", value(agreed.server_name)) if agreed.server_name
            else tag("em", "none (SNI), as for an address"),
        ),
        ("session", "resumed" if agreed.resumed else "new, every certificate verified"),
    )  # fmt: skip


def _offered(hello: dict[str, Any] | None) -> Markup:
    if hello is None:
        return tag("p", tag("em", "not recorded"))
    rows = ((label, _listed(hello[key])) for key, label in _OFFERED.items() if key in hello)
    return fields(*rows)


def _listed(offered: object) -> Markup:
    if isinstance(offered, list):
        return values([str(one) for one in cast("list[object]", offered)])
    return tag("code", value(str(offered))) if offered else text("")
