"""Clients that abuse HTTP on the TLS port: bounded, answered, and no echo client notices."""

from __future__ import annotations

import contextlib
import tracemalloc
from collections.abc import AsyncGenerator

import pytest
import trio
import trio.testing

from mtls_echo_server.http.conversation import MOST_HEAD
from mtls_echo_server.http.detect import PREFACE
from mtls_echo_tls.stream.tls import TLSStream
from tests.server.hostile.standing import open_files
from tests.server.http.world import answer, ask, client, faced, request
from tests.server.http.world import pki as pki
from tests.support.servers import Authorities, Running, echoed, everything

MIB = bytes(1024 * 1024)
POST = b"POST /echo HTTP/1.1\r\nHost: a\r\n"


@contextlib.asynccontextmanager
async def attacked(pki: Authorities) -> AsyncGenerator[Running, None]:
    """A server that echoes to a client throughout, and keeps nothing afterwards."""
    async with faced(pki) as here, await here.connect(client(pki, alpn=())) as other:
        assert await echoed(other) == b"hello"
        files = open_files()
        yield here
        assert await echoed(other) == b"hello"
        while len(here.server._open) > 1 or here.server._pending._count:
            await trio.lowlevel.checkpoint()
        assert open_files() == files
        assert not [event.text for event in here.events if event.name == "error"]


async def ended(here: Running) -> str:
    report = await here.event("connection")
    return str(report["outcome"])


@pytest.mark.parametrize("how", ["Content-Length: 1073741824", "Transfer-Encoding: chunked"])
async def test_a_gigabyte_is_refused_while_it_is_sent(pki: Authorities, how: str) -> None:
    async with attacked(pki) as here, await here.connect(client(pki)) as stream:
        await stream.send_all(request("/echo", how, method="POST"))
        with contextlib.suppress(trio.BrokenResourceError):
            for _ in range(8 if "chunked" in how else 1):
                await stream.send_all(b"100000\r\n" + MIB + b"\r\n")
        assert (await answer(stream)).status == 413
        assert await stream.receive_some() == b""
        await stream.aclose()
        assert await ended(here) == "completed"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"\0" * 1000 + b"\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA\0: b\r\n\r\n", 400),
        (b"GET /\xe2\x80\xae HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
         b"GET /json HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /json HTTP/1.1\r\nHost: a\r\n" + b"A: b\r\n" * MOST_HEAD + b"\r\n", 431),
        (b"CONNECT localhost:25 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (POST + b"Expect: 100-continue\r\nContent-Length: 999999\r\n\r\n", 413),
        (b"GET https://other.test/nix HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", 404),
    ],
    ids=["zeros", "NUL", "bidi", "smuggled", "headers", "CONNECT", "expect", "absolute"],
)  # fmt: skip
async def test_what_is_no_request_gets_one_answer_and_the_end(
    pki: Authorities, sent: bytes, status: int
) -> None:
    async with attacked(pki) as here, await here.connect(client(pki)) as stream:
        with contextlib.suppress(trio.BrokenResourceError):
            await stream.send_all(sent)
        refused = await answer(stream)
        assert refused.status == status
        assert refused.json["status"] == status
        assert await everything(stream) == b""
        await stream.aclose()
        assert await ended(here) == "completed"


async def test_http_2_without_asking_is_refused_in_its_own_words(pki: Authorities) -> None:
    async with attacked(pki) as here, await here.connect(client(pki, alpn=())) as stream:
        await stream.send_all(PREFACE + bytes(100))
        said = await everything(stream)
        assert said.endswith(b"this port speaks HTTP/1.1, not HTTP/2")
        await stream.aclose()
        assert await ended(here) == "completed"


async def test_garbage_that_is_sent_ahead_takes_no_memory(pki: Authorities) -> None:
    async with attacked(pki) as here, await here.connect(client(pki)) as stream:
        assert (await ask(stream, "/json")).status == 200
        received = b""
        tracemalloc.start()
        with contextlib.suppress(trio.BrokenResourceError):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_pour, stream)
                received = await everything(stream)
                nursery.cancel_scope.cancel()
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert most < 12_000_000
        assert received.count(b"HTTP/1.1 200 OK") == 20
        assert received.count(b"HTTP/1.1 400 ") == 1


async def _pour(stream: TLSStream) -> None:
    while True:
        await stream.send_all(request("/trace") * 20 + b"\0" * 100 * MOST_HEAD)


async def test_many_that_say_half_a_request_keep_no_other_out(
    pki: Authorities, patient_clock: trio.testing.MockClock
) -> None:
    async with attacked(pki) as here, contextlib.AsyncExitStack() as stack:
        for _ in range(50):
            slow = await stack.enter_async_context(await here.connect(client(pki)))
            await slow.send_all(b"GET /json HTTP/1.1\r\nHost:")
        async with await here.connect(client(pki)) as good:
            assert (await ask(good, "/json")).status == 200
        assert (await answer(slow)).status == 408
