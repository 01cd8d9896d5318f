"""Calls of a TLS stream that are out of turn, cancelled, or after its end."""

from __future__ import annotations

import os
import ssl
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio
import trio.testing

from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.stream.tcp import TCPStream
from mtls_echo_tls.stream.tls import TLSStream
from tests.support.tls import (
    V13,
    both_versions,
    client_side,
    connected,
    receive_for_ever,
    server_side,
    tls_pair,
)
from tests.tls.stream.test_tls import Blocked


@both_versions
async def test_busy_errors_name_the_direction(version: ssl.TLSVersion) -> None:
    async with connected(version) as (one, _other), trio.open_nursery() as nursery:
        nursery.start_soon(one.receive_some)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError, match="receiving"):
            await one.receive_some()
        nursery.cancel_scope.cancel()
    async with connected(version) as (one, _other), trio.open_nursery() as nursery:
        nursery.start_soon(one.send_all, bytes(64 * 1024 * 1024))
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError, match="sending"):
            await one.send_all(b"x")
        with pytest.raises(trio.BusyResourceError, match="sending"):
            await one.wait_send_all_might_not_block()
        nursery.cancel_scope.cancel()


async def test_before_the_handshake_nothing_can_be_sent_or_received() -> None:
    one, other = tls_pair(client_side(), server_side())
    for operation in (one.receive_some(), one.send_all(b"x"), one.wait_send_all_might_not_block()):
        with pytest.raises(RuntimeError, match="do_handshake"):
            await operation
    assert one.peer is None
    await one.aclose()
    await other.aclose()


@both_versions
async def test_after_close_every_call_says_so_and_closing_twice_does_no_harm(
    version: ssl.TLSVersion,
) -> None:
    async with connected(version) as (one, other):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.aclose)
            assert await other.receive_some() == b""
            assert await other.receive_some() == b""
            await other.aclose()
        await one.aclose()
        for stream in (one, other):
            for operation in (
                stream.receive_some(),
                stream.send_all(b"x"),
                stream.do_handshake(),
                stream.wait_send_all_might_not_block(),
            ):
                with pytest.raises(trio.ClosedResourceError):
                    await operation


async def test_a_handshake_can_be_asked_for_any_number_of_times_and_happens_once() -> None:
    one, other = tls_pair(client_side(), server_side())
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(one.do_handshake)
            nursery.start_soon(other.do_handshake)
    await one.do_handshake()
    assert str(one.peer) == "localhost"
    assert str(other.peer) == "alice.test"
    await trio.aclose_forcefully(one)
    await trio.aclose_forcefully(other)


async def test_all_who_wait_for_a_handshake_learn_that_it_failed() -> None:
    one, other = tls_pair(client_side(), server_side(), name="wrong.test")
    outcomes: list[TLSFailure] = []

    async def try_it(stream: TLSStream) -> None:
        with pytest.raises(TLSFailure) as caught:
            await stream.do_handshake()
        outcomes.append(caught.value)

    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(try_it, one)
            nursery.start_soon(try_it, other)
    assert {failure.report.rejected_by for failure in outcomes} == {"client"}
    assert len(outcomes) == 4
    await one.aclose()
    await other.aclose()


async def test_a_cancelled_handshake_breaks_the_stream_and_is_not_a_success(
    patient_clock: trio.testing.MockClock,
) -> None:
    one, other = tls_pair(client_side(), server_side())
    with trio.move_on_after(0.01):
        await one.do_handshake()
    with pytest.raises(TLSFailure) as caught:
        await one.do_handshake()
    assert caught.value.report.outcome == "failed"
    assert caught.value.report.causes == []
    assert caught.value.report.summary
    assert one.expire().report.causes == ["timeout"]
    await one.aclose()
    await other.aclose()


@pytest.mark.real_time
class Failing(Blocked):
    """A transport that is broken, and whose end of receiving takes a while."""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        raise trio.BrokenResourceError

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await self.room.wait()
        raise trio.BrokenResourceError


@both_versions
async def test_a_handshake_asked_for_while_a_sender_reads_the_alert_waits_for_the_verdict(
    version: ssl.TLSVersion,
) -> None:
    async with connected(version) as (one, _), trio.open_nursery() as nursery:
        assert isinstance(one.transport, TCPStream)
        failing = one.transport = Failing(one.transport)
        one._tcp = None
        found: list[str] = []

        async def note(call: Callable[[], Awaitable[None]]) -> None:
            with pytest.raises(TLSFailure) as caught:
                await call()
            found.append(caught.value.report.outcome)

        nursery.start_soon(note, partial(one.send_all, b"hello"))
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(note, one.do_handshake)
        await trio.testing.wait_all_tasks_blocked()
        assert found == []
        failing.room.set()
    assert found == ["failed", "failed"]


@both_versions
async def test_a_sender_that_is_cancelled_while_it_reads_the_alert_has_failed(
    version: ssl.TLSVersion,
) -> None:
    async with connected(version) as (one, _):
        assert isinstance(one.transport, TCPStream)
        one.transport = Failing(one.transport)
        one._tcp = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.send_all, b"hello")
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        with pytest.raises(TLSFailure) as caught:
            await one.send_all(b"more")
    assert caught.value.report.outcome == "failed"
    assert caught.value.report.causes[-1] == "reset"


@both_versions
async def test_a_cancelled_receive_loses_nothing(version: ssl.TLSVersion) -> None:
    payload = os.urandom(300_000)
    received = bytearray()
    async with connected(version) as (one, other), trio.open_nursery() as nursery:

        async def dribble() -> None:
            for start in range(0, len(payload), 1000):
                await one.send_all(payload[start : start + 1000])
                await trio.lowlevel.checkpoint()

        nursery.start_soon(dribble)
        interrupted = 0
        while len(received) < len(payload):
            with trio.CancelScope() as scope:
                # Cancelled before it starts, or while it waits, or just as data arrives.
                scope.deadline = trio.current_time() + (interrupted % 7) * 0.00005
                received += await other.receive_some()
            interrupted += scope.cancelled_caught
        assert received == payload
        assert interrupted


async def test_a_send_that_is_cancelled_before_it_begins_breaks_nothing() -> None:
    async with connected(V13) as (one, other):
        with trio.CancelScope() as scope:
            scope.cancel()
            await one.send_all(b"never")
        assert scope.cancelled_caught
        await one.send_all(b"after")
        assert await other.receive_some() == b"after"


async def test_a_send_that_is_cancelled_half_way_breaks_the_stream(
    patient_clock: trio.testing.MockClock,
) -> None:
    async with connected(V13) as (one, _other):
        with trio.move_on_after(0.05) as scope:
            await one.send_all(bytes(64 * 1024 * 1024))
        assert scope.cancelled_caught
        with pytest.raises(TLSFailure) as caught:
            await one.send_all(b"x")
        assert caught.value.report.outcome == "failed"


@both_versions
async def test_a_cancelled_close_closes_at_once(version: ssl.TLSVersion) -> None:
    async with connected(version) as (one, other):
        with trio.CancelScope() as scope:
            scope.cancel()
            await one.aclose()
        assert isinstance(one.transport, TCPStream)
        assert one.transport.socket.fileno() == -1
        with pytest.raises(TLSFailure) as caught:
            await other.receive_some()
        assert caught.value.report.causes == ["truncated"] or version == V13


@both_versions
async def test_closing_wakes_a_task_that_receives_and_still_delivers_what_was_sent(
    version: ssl.TLSVersion,
) -> None:
    # A server that drains closes connections whose handlers wait in receive_some. With bytes
    # of the client's unread, a close without a drain would be a reset, and eat the last line.
    async with connected(version) as (one, other):
        woken = trio.Event()

        async def handler() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await receive_for_ever(other)
            woken.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(handler)
            await trio.testing.wait_all_tasks_blocked()
            await other.send_all(b"goodbye")
            nursery.start_soon(other.aclose)
            await woken.wait()
            # The handler is gone, the peer goes on sending, and must still be able to read.
            await one.send_all(bytes(5_000_000))
            assert await one.receive_some() == b"goodbye"
            assert await one.receive_some() == b""
            await one.aclose()
