"""HTTP/1.1 as it should be, as clients get it wrong, and as attackers would have it."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

import pytest
import trio
import trio.testing

from mtls_echo_server.http.conversation import MOST_HEAD, Bounds, Conversation
from mtls_echo_server.http.detect import PREFACE, is_request
from mtls_echo_server.http.site import BYTES, HTTPResponse, ReceivedRequest, Rule, get

HOST = b"Host: localhost\r\n"


def site(path: str) -> Rule | None:
    def shown(request: ReceivedRequest) -> HTTPResponse:
        kind = "html" if request.wants_html else "json"
        return HTTPResponse.text(f"{request.path} {kind} {dict(request.query)}")

    rules = {
        "/": get(shown),
        "/echo": Rule({"POST": lambda it: HTTPResponse(200, BYTES, it.body)}, 1000),
    }
    return rules.get(path)


class Script:
    """A client that sends these pieces, then ends, and keeps what it gets."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.pieces = list(pieces)
        self.got = b""

    async def receive_some(self) -> bytes:
        await trio.lowlevel.checkpoint()
        return self.pieces.pop(0) if self.pieces else b""

    async def send_all(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.got += data


async def said(*pieces: bytes, bounds: Bounds | None = None) -> bytes:
    script = Script(pieces)
    await Conversation(script, site, bounds=bounds).run()
    return script.got


def statuses(answers: bytes) -> list[int]:
    return [int(found) for found in re.findall(rb"HTTP/1\.1 (\d{3}) ", answers)]


async def test_one_request_gets_one_answer_with_a_length() -> None:
    answer = await said(b"GET /?a=1&a=2 HTTP/1.1\r\n" + HOST + b"\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert statuses(answer) == [200]
    assert body == b"/ json {'a': '2'}"
    assert b"Content-Length: %d" % len(body) in head
    for header in (b"Cache-Control: no-store", b"X-Content-Type-Options: nosniff"):
        assert header in head
    assert b"Set-Cookie" not in head


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (b"text/html,application/xhtml+xml,*/*;q=0.8", "html"),
        (b"*/*", "json"),
        (b"application/json", "json"),
        (b"text/html;q=0.5, application/json", "json"),
        (b"TEXT/HTML ; q=1", "html"),
        (b"text/html;q=0", "json"),
        (b"text/html;q=much", "json"),
        (b"", "json"),
    ],
)
async def test_html_is_for_who_asks_for_it_by_name(accept: bytes, kind: str) -> None:
    answer = await said(b"GET / HTTP/1.1\r\n" + HOST + b"Accept: " + accept + b"\r\n\r\n")
    assert f" {kind} " in answer.decode()


async def test_head_is_get_without_its_body() -> None:
    answer = await said(b"HEAD / HTTP/1.1\r\n" + HOST + b"\r\nGET / HTTP/1.1\r\n" + HOST + b"\r\n")
    assert statuses(answer) == [200, 200]
    first, _, rest = answer.partition(b"\r\n\r\n")
    assert b"Content-Length: 9" in first
    assert rest.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_a_connection_is_kept_and_requests_may_be_sent_ahead() -> None:
    one = b"POST /echo HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\n\r\nabc"
    assert statuses(await said(one, one)) == [200, 200]
    assert statuses(await said(one * 20)) == [200] * 20
    pieces = [bytes([byte]) for byte in one * 2]
    assert statuses(await said(*pieces)) == [200, 200]


async def test_a_connection_brings_so_many_requests_and_no_more() -> None:
    one = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
    answers = await said(one * 10, bounds=Bounds(requests=3))
    assert statuses(answers) == [200, 200, 200]
    assert answers.count(b"Connection: close") == 1
    nothing = b"GET /nix HTTP/1.1\r\n" + HOST + b"\r\n"
    assert statuses(await said(nothing * 10, bounds=Bounds(requests=3))) == [404, 404, 404]


async def test_http_1_0_is_answered_and_closed() -> None:
    answer = await said(b"GET / HTTP/1.0\r\n\r\n" * 2)
    assert statuses(answer) == [200]
    assert b"chunked" not in answer


async def test_the_target_may_be_absolute() -> None:
    target = b"https://other.test:8443/?x=1"
    answer = await said(b"GET " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n")
    assert answer.endswith(b"/ json {'x': '1'}")
    assert statuses(await said(b"GET https://a.test HTTP/1.1\r\n" + HOST + b"\r\n")) == [200]


async def test_options_say_what_is_allowed() -> None:
    answer = await said(b"OPTIONS /echo HTTP/1.1\r\n" + HOST + b"\r\n")
    assert statuses(answer) == [204]
    assert b"Allow: OPTIONS, POST\r\n" in answer
    answer = await said(b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n")
    assert statuses(answer) == [204]
    assert b"Allow: GET, HEAD, OPTIONS\r\n" in answer


async def test_a_body_is_waited_for_only_if_it_is_wanted() -> None:
    expecting = HOST + b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    answer = await said(b"POST /echo HTTP/1.1\r\n" + expecting, b"abc")
    assert statuses(answer) == [100, 200]
    assert answer.endswith(b"abc")
    for refused in b"/nix", b"/":
        answer = await said(b"POST " + refused + b" HTTP/1.1\r\n" + expecting, b"abc")
        assert statuses(answer) == [404 if refused == b"/nix" else 405]
        assert b"Connection: close" in answer


async def test_chunks_are_one_body() -> None:
    head = b"POST /echo HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"
    answer = await said(head + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    assert answer.endswith(b"abcde")


LENGTH, CHUNKED = b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n"
POST = b"POST /echo HTTP/1.1\r\n" + HOST
GET = b"GET / HTTP/1.1\r\n"


@pytest.mark.parametrize(
    ("status", "sent"),
    [
        # What two programs could read differently.
        (400, POST + LENGTH + CHUNKED + b"\r\n0\r\n\r\nGET /nix HTTP/1.1\r\n\r\n"),
        (400, POST + CHUNKED + LENGTH + b"\r\n0\r\n\r\n"),
        (400, POST + LENGTH + b"Content-Length: 4\r\n\r\nabcd"),
        (400, POST + b"Content-Length: +3\r\n\r\nabc"),
        (400, POST + b"Content-Length: 3, 4\r\n\r\nabcd"),
        (501, POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n"),
        (501, POST + b"Transfer-Encoding: xchunked\r\n\r\n"),
        (400, POST + b"Transfer-Encoding : chunked\r\n\r\n"),
        (400, POST + CHUNKED + b"\r\n0x3\r\nabc\r\n0\r\n\r\n"),
        (400, POST + CHUNKED + b"\r\n3\r\nabcdef\r\n0\r\n\r\n"),
        (400, POST + CHUNKED + b"\r\n" + b"f" * 30 + b"\r\n"),
        # What is no request.
        (400, GET + b"\r\n"),  # without Host
        (400, GET + HOST + HOST + b"\r\n"),
        (400, GET + HOST + b"A\x00: b\r\n\r\n"),
        (400, GET + HOST + b"A: b\x00\r\n\r\n"),
        (400, b"GET /\x00 HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"GET /\r\n\r\n"),
        (400, b"GET foo HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"GET * HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"GET http://[ HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"CONNECT a.test:443 HTTP/1.1\r\n" + HOST + b"\r\n"),
        (400, b"\x16\x03\x01\x02\x00\x01\x00" + bytes(600)),
        (400, "GET /\u202e HTTP/1.1\r\n\r\n".encode()),
        (505, b"GET / HTTP/2.0\r\n" + HOST + b"\r\n"),
        (505, b"GET / HTTP/0.9\r\n" + HOST + b"\r\n"),
        # What is too much.
        (431, b"GET /" + b"a" * MOST_HEAD + b" HTTP/1.1\r\n" + HOST + b"\r\n"),
        (431, GET + HOST + b"A: b\r\n" * MOST_HEAD),
        (413, POST + b"Content-Length: 1001\r\n\r\n"),
        (413, POST + b"Content-Length: %d\r\n\r\n" % 2**30),
        (413, POST + b"Content-Length: 10000000000000000000\r\n\r\n"),
        (413, POST + CHUNKED + b"\r\n1f4\r\n" + b"a" * 500 + b"\r\n1f5\r\n" + b"a" * 501),
        (413, b"GET / HTTP/1.1\r\n" + HOST + b"Content-Length: 1\r\n\r\na"),
        # What is not here.
        (404, b"GET /../etc/passwd HTTP/1.1\r\n" + HOST + b"\r\n"),
        (404, b"GET //a.test/ HTTP/1.1\r\n" + HOST + b"\r\n"),
        (405, b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 0\r\n\r\n"),
        (405, b"TRACE / HTTP/1.1\r\n" + HOST + b"\r\n"),
        (405, b"BREW / HTTP/1.1\r\n" + HOST + b"\r\n"),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_refused_and_said(status: int, sent: bytes) -> None:
    answer = await said(sent)
    assert statuses(answer) == [status]
    assert b"\0" not in answer
    assert b"bytearray" not in answer
    assert answer.endswith(b"}\n")
    if status == 431:
        assert b"have 16384 bytes at most" in answer
    if status not in (404, 405):
        assert b"Connection: close" in answer


async def test_a_client_of_http_2_is_told_in_its_own_words() -> None:
    answer = await said(PREFACE + b"\0\0\0\4\0\0\0\0\0")
    assert answer[:9] == b"\0\0\0\4\0\0\0\0\0"  # SETTINGS
    assert answer[9:].startswith(b"\0\0\x2d\7\0\0\0\0\0\0\0\0\0\0\0\0\x0d")  # HTTP_1_1_REQUIRED


async def test_a_request_that_never_ends_is_not_waited_for(
    patient_clock: trio.testing.MockClock,
) -> None:
    for begun in (b"GET / HTTP/1.1\r\nA: ", POST + LENGTH + b"\r\nab"):
        ours, theirs = trio.testing.memory_stream_pair()

        async def drip(stream: trio.abc.SendStream = theirs, begun: bytes = begun) -> None:
            await stream.send_all(begun)
            while True:
                await trio.sleep(3)
                await stream.send_all(b"x" if begun.endswith(b"A: ") else b"")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(drip)
            await Conversation(ours, site).run()
            nursery.cancel_scope.cancel()
        assert statuses(bytes(await theirs.receive_some())) == [408]
    assert trio.current_time() < 25


async def test_a_client_that_does_not_read_is_given_up(
    patient_clock: trio.testing.MockClock,
) -> None:
    class Unread(Script):
        async def send_all(self, data: bytes) -> None:
            await trio.sleep_forever()

    conversation = Conversation(Unread([GET + HOST + b"\r\n"] * 2), site)
    await conversation.run()
    assert conversation.stalled
    assert trio.current_time() < 31


async def test_the_next_request_is_waited_for_as_long_as_allowed(
    patient_clock: trio.testing.MockClock,
) -> None:
    ours, theirs = trio.testing.memory_stream_pair()
    await theirs.send_all(GET + HOST + b"\r\n")
    between: list[bool] = []
    bounds = Bounds(waiting=60)
    await Conversation(ours, site, bounds=bounds, between=between.append).run()
    assert between == [False, True]
    assert 59 < trio.current_time() < 61
    assert Bounds().waiting == math.inf


@pytest.mark.parametrize(
    ("first", "is_http"),
    [
        (b"GET / HTTP/1.1\r\n", True),
        (b"POST /echo HTTP/1.0\r\nA: b\r\n", True),
        (b"GET https://a.test/ HTTP/1.1\r\n", True),
        (b"OPTIONS * HTTP/1.1\r\n", True),
        (b"CONNECT a.test:443 HTTP/1.1\r\n", True),
        (b"GET /" + b"a" * 20_000, True),
        (PREFACE, True),
        (b"GET well soon", False),
        (b"GET well soon HTTP\r\n", False),
        (b"GET\n", False),
        (b"get / HTTP/1.1\r\n", False),
        (b"hello\nGET / HTTP/1.1\r\n", False),
        (b"POSTGRES", False),
        (b"", False),
        (b"\x16\x03\x01", False),
        (bytes(100), False),
    ],
)
def test_a_request_is_told_from_what_is_to_be_echoed(first: bytes, is_http: bool) -> None:
    assert is_request(first) is is_http
