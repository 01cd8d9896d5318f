"""What exhibits answer: HTTP to clients that speak it, an echo to all others.

The page of an exhibit says what is wrong with it, since only a client that has accepted it can
read it; those of client certificates say who was seen. The index lists them all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from mtls_echo_server.handlers import echo
from mtls_echo_server.http.detect import HTTP_1_1, is_request

if TYPE_CHECKING:
    from mtls_echo.gallery.exhibit import Exhibit, ExhibitVisit
    from mtls_echo_server.http.site import HTTPResponse, ReceivedRequest, Rule
    from mtls_echo_tls.stream.tls import TLSStream

Answer: TypeAlias = "Callable[[ExhibitVisit, TLSStream, ReceivedRequest], HTTPResponse]"

# Bytes of a request's body, which is ignored.
_MOST_POSTED = 64 * 1024


async def show_index(exhibits: Iterable[Exhibit], visit: ExhibitVisit) -> None:
    """Complete the handshake, and list the exhibits."""
    await converse(visit, partial(_index, [each for each in exhibits if not each.by_address]))


async def show_exhibit(visit: ExhibitVisit) -> None:
    """Complete the handshake; answer HTTP in HTTP, and echo anything else."""
    await converse(visit, _exhibit)


async def converse(visit: ExhibitVisit, answer: Answer) -> None:
    """Complete the handshake, and answer requests of HTTP, or echo, until the client closes."""
    stream = await visit.handshake()
    begun = b""
    if stream.evidence.alpn != HTTP_1_1:
        begun = await stream.receive_some()
        if not is_request(begun):
            await stream.send_all(begun)
            await echo(stream)
            return
    from mtls_echo_server.http.conversation import Conversation
    from mtls_echo_server.http.site import Rule

    def rule(_path: str) -> Rule:
        """Every path has the same answer: tests bring paths of their own."""
        respond = partial(answer, visit, stream)
        return Rule({"GET": respond, "POST": respond}, _MOST_POSTED)

    between = stream.evidence.reach_boundary
    await Conversation(stream, rule, begun=begun, between=between).run()


# What a client is told that came so far, by what it must do.
_MARKS = {"work": ("as it must be", "good"), "either": ("accepted, as the rules allow", "warn")}


def _exhibit(visit: ExhibitVisit, stream: TLSStream, request: ReceivedRequest) -> HTTPResponse:
    from mtls_echo_server.http.markup import fields, page, section, tag, value
    from mtls_echo_server.http.site import HTTPResponse

    exhibit, agreed, peer = visit.exhibit, stream.evidence, stream.peer
    seen: dict[str, Any] = {
        "exhibit": exhibit.slug,
        "rule": exhibit.rule,
        "must": exhibit.must,
        "version": agreed.version,
        "cipher": agreed.cipher,
        "server_name": visit.server_name,
        "client": ", ".join(name for name in (peer.common_name, *peer.names) if name)
        if peer is not None
        else None,
    }
    if not request.wants_html:
        return HTTPResponse.json(seen)
    mark, colour = _MARKS.get(exhibit.must, ("accepted", "bad"))
    content = tag(
        "main",
        tag("p", tag("span", mark, class_=f"mark {colour}")),
        tag("h1", exhibit.slug),
        tag("p", f"{exhibit.title}.", class_="lead"),
        tag("p", exhibit.choice) if exhibit.choice else None,
        section(
            "This connection",
            fields(*((k.replace("_", " "), value(str(v))) for k, v in seen.items() if v)),
        ),
    )
    return page(f"mtls-echo gallery: {exhibit.slug}", content)


def _index(
    exhibits: Iterable[Exhibit], visit: ExhibitVisit, _stream: TLSStream, request: ReceivedRequest
) -> HTTPResponse:
    """The list of exhibits, with links."""
    from mtls_echo_server.http.markup import page, section, tag
    from mtls_echo_server.http.site import HTTPResponse

    port = visit.transport.socket.getsockname()[1]
    urls = {each: f"https://{each.slug}.{visit.domain}:{port}/" for each in exhibits}
    if not request.wants_html:
        return HTTPResponse.text("".join(f"{url}  {each.title}\n" for each, url in urls.items()))
    parts = [
        section(
            group,
            *(
                tag("p", tag("a", each.slug, href=url), f": {each.title}")
                for each, url in urls.items()
                if each.group == group
            ),
        )
        for group in dict.fromkeys(each.group for each in urls)
    ]
    lead = tag("p", "Each differs from good in one respect.", class_="lead")
    return page("mtls-echo gallery", tag("main", tag("h1", "mtls-echo gallery"), lead, *parts))
