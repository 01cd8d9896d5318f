"""Is nothing a success but the same bytes come back?"""

from __future__ import annotations

import socket
import ssl
import threading

import pytest
import trio
import trio.testing

from mtls_echo_client.echo_queue import WINDOW
from mtls_echo_client.exit_status import exit_status
from mtls_echo_client.session import connect
from mtls_echo_tls.diagnosis.diagnose import diagnose
from mtls_echo_tls.diagnosis.evidence import Evidence
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.diagnosis.report import Report
from tests.client.sessions import alice, exchange, pattern, versions
from tests.client.sessions import world as world
from tests.support.clients import World, echo, read_slowly, serving, stalling
from tests.support.timing import IDLE, TIMEOUT


@versions
@pytest.mark.parametrize("size", [1, 16_384, WINDOW, WINDOW + 1, 3_000_000])
async def test_what_is_sent_comes_back(world: World, version: str, size: int) -> None:
    session = await exchange(world, echo, pattern(size), version=version)

    assert session.echoed == size
    assert session.report.outcome == "echoed"
    assert exit_status(session.report) == 0


async def test_a_session_is_diagnosed_again_only_when_more_is_known(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Report] = []

    def counted(evidence: Evidence) -> Report:
        made.append(diagnose(evidence))
        return made[-1]

    monkeypatch.setattr("mtls_echo_client.session.diagnose", counted)
    with serving(echo, world.server_context()) as port:
        async with await connect("localhost", port, alice(world)) as session:
            unproved = session.report
            assert session.report is unproved
            await session.echo(b"hello\n")
            proved = session.report
            assert session.report is proved

    assert (unproved.outcome, proved.outcome) == ("failed", "echoed")
    assert len(made) == 2


async def test_a_session_echoes_again_and_again(world: World) -> None:
    with serving(echo, world.server_context()) as port:
        async with await connect("localhost", port, alice(world)) as session:
            for number in range(50):
                await session.echo(b"%d\n" % number)
            assert str(session.peer) == "localhost"


async def test_a_server_with_tiny_buffers_is_only_slow(world: World) -> None:
    session = await exchange(world, read_slowly, bytes(100_000))

    assert session.echoed == 100_000


async def test_many_pieces_are_in_flight_before_the_first_comes_back(world: World) -> None:
    release = threading.Event()

    def hold_back(connection: socket.socket, context: ssl.SSLContext) -> None:
        with context.wrap_socket(connection, server_side=True) as tls:
            kept = b""
            while kept.count(b"\n") < 1000:
                kept += tls.recv(16_384)
            release.set()
            tls.sendall(kept)
            tls.unwrap()

    lines = iter([b"%d\n" % number for number in range(1000)])

    async def source() -> bytes:
        return next(lines, b"")

    received = bytearray()

    async def sink(data: bytes) -> None:
        assert release.is_set()
        received.extend(data)

    with serving(hold_back, world.server_context()) as port:
        async with await connect("localhost", port, alice(world)) as session:
            await session.echo_all(source, sink)
    assert received == b"".join(b"%d\n" % number for number in range(1000))


async def test_no_more_than_the_window_is_taken_from_the_source_ahead_of_the_echo(
    world: World,
) -> None:
    taken = returned = most = 0

    async def source() -> bytes:
        nonlocal taken, most
        if taken >= 4_000_000:
            return b""
        taken += 10_000
        most = max(most, taken - returned)
        return bytes(10_000)

    async def sink(data: bytes) -> None:
        nonlocal returned
        returned += len(data)

    with serving(echo, world.server_context()) as port:
        async with await connect("localhost", port, alice(world)) as session:
            await session.echo_all(source, sink)
    assert returned == 4_000_000
    # Ahead are the window, the piece that waits for room in it, and the one just taken.
    assert most <= WINDOW + 2 * 10_000


async def test_a_slow_sink_is_not_taken_for_a_silent_server(
    world: World, mock_clock: trio.testing.MockClock
) -> None:
    async def sink(_: bytes) -> None:
        mock_clock.jump(2)  # longer than the timeout
        await trio.testing.wait_all_tasks_blocked()

    pieces = [b"a", b"b"]

    async def source() -> bytes:
        return pieces.pop() if pieces else b""

    with serving(echo, world.server_context()) as port:
        async with await connect("localhost", port, alice(world), timeout=1) as session:
            await session.echo_all(source, sink)
            assert session.echoed == 2


@pytest.mark.parametrize("end", ["source", "sink"])
async def test_an_error_of_the_caller_s_own_comes_out_as_itself(world: World, end: str) -> None:
    async def source() -> bytes:
        if end == "source":
            raise LookupError("no more input")
        return b"x"

    async def sink(_: bytes) -> None:
        raise LookupError("no more room")

    with serving(echo, world.server_context()) as port:
        async with await connect("localhost", port, alice(world)) as session:
            with pytest.raises(LookupError, match="no more"):
                await session.echo_all(source, sink)


async def test_a_cancelled_session_does_not_wait_for_the_server(
    world: World, mock_clock: trio.testing.MockClock
) -> None:
    over, stalled = threading.Event(), threading.Event()

    with serving(stalling(1, over, stalled.set), world.server_context()) as port:
        async with await connect("localhost", port, alice(world), timeout=60) as session:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(session.echo, bytes(50_000_000))
                await trio.to_thread.run_sync(stalled.wait, TIMEOUT)
                await trio.testing.wait_all_tasks_blocked(IDLE)
                nursery.cancel_scope.cancel()
            assert nursery.cancel_scope.cancelled_caught
            # It was cancelled in the middle of a record, or all that may be due is on its way.
            mock_clock.autojump_threshold = IDLE
            with pytest.raises(TLSFailure):
                await session.echo(b"x")
        over.set()
