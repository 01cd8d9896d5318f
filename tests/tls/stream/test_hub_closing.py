"""A connection at rest in a hub is cancelled, closed, or closed without waiting."""

from __future__ import annotations

import contextlib
import select
import socket

import pytest
import trio
import trio.testing

from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.stream.delivery import CLOSE_TIMEOUT
from mtls_echo_tls.stream.tcp import TCPStream
from tests.support.timing import TIMEOUT
from tests.support.tls import tcp_pair
from tests.tls.stream.resting import (
    MUCH,
    Side,
    amplified,
    answered,
    ask,
    finished,
    hub_of_a_test,
    put_to_rest,
    same,
    watched,
)


async def test_cancelled_at_rest_it_is_out_of_the_hub_and_sound() -> None:
    async with hub_of_a_test() as hub, answered(hub) as (client, side):
        await put_to_rest(client, side)
        assert watched(hub, side.stream)
        side.scope.cancel()
        await side.over.wait()
        assert side.scope.cancelled_caught
        assert not watched(hub, side.stream)
        # Nothing was lost, and nothing is left behind that would be in the way.
        await client.send_all(b"still there")
        assert await side.stream.receive_some() == b"still there"
        await side.stream.send_all(b"it is")
        assert await client.receive_some() == b"it is"
        again = Side(side.stream, same)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(again.run)
            await put_to_rest(client, again)
            nursery.cancel_scope.cancel()
        assert not side.stream.evidence.abandoned


async def test_cancelled_while_an_answer_is_being_sent_it_is_broken() -> None:
    async with hub_of_a_test() as hub, answered(hub, amplified) as (client, side):
        await put_to_rest(client, side)
        await client.send_all(b"much")
        await trio.testing.wait_all_tasks_blocked()
        side.scope.cancel()
        await side.over.wait()
        assert side.scope.cancelled_caught
        assert side.stream.evidence.abandoned
        with pytest.raises(TLSFailure):
            await side.stream.send_all(b"more")


async def test_a_deadline_ends_a_rest() -> None:
    async with hub_of_a_test() as hub, answered(hub) as (client, side):
        await put_to_rest(client, side)
        side.scope.deadline = trio.current_time()
        await side.over.wait()
        assert side.scope.cancelled_caught
        assert not watched(hub, side.stream)
        assert not side.stream.evidence.abandoned


async def test_closed_by_another_task_the_client_reads_a_clean_end() -> None:
    async with hub_of_a_test() as hub, answered(hub) as (client, side):
        await put_to_rest(client, side)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(side.stream.aclose)
            assert await client.receive_some() == b""
            await side.over.wait()
            assert isinstance(side.raised, trio.ClosedResourceError)
            assert not watched(hub, side.stream)
            await client.aclose()


async def test_closed_by_another_task_an_answer_on_its_way_is_finished() -> None:
    async with hub_of_a_test() as hub, answered(hub, amplified) as (client, side):
        await put_to_rest(client, side)
        await client.send_all(b"much")
        await trio.testing.wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(side.stream.aclose)
            received = 0
            while data := await client.receive_some():
                received += len(data)
            assert received == MUCH
            await client.aclose()


async def test_a_second_sender_and_a_second_receiver_are_refused_at_rest() -> None:
    async with hub_of_a_test() as hub, answered(hub) as (client, side):
        await put_to_rest(client, side)
        with pytest.raises(trio.BusyResourceError):
            await side.stream.send_all(b"mine")
        with pytest.raises(trio.BusyResourceError):
            await side.stream.receive_some()
        assert await ask(client) == b"hello"


async def test_a_socket_closed_behind_its_back_does_no_harm() -> None:
    async with hub_of_a_test() as hub, answered(hub) as (client, side):
        await put_to_rest(client, side)
        assert isinstance(side.stream.transport, TCPStream)
        number = side.stream.transport.socket.fileno()
        side.stream.transport.socket.close()
        side.scope.cancel()
        await side.over.wait()
        assert side.scope.cancelled_caught
        assert number not in hub._ready


async def test_after_the_clients_close_notify_closing_needs_no_waiting() -> None:
    async with answered(None) as (client, side):
        await finished(client, side)
        assert side.stream.close_at_once()
        assert side.stream.close_at_once()
        assert await client.receive_some() == b""
        assert side.stream.evidence.duration is not None


async def test_before_it_the_close_notify_is_sent_and_the_rest_left_to_aclose() -> None:
    async with answered(None) as (client, side):
        side.scope.cancel()
        await side.over.wait()
        assert not side.stream.close_at_once()
        assert await client.receive_some() == b""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(side.stream.aclose)
            await client.aclose()


@pytest.mark.parametrize("room", [0, 5])
async def test_where_its_close_notify_finds_no_room_aclose_sends_the_rest(
    room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with answered(None) as (client, side):
        await finished(client, side)
        assert isinstance(side.stream.transport, TCPStream)
        sock = side.stream.transport.socket
        with monkeypatch.context() as patched:
            patched.setattr(
                TCPStream,
                "push",
                lambda _, pieces: pieces[0][room and sock.send(pieces[0][:room]) :],
            )
            assert not side.stream.close_at_once()
        await side.stream.aclose()
        assert await client.receive_some() == b""


async def test_a_full_window_does_not_keep_a_side_from_closing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with answered(None) as (client, side):
        await finished(client, side)
        assert isinstance(side.stream.transport, TCPStream)
        with contextlib.suppress(BlockingIOError):
            while True:
                side.stream.transport.socket.send(bytes(100_000))
        assert not side.stream.close_at_once()
        began = trio.current_time()
        await side.stream.aclose()
        assert trio.current_time() - began == pytest.approx(CLOSE_TIMEOUT)
        assert not side.stream.transport.is_open


async def test_cancelled_before_it_has_begun_a_close_is_not_clean() -> None:
    async with answered(None) as (client, side):
        side.scope.cancel()
        await side.over.wait()
        with trio.CancelScope() as at_once:
            at_once.cancel()
            await side.stream.aclose()
        with pytest.raises(TLSFailure):
            await client.receive_some()


def test_what_is_received_lies_in_one_buffer_for_all() -> None:
    one, other = tcp_pair()
    with one, other:
        stream = TCPStream(other)
        assert stream.take() == -1
        one.sendall(b"hello")
        select.select([other], [], [], TIMEOUT)
        assert stream.take() == 5
        one.shutdown(socket.SHUT_WR)
        select.select([other], [], [], TIMEOUT)
        assert stream.take() == 0
