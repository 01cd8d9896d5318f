"""Ways around a certificate, each with a server that has it, and one that has not."""

from __future__ import annotations

import contextlib
import itertools
import ssl
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from mtls_echo.gallery.exhibit import ExhibitStream
from mtls_echo.probing.result import Result
from mtls_echo_client.http import HTTPRequest
from mtls_echo_pki.certificates.request import Request
from mtls_echo_tls.diagnosis.failure import TLSFailure
from tests.cli.probing.servers import context, hello, http, listening, probed, verdicts
from tests.cli.probing.threads import Choose, Threaded, response
from tests.support.authorities import SERVERS

pytestmark = pytest.mark.real_time

NONE = ssl.CERT_NONE
SPELLINGS = ("sni-none", "sni-unknown", "sni-case", "sni-trailing-dot")
BOTH = SERVERS.issue(Request.server("localhost", "a.test", "b.test"))


def by_name(rules: dict[str, ssl.SSLContext], default: ssl.SSLContext) -> Choose:
    """The context for the name that is asked for, letter by letter."""

    def choose(hello: bytes) -> ssl.SSLContext:
        for name, rule in rules.items():
            if len(name).to_bytes(2) + name.encode() in hello:
                return rule
        return default

    return choose


def by_turns(make: Callable[[], ssl.SSLContext], *, num_tickets: int) -> Choose:
    """A new context for each connection: its tickets are good for nothing."""

    def choose(hello: bytes) -> ssl.SSLContext:
        made = make()
        made.num_tickets = num_tickets
        return made

    return choose


def strict() -> ssl.SSLContext:
    return context(credential=BOTH)


def lax() -> ssl.SSLContext:
    return context(NONE, credential=BOTH)


async def around(server: Threaded, *only: str, **target: Any) -> Result:
    with server:
        return await probed(server.port, only=only, **target)


async def test_another_spelling_of_the_name_may_lead_to_laxer_rules() -> None:
    wrong = await around(Threaded(by_name({"localhost": strict()}, lax())), "none", *SPELLINGS)
    right = await around(Threaded(by_name({"a.test": lax()}, strict())), "none", *SPELLINGS)

    assert verdicts(wrong) == {"none": {"refused"}, **{slug: {"admitted"} for slug in SPELLINGS}}
    assert verdicts(right) == {"none": {"refused"}, **{slug: {"refused"} for slug in SPELLINGS}}


async def test_a_hello_in_pieces_may_hide_the_name_from_a_router() -> None:
    required, open_to_all = strict(), lax()

    def route(first: bytes) -> ssl.SSLContext:
        whole = int.from_bytes(first[3:5]) > 100
        return required if whole else open_to_all

    result = await around(Threaded(route), "none", "split-hello")

    assert verdicts(result) == {"none": {"refused"}, "split-hello": {"admitted"}}
    right = await around(Threaded(strict()), "split-hello")
    assert verdicts(right) == {"split-hello": {"refused"}}


async def test_the_same_port_may_serve_without_tls() -> None:
    required = strict()
    result = await around(
        Threaded(lambda first: required if first[0] == 0x16 else None), "plaintext"
    )
    right = await around(Threaded(required), "plaintext")

    assert verdicts(result) == {"plaintext": {"admitted"}}
    assert verdicts(right) == {"plaintext": {"refused"}}


@pytest.mark.parametrize(
    ("said", "ends", "verdict", "how"),
    [
        (b"", True, "refused", "the server closed, without an answer in the clear"),
        (b"\x15\3\3\0\2\2\x0a", True, "refused", "alert unexpected_message"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", True, "refused", "HTTP/1.1 400 Bad Request"),
        # It may wait for the rest of a ClientHello.
        (b"", False, "not tested", "the server did not close within the timeout"),
        (b"500 OOPS: http request\r\n", True, "refused", "an error in the clear: 500 OOPS"),
        # It says so to every client.
        (b"421 Too many connections\r\n", True, "unclear", "the server says: "),
        (b"* BYE Too many connections\r\n", True, "unclear", "the server says: "),
        # Redis, which served it, would say so.
        (b"-ERR wrong number of arguments\r\n", True, "unclear", "the server says: "),
        (b"SSH-2.0-OpenSSH\r\n", False, "unclear", "the server says: SSH"),
    ],
)
async def test_what_is_seen_without_tls_is_said_and_silence_proves_nothing(
    said: bytes, ends: bool, verdict: str, how: str
) -> None:
    tls = strict()

    async def handle(accepted: trio.SocketStream) -> None:
        first = await accepted.receive_some()
        if first.startswith(b"GET "):
            await accepted.send_all(said)
            if not ends:
                await accepted.receive_some()
            await accepted.aclose()
            return
        stream = ExhibitStream(accepted, tls, server_side=True)
        stream.begin(first)
        with contextlib.suppress(TLSFailure):
            await stream.do_handshake()
            await http(hello)(stream, None, 0)
        await stream.aclose()

    async with listening(handle) as port:
        result = await probed(port, only=("plaintext",), versions=("1.3",), timeout=1.0)

    assert verdicts(result) == {"plaintext": {verdict}}
    assert how in result.rows[0].how


@pytest.mark.parametrize("slug", ["plaintext", *SPELLINGS])
async def test_no_header_of_one_s_own_goes_to_a_server_that_is_not_verified(slug: str) -> None:
    # It lets a client in without a certificate and without TLS, but for the name that it has.
    required, free = strict(), lax()
    heads: list[str] = []

    def keep(secured: ssl.SSLSocket, head: str) -> str:
        if secured.context is free:
            heads.append(head)
        return response("hello")

    rules = by_name({"localhost": required}, free)
    server = Threaded(lambda first: rules(first) if first[0] == 0x16 else None, keep)
    secret = HTTPRequest("/", header=(("Authorization", "Basic c2VjcmV0"),))
    plain = HTTPRequest("/", header=(("Host", "a.test"),))
    with server:
        told = await probed(server.port, only=(slug,), mode="http", request=secret)
        assert heads == []
        untold = await probed(server.port, only=(slug,), mode="http", request=plain)

    assert verdicts(told) == {slug: {"not tested"}}
    assert "header of one's own" in told.rows[0].how
    assert verdicts(untold) == {slug: {"admitted"}}
    assert all("Host: a.test\r\n" in head for head in heads)
    assert bool(heads) is (slug != "plaintext")


async def test_an_identity_in_a_header_is_a_claim() -> None:
    def trusting(secured: ssl.SSLSocket, head: str) -> str:
        known = secured.getpeercert() or "SSL-Client-Verify: SUCCESS" in head
        return response("hello") if known else response("who?", "401 Unauthorized")

    server = Threaded(context(ssl.CERT_OPTIONAL), trusting)
    with server:
        asked = await probed(server.port, only=("none", "forged-headers"), forge_headers=True)
        unasked = await probed(server.port, only=("forged-headers",))

    assert verdicts(asked) == {"none": {"refused late"}, "forged-headers": {"admitted"}}
    assert verdicts(unasked) == {"forged-headers": {"not tested"}}


def host_of(head: str) -> str:
    """The host of a request."""
    return head.partition("Host: ")[2].partition(":")[0]


ACROSS = ("ticket-across-names", "host-not-sni")
TWO: dict[str, Any] = {"server_names": ("a.test", "b.test")}


async def test_what_one_name_admits_may_be_a_way_into_another() -> None:
    def wrong(secured: ssl.SSLSocket, head: str) -> str:
        # By the name of the handshake a client is let in, by that of the request it is served.
        return response(f"this is the page of {host_of(head)}")

    rules = by_name({"b.test": strict()}, lax())
    result = await around(Threaded(rules, wrong), "host-not-sni", **TWO)
    alone = await around(Threaded(strict()), *ACROSS)

    assert verdicts(result) == {"host-not-sni": {"admitted"}}
    assert "no certificate, from a.test to b.test" in result.findings()[0].how
    assert verdicts(alone) == {slug: {"not tested"} for slug in ACROSS}


async def test_a_server_that_compares_the_host_with_the_handshake_is_right() -> None:
    def right(secured: ssl.SSLSocket, head: str) -> str:
        public = secured.context.verify_mode == NONE
        same = public == (host_of(head) == "a.test")
        return response(host_of(head)) if same else response("", "421 Misdirected Request")

    rules = by_name({"b.test": strict()}, lax())
    result = await around(Threaded(rules, right), *ACROSS, **TWO)

    assert verdicts(result)["host-not-sni"] == {"refused late"}
    assert verdicts(result)["ticket-across-names"] <= {"refused", "not tested"}


async def test_a_page_that_tells_the_time_is_the_same_page() -> None:
    asked = itertools.count(100)

    def by_handshake(secured: ssl.SSLSocket, head: str) -> str:
        # It looks at no host: each gets the page of the name in its handshake.
        return response(f"this is page a, request {next(asked)}")

    rules = by_name({"b.test": strict()}, lax())
    result = await around(Threaded(rules, by_handshake), "host-not-sni", **TWO)

    assert verdicts(result) == {"host-not-sni": {"unclear"}}


async def test_a_session_of_one_name_may_be_resumed_under_another() -> None:
    def wrong(secured: ssl.SSLSocket, head: str) -> str:
        asked = host_of(head) == "b.test" and not secured.session_reused
        known = secured.getpeercert() or not asked
        return response(
            f"page of {host_of(head)}" if known else "", "200 OK" if known else "403 No"
        )

    optional = context(ssl.CERT_OPTIONAL, credential=BOTH)
    optional.num_tickets = 2
    result = await around(Threaded(optional, wrong), "ticket-across-names", **TWO)

    assert verdicts(result) == {"ticket-across-names": {"admitted"}}
    assert "in a session that was resumed" in result.findings()[0].how


async def test_a_session_may_outlive_what_admitted_its_client(tmp_path: Path) -> None:
    revoked = tmp_path / "revoked"

    def forgetful(secured: ssl.SSLSocket, head: str) -> str:
        fresh = not secured.session_reused
        return response("no", "403 Forbidden") if fresh and revoked.exists() else response("hi")

    changed, since = tmp_path / "changed", Counter[str | None]()

    def slow_to_reload(secured: ssl.SSLSocket, head: str) -> str:
        # The first connection after the change is served as before it.
        since[secured.version()] += changed.exists()
        late = since[secured.version()] > 1
        return response("no", "403 Forbidden") if late else response("hi")

    tickets = strict()
    tickets.num_tickets = 2
    result = await around(
        Threaded(tickets, forgetful), "ticket-after-change", between=f"touch {revoked}"
    )
    failed = await around(Threaded(tickets), "ticket-after-change", between="exit 3")
    unchanged = await around(Threaded(tickets), "ticket-after-change", between="true")
    # A ticket that is not resumed shows nothing of sessions.
    forgotten = by_turns(strict, num_tickets=2)
    later = await around(
        Threaded(forgotten, slow_to_reload), "ticket-after-change", between=f"touch {changed}"
    )

    assert verdicts(result) == {"ticket-after-change": {"admitted"}}
    assert "resumed; in full: HTTP/1.1 403 Forbidden" in result.findings()[0].how
    assert (
        verdicts(failed)
        == verdicts(unchanged)
        == verdicts(later)
        == {"ticket-after-change": {"not tested"}}
    )
