"""A connection's deadline moves when it is due, is never early, and late by a quarter second."""

from __future__ import annotations

import contextlib
import math
from collections.abc import AsyncIterator
from functools import partial

import pytest
import trio
import trio.testing

from mtls_echo_server.connection import QUIET, Connection, Limits
from mtls_echo_server.handlers import echo
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.stream.hub import open_hub
from mtls_echo_tls.stream.tcp import TCPStream
from mtls_echo_tls.stream.tls import TLSStream
from tests.support.servers import Authorities, echoed, everything, running
from tests.support.tls import client_side, handshake, server_side, tcp_pair

IDLE = 64.0
SLACK = 0.25


@contextlib.asynccontextmanager
async def connection(limits: Limits, *, hub: bool) -> AsyncIterator[tuple[TLSStream, Connection]]:
    """A client, and a connection that is being echoed, at rest where there is a hub."""
    ours, theirs = tcp_pair()
    client = TLSStream(TCPStream(ours), client_side(), server_name="localhost")
    async with open_hub() as made:
        server = Connection(TCPStream(theirs), server_side(), limits, hub=made if hub else None)
        await handshake(client, server)

        async def serve() -> None:
            with server.scope:
                await echo(server)

        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(serve)
                for _ in range(5):
                    assert await echoed(client) == b"hello"
                await trio.testing.wait_all_tasks_blocked()
                assert (server._asleep is not None) == hub
                yield client, server
                nursery.cancel_scope.cancel()
        finally:
            await trio.aclose_forcefully(client)
            await trio.aclose_forcefully(server)


async def message(client: TLSStream) -> None:
    assert await echoed(client) == b"hello"
    await trio.testing.wait_all_tasks_blocked()


@pytest.fixture(params=[True, False], ids=["hub", "no hub"])
def hub(request: pytest.FixtureRequest) -> bool:
    assert isinstance(request.param, bool)
    return request.param


async def test_it_is_moved_when_it_is_due_and_not_at_every_message(
    mock_clock: trio.testing.MockClock, hub: bool
) -> None:
    async with connection(Limits(idle_timeout=IDLE), hub=hub) as (client, server):
        now = trio.current_time()
        deadlines = [server.scope.deadline - now]
        for pause in (0.1, 0.1, 0.1, 0.1, 0.2, 10.0):
            mock_clock.jump(pause)
            await message(client)
            due = trio.current_time() + IDLE
            assert due <= server.scope.deadline <= due + SLACK
            deadlines.append(server.scope.deadline - now)
        moved = [0, 0, 0, 0.3, 0.3, 0.6, 10.6]
        assert deadlines == pytest.approx([IDLE + SLACK + by for by in moved])


@pytest.mark.parametrize(("idle", "slack"), [(1.0, 1 / 64), (8.0, 0.125), (3600.0, SLACK)])
async def test_what_it_is_late_by_is_a_small_part_of_a_short_timeout(
    mock_clock: trio.testing.MockClock, idle: float, slack: float
) -> None:
    async with connection(Limits(idle_timeout=idle), hub=True) as (_, server):
        assert server.scope.deadline == pytest.approx(trio.current_time() + idle + slack)


async def test_without_an_idle_timeout_there_is_none(hub: bool) -> None:
    async with connection(Limits(idle_timeout=math.inf), hub=hub) as (client, server):
        await message(client)
        assert server.scope.deadline == math.inf


async def test_with_a_greatest_age_it_is_exact(
    mock_clock: trio.testing.MockClock, hub: bool
) -> None:
    limits = Limits(idle_timeout=IDLE, max_connection_age=100.0, grace_period=5.0)
    async with connection(limits, hub=hub) as (client, server):
        now = trio.current_time()
        for pause in (0.1, 0.1, 40.0):
            mock_clock.jump(pause)
            await message(client)
            expected = min(trio.current_time() + IDLE, now + 100.0)
            assert server.scope.deadline == pytest.approx(expected)
        mock_clock.jump(59.5)  # near its age a message puts the end off, until it is quiet
        await message(client)
        assert server.scope.deadline == pytest.approx(trio.current_time() + QUIET)
        mock_clock.jump(0.9)
        await message(client)
        assert server.scope.deadline == pytest.approx(trio.current_time() + QUIET)


async def test_while_stopping_it_is_exact(mock_clock: trio.testing.MockClock, hub: bool) -> None:
    async with connection(Limits(idle_timeout=IDLE), hub=hub) as (client, server):
        assert not server.retire()  # it has only just been heard of
        assert server.scope.deadline == trio.current_time() + QUIET
        mock_clock.jump(0.5)
        await message(client)
        assert server.scope.deadline == trio.current_time() + QUIET


async def test_retired_at_rest_it_ends_when_it_has_been_quiet(
    mock_clock: trio.testing.MockClock, hub: bool
) -> None:
    async with connection(Limits(idle_timeout=IDLE), hub=hub) as (client, server):
        mock_clock.jump(QUIET)
        assert server.retire()  # now
        await trio.testing.wait_all_tasks_blocked()
        assert server.scope.cancelled_caught
        assert server.at_rest
        assert not server.broken
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.aclose)
            assert await client.receive_some() == b""
            await client.aclose()


async def test_idle_at_rest_it_ends_no_earlier_than_it_should(
    mock_clock: trio.testing.MockClock, hub: bool
) -> None:
    async with connection(Limits(idle_timeout=IDLE), hub=hub) as (client, server):
        mock_clock.jump(0.1)
        await message(client)
        mock_clock.jump(IDLE)
        await trio.testing.wait_all_tasks_blocked()
        assert not server.scope.cancelled_caught
        mock_clock.jump(SLACK)
        await trio.testing.wait_all_tasks_blocked()
        assert server.scope.cancelled_caught
        assert server.at_rest


# --- in a whole server ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pki() -> Authorities:
    return Authorities()


@pytest.mark.real_time
async def test_what_is_cut_off_half_sent_is_not_said_to_be_sent(pki: Authorities) -> None:
    def amplified(data: bytes) -> bytes:
        return bytes(16 * 1024 * 1024) if data == b"much" else data

    async def amplify(stream: TLSStream) -> None:
        assert isinstance(stream, Connection)
        await stream.answer_all(amplified)

    limits = Limits(idle_timeout=0.5)
    async with running(pki.server_context(), amplify, limits=limits) as here:
        client = await here.connect(pki.client_context(pki.alice))
        for _ in range(5):
            assert await echoed(client) == b"hello"
        await client.send_all(b"much")
        report = await here.event("connection")
        assert report["bytes_received"] == 5 * len(b"hello") + len(b"much")
        assert report["bytes_sent"] == 5 * len(b"hello")
        assert report["causes"] == ["timeout"]
        with pytest.raises(TLSFailure):
            await everything(client)
        await client.aclose()


@pytest.mark.real_time
async def test_the_deadline_of_the_handshake_ends_with_the_handshake(pki: Authorities) -> None:
    deadlines: list[float] = []

    async def greet(stream: TLSStream) -> None:
        assert isinstance(stream, Connection)
        deadlines.append(stream.scope.deadline)
        await stream.send_all(b"welcome")

    async with (
        running(pki.server_context(), greet, limits=Limits(handshake_timeout=30)) as here,
        await here.connect(pki.client_context(pki.alice)) as client,
    ):
        assert await everything(client) == b"welcome"
    assert deadlines == [math.inf]


@pytest.mark.real_time
async def test_an_answer_that_raises_ends_its_own_connection_only(pki: Authorities) -> None:
    def fragile(data: bytes) -> bytes:
        if data == b"crash":
            raise ZeroDivisionError("oops")
        return data

    async def answer(stream: TLSStream) -> None:
        assert isinstance(stream, Connection)
        await stream.answer_all(fragile)

    connect = partial(pki.client_context, pki.alice)
    async with (
        running(pki.server_context(), answer, limits=Limits()) as here,
        await here.connect(connect()) as other,
    ):
        for number in (1, 2):
            async with await here.connect(connect()) as client:
                for _ in range(5):
                    assert await echoed(client) == await echoed(other) == b"hello"
                await client.send_all(b"crash")
                assert await everything(client) == b""
            assert (await here.event("error", number))["message"] == "ZeroDivisionError: oops"
            assert (await here.event("connection", number))["ended"] == "error"
        assert await echoed(other) == b"hello"


@pytest.mark.real_time
async def test_without_epoll_a_server_serves_as_ever(
    pki: Authorities, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("select.epoll")
    async with (
        running(pki.server_context(), limits=Limits()) as here,
        await here.connect(pki.client_context(pki.alice)) as client,
    ):
        for _ in range(10):
            assert await echoed(client) == b"hello"
        here.server.stop()
        assert await everything(client) == b""
        assert (await here.event("connection"))["ended"] == "drain"
