"""The status port itself: it stays open to probes whatever others do to it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator

import pytest
import trio
import trio.testing

from mtls_echo_server.events import Event
from mtls_echo_server.http.site import HTTPResponse, ReceivedRequest, Rule, get
from mtls_echo_server.listeners import listen
from mtls_echo_server.status.port import MOST, StatusPort
from tests.server.hostile.standing import open_files
from tests.server.http.world import answer, ask, request
from tests.server.status.world import Asked

MIB = bytes(1024 * 1024)


class Port:
    def __init__(self, number: int) -> None:
        self.number = number
        self.events: list[Event] = []

    async def connect(self) -> trio.SocketStream:
        return await trio.open_tcp_stream("127.0.0.1", self.number)

    async def is_healthy(self) -> None:
        async with await self.connect() as probe:
            assert (await ask(probe, "/healthz")).text == "ok\n"


@contextlib.asynccontextmanager
async def opened(extra: Rule | None = None) -> AsyncGenerator[Port, None]:
    """A status port, healthy before and afterwards; nothing of it remains."""
    before = open_files()
    [sock] = listen(["127.0.0.1:0"])
    port = Port(sock.getsockname()[1])
    site = Asked().site
    served = StatusPort([sock], lambda path: extra or site(path), port.events.append)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(served.run)
        yield port
        if extra is None:
            await port.is_healthy()
        nursery.cancel_scope.cancel()
    assert open_files() == before


async def test_it_answers_many_requests_on_one_connection() -> None:
    async with opened() as port, await port.connect() as stream:
        for target, status in (("/healthz", 200), ("/readyz", 503), ("/nix", 404)) * 5:
            assert (await ask(stream, target)).status == status
        assert (await ask(stream, "/healthz", method="POST")).status == 405


async def test_silent_connections_keep_no_probe_out() -> None:
    async with opened() as port, contextlib.AsyncExitStack() as stack:
        for number in range(MOST * 2):
            silent = await stack.enter_async_context(await port.connect())
            await silent.send_all(b"GET /healthz HTT" if number % 2 else b"")
        await port.is_healthy()


async def test_a_drip_is_cut_off(patient_clock: trio.testing.MockClock) -> None:
    async with opened() as port, await port.connect() as stream:
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: ")
        assert (await answer(stream)).status == 408
        assert trio.current_time() < 12


async def test_a_client_that_says_nothing_is_let_go(
    patient_clock: trio.testing.MockClock,
) -> None:
    async with opened() as port, await port.connect() as stream:
        assert await stream.receive_some() == b""
        assert trio.current_time() < 80


@pytest.mark.parametrize("how", ["length", "chunks"])
async def test_a_gigabyte_is_refused_before_it_is_sent(how: str) -> None:
    async with opened() as port, await port.connect() as stream:
        fields = {"length": f"Content-Length: {2**30}", "chunks": "Transfer-Encoding: chunked"}
        await stream.send_all(request("/healthz", fields[how], method="POST"))
        sent = 0
        with contextlib.suppress(trio.BrokenResourceError):
            async with trio.open_nursery() as nursery:

                async def pour() -> None:
                    nonlocal sent
                    while True:
                        await stream.send_all(b"100000\r\n" + MIB + b"\r\n")
                        sent += len(MIB)

                nursery.start_soon(pour)
                assert (await answer(stream)).status == 405
                nursery.cancel_scope.cancel()
        assert sent < 100 * len(MIB)


async def test_requests_without_reading_an_answer(
    patient_clock: trio.testing.MockClock,
) -> None:
    async with opened() as port, await port.connect() as stream:
        with contextlib.suppress(trio.BrokenResourceError), trio.move_on_after(60):
            while True:
                await stream.send_all(request("/metrics") * 50)


async def test_a_reset_is_no_bug() -> None:
    async with opened() as port:
        for _ in range(20):
            stream = await port.connect()
            await stream.send_all(request("/metrics"))
            stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            await stream.aclose()
        await port.is_healthy()
        assert port.events == []


async def test_a_bug_is_told_and_ends_its_own_connection_only() -> None:
    def broken(_: ReceivedRequest) -> HTTPResponse:
        raise ZeroDivisionError("of my own")

    async with opened(get(broken)) as port:
        for number in 1, 2:
            async with await port.connect() as stream:
                await stream.send_all(request("/"))
                assert await stream.receive_some() == b""
            assert len(port.events) == number
        assert "ZeroDivisionError: of my own" in port.events[0].text
