"""What exhibits answer: HTTP to clients that speak it, an echo to all others.

The page of an exhibit says what is wrong with it, since whoever reads that has accepted it; those
of client certificates say who was seen. The index lists them all.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from mtls_echo_server.handlers import echo
from mtls_echo_server.http.detect import HTTP_1_1, is_request

if TYPE_CHECKING:
    from mtls_echo.gallery.visit import Visit
    from mtls_echo_server.http.site import HTTPRequest, HTTPResponse, Rule
    from mtls_echo_tls.stream.tls import TLSStream


async def converse(visit: Visit, stream: TLSStream) -> None:
    """Answer requests of HTTP, or echo, until the client closes."""
    begun = b""
    if stream.evidence.alpn != HTTP_1_1:
        begun = await stream.receive_some()
        if not is_request(begun):
            await stream.send_all(begun)
            await echo(stream)
            return
    from mtls_echo_server.http.conversation import Conversation

    await Conversation(stream, partial(_rule, visit, stream), begun=begun).run()


def _rule(visit: Visit, stream: TLSStream, _path: str) -> Rule:
    """Every path has the same answer: tests bring paths of their own."""
    from mtls_echo_server.http.site import Rule

    answer = partial(_answer, visit, stream)
    return Rule({"GET": answer, "POST": answer}, _MOST_POSTED)


# Bytes of a request's body, which is ignored.
_MOST_POSTED = 64 * 1024


def _answer(visit: Visit, stream: TLSStream, request: HTTPRequest) -> HTTPResponse:
    from mtls_echo_server.http.site import HTTPResponse

    if visit.exhibit.slug == "index":
        return _index(visit, html=request.wants_html)
    seen = _seen(visit, stream)
    if not request.wants_html:
        return HTTPResponse.json(seen)
    from mtls_echo_server.http.markup import fields, page, section, tag, value

    exhibit = visit.exhibit
    works = exhibit.must == "work"
    mark = tag("span", "as it must be" if works else "accepted", class_=f"mark {_COLOUR[works]}")
    lead = exhibit.title + (
        f". {exhibit.choice[0].upper()}{exhibit.choice[1:]}" if exhibit.choice else ""
    )
    rows = ((name, value(str(found))) for name, found in seen.items() if found is not None)
    content = tag(
        "main",
        tag("p", mark),
        tag("h1", exhibit.slug),
        tag("p", f"{lead}.", class_="lead"),
        section("This connection", fields(*rows)),
    )
    return page(f"mtls-echo gallery: {exhibit.slug}", content)


_COLOUR = {True: "good", False: "bad"}


def _seen(visit: Visit, stream: TLSStream) -> dict[str, Any]:
    """What a client is told of itself; JSON types."""
    agreed = stream.evidence
    return {
        "exhibit": visit.exhibit.slug,
        "rule": visit.exhibit.rule,
        "must": visit.exhibit.must,
        "version": agreed.version,
        "cipher": agreed.cipher,
        "server_name": visit.server_name,
        "client": str(stream.peer) if stream.peer is not None else None,
    }


def _index(visit: Visit, *, html: bool) -> HTTPResponse:
    """The list of exhibits, as links where they can be followed."""
    from mtls_echo.gallery.collection import EXHIBITS
    from mtls_echo_server.http.site import HTTPResponse

    domain, port = visit.domain, visit.transport.socket.getsockname()[1]
    named = [each for each in EXHIBITS.values() if not each.by_address]
    if not html:
        lines = (f"https://{each.slug}.{domain}:{port}/  {each.title}\n" for each in named)
        return HTTPResponse.text("".join(lines))
    from mtls_echo_server.http.markup import page, section, tag

    groups = dict.fromkeys(each.group for each in named)
    parts = [
        section(
            group,
            *(
                tag("p", tag("a", each.slug, href=f"https://{each.slug}.{domain}:{port}/"),
                    f": {each.title}")
                for each in named if each.group == group
            ),
        )
        for group in groups
    ]  # fmt: skip
    lead = tag("p", "Each is wrong in one respect; good is not.", class_="lead")
    return page("mtls-echo gallery", tag("main", tag("h1", "mtls-echo gallery"), lead, *parts))
