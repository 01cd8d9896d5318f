"""A hub answers for connections at rest, and nothing else about them changes."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import trio
import trio.testing

from mtls_echo_tls.diagnosis.context_info import context_info, describe_context
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.stream.answering import AnsweringStream
from mtls_echo_tls.stream.delivery import CLOSE_TIMEOUT
from mtls_echo_tls.stream.hub import Hub, open_hub
from mtls_echo_tls.stream.tcp import TCPStream
from mtls_echo_tls.stream.tls import Answer, TLSStream
from tests.support.timing import TIMEOUT
from tests.support.tls import (
    V12,
    V13,
    both_versions,
    client_side,
    handshake,
    printed,
    reset,
    s_client,
    server_side,
    tcp_pair,
    write,
)

# More than the kernel takes at once of what no peer reads.
MUCH = 16 * 1024 * 1024


def same(data: bytes) -> bytes:
    return data


def amplified(data: bytes) -> bytes:
    return bytes(MUCH) if data == b"much" else data


class Steps(trio.abc.Instrument):
    """How often each task has run."""

    def __init__(self) -> None:
        self.of: dict[trio.lowlevel.Task, int] = {}

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.of[task] = self.of.get(task, 0) + 1


class Side:
    """A server's side: its stream, the task that answers, and how that ended."""

    def __init__(self, stream: AnsweringStream, answer: Answer) -> None:
        self.stream = stream
        self.scope = trio.CancelScope()
        self.task: trio.lowlevel.Task | None = None
        self.raised: BaseException | None = None
        self.over = trio.Event()
        self._answer = answer

    async def run(self) -> None:
        self.task = trio.lowlevel.current_task()
        try:
            with self.scope:
                await self.stream.answer_all(self._answer)
        except Exception as error:
            self.raised = error
        finally:
            self.over.set()

    @property
    def at_rest(self) -> bool:
        return self.stream._asleep is not None


@contextlib.asynccontextmanager
async def hub_of_a_test() -> AsyncIterator[Hub]:
    with trio.fail_after(TIMEOUT):
        async with open_hub() as hub:
            assert hub is not None
            yield hub


@contextlib.asynccontextmanager
async def answered(
    hub: Hub | None, answer: Answer = same, version: ssl.TLSVersion = V13
) -> AsyncIterator[tuple[TLSStream, Side]]:
    """A client, and a server's side that answers it."""
    ours, theirs = tcp_pair()
    client = TLSStream(TCPStream(ours), client_side(version), server_name="localhost")
    server = AnsweringStream(TCPStream(theirs), server_side(version), server_side=True, hub=hub)
    await handshake(client, server)
    try:
        async with trio.open_nursery() as nursery:
            side = Side(server, answer)
            nursery.start_soon(side.run)
            yield client, side
            nursery.cancel_scope.cancel()
    finally:
        for stream in (client, server):
            with trio.CancelScope() as at_once:
                at_once.cancel()
                await stream.aclose()


async def ask(client: TLSStream, data: bytes = b"hello") -> bytes:
    await client.send_all(data)
    return await take(client, len(data))


async def take(client: TLSStream, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        received += await client.receive_some()
    return bytes(received)


async def put_to_rest(client: TLSStream, side: Side) -> None:
    """Ask until the connection is left to the hub."""
    while not side.at_rest:
        assert await ask(client) == b"hello"
        await trio.testing.wait_all_tasks_blocked()


def watched(hub: Hub, stream: AnsweringStream) -> bool:
    assert isinstance(stream.transport, TCPStream)
    return stream.transport.socket.fileno() in hub._ready


# --- answers -------------------------------------------------------------------------------------


@both_versions
async def test_a_connection_at_rest_is_answered_without_its_task(version: ssl.TLSVersion) -> None:
    steps = Steps()
    async with hub_of_a_test() as hub, answered(hub, version=version) as (client, side):
        await put_to_rest(client, side)
        trio.lowlevel.add_instrument(steps)
        for number in range(20):
            data = os.urandom(1 + 997 * number)
            assert await ask(client, data) == data
        trio.lowlevel.remove_instrument(steps)
        assert side.task not in steps.of
        assert side.at_rest
        assert side.stream.received == side.stream.sent == client.sent == client.received


async def test_messages_of_many_records_come_back_whole() -> None:
    data = os.urandom(3_000_000)
    async with hub_of_a_test() as hub, answered(hub) as (client, side):
        await put_to_rest(client, side)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send_all, data)
            assert await take(client, len(data)) == data


async def test_an_answer_may_be_empty_and_of_another_size() -> None:
    def doubled(data: bytes) -> bytes:
        return b"" if data == b"quiet" else data * 2

    async with hub_of_a_test() as hub, answered(hub, doubled) as (client, side):
        while not side.at_rest:
            await client.send_all(b"hello")
            assert await take(client, 10) == b"hello" * 2
            await trio.testing.wait_all_tasks_blocked()
        before = side.stream.received, side.stream.sent
        await client.send_all(b"quiet")
        await trio.testing.wait_all_tasks_blocked()
        await client.send_all(b"loud")
        assert await take(client, 8) == b"loudloud"
        assert (side.stream.received, side.stream.sent) == (before[0] + 9, before[1] + 8)


async def test_without_epoll_every_task_waits_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(select, "epoll")
    async with open_hub() as hub:
        assert hub is None
        async with answered(hub) as (client, side):
            for _ in range(10):
                assert await ask(client) == b"hello"
            assert not side.at_rest
            await finished(client, side)
            assert side.raised is None


# --- what is left to the task --------------------------------------------------------------------


async def test_while_an_answer_is_being_sent_nothing_is_received() -> None:
    async with hub_of_a_test() as hub, answered(hub, amplified) as (client, side):
        await put_to_rest(client, side)
        sent = side.stream.sent
        await client.send_all(b"much")
        await trio.testing.wait_all_tasks_blocked()
        assert not side.at_rest
        assert not watched(hub, side.stream)
        received = side.stream.received
        assert side.stream.sent == sent  # it is half out
        await client.send_all(b"more")
        await trio.testing.wait_all_tasks_blocked()
        assert side.stream.received == received
        assert await take(client, MUCH + 4) == bytes(MUCH) + b"more"
        await trio.testing.wait_all_tasks_blocked()
        assert side.at_rest
        assert side.stream.received == received + len(b"more")
        assert side.stream.sent == sent + MUCH + len(b"more")


async def test_new_keys_are_taken_up_by_a_connection_at_rest() -> None:
    async with hub_of_a_test() as hub, s_client("-cert", "alice.pem") as (sock, process):
        stream = AnsweringStream(TCPStream(sock), server_side(V13), server_side=True, hub=hub)
        await stream.do_handshake()
        await printed(process, b"Verify return code")
        async with trio.open_nursery() as nursery:
            side = Side(stream, same)
            nursery.start_soon(side.run)
            while not side.at_rest:
                await write(process, b"first\n")
                await printed(process, b"first\n")
                await trio.testing.wait_all_tasks_blocked()
            for number in range(3):
                await write(process, b"K\n")  # and asks for ours (RFC 8446 §4.6.3)
                await printed(process, b"KEYUPDATE")
                await write(process, b"message %d\n" % number)
                await printed(process, b"message %d\n" % number)
            nursery.cancel_scope.cancel()
        await trio.aclose_forcefully(stream)


async def test_an_answer_that_tls_owes_wakes_the_task() -> None:
    context = server_side(V12)
    context.options |= ssl.OP_NO_RENEGOTIATION
    options = ("-tls1_2", "-cert", "alice.pem")
    async with hub_of_a_test() as hub, s_client(*options) as (sock, process):
        stream = AnsweringStream(TCPStream(sock), context, server_side=True, hub=hub)
        await stream.do_handshake()
        await printed(process, b"Verify return code")
        async with trio.open_nursery() as nursery:
            side = Side(stream, same)
            nursery.start_soon(side.run)
            while not side.at_rest:
                await write(process, b"first\n")
                await printed(process, b"first\n")
                await trio.testing.wait_all_tasks_blocked()
            await write(process, b"R\n")
            await printed(process, b"no renegotiation")
            await side.over.wait()
        assert isinstance(side.raised, TLSFailure)
        await trio.aclose_forcefully(stream)


async def test_a_client_without_a_protocol_in_common_is_not_answered() -> None:
    async with hub_of_a_test() as hub:
        ours, theirs = tcp_pair()
        offering, insisting = client_side(), server_side()
        offering.set_alpn_protocols(["other"])
        describe_context(insisting, replace(context_info(insisting), alpn=("echo",)))
        client = TLSStream(TCPStream(ours), offering, server_name="localhost")
        server = AnsweringStream(TCPStream(theirs), insisting, server_side=True, hub=hub)
        await handshake(client, server)
        await client.send_all(b"hello")
        with pytest.raises(TLSFailure):
            await server.answer_all(same)
        assert await client.receive_some() == b""
        await trio.aclose_forcefully(client)
        await trio.aclose_forcefully(server)


@both_versions
async def test_the_clients_close_notify_ends_it_cleanly(version: ssl.TLSVersion) -> None:
    async with hub_of_a_test() as hub, answered(hub, version=version) as (client, side):
        await put_to_rest(client, side)
        # In one segment with the last message, which is answered all the same.
        [last] = client._records.encrypt(b"last")
        client._records.close_notify()
        await client.transport.send_all(last + client._records.output())
        assert await client.receive_some() == b"last"
        await side.over.wait()
        assert side.raised is None
        assert side.stream.evidence.close_notify
        assert not watched(hub, side.stream)


async def test_an_end_without_close_notify_is_an_end_of_file() -> None:
    async with hub_of_a_test() as hub, answered(hub) as (client, side):
        await put_to_rest(client, side)
        await client.transport.aclose()
        await side.over.wait()
        assert isinstance(side.raised, TLSFailure)
        assert side.stream.evidence.transport_end == "eof"
        assert side.raised.report.causes == ["truncated"]


async def test_a_reset_is_a_reset() -> None:
    async with hub_of_a_test() as hub, answered(hub) as (client, side):
        await put_to_rest(client, side)
        assert isinstance(client.transport, TCPStream)
        reset(client.transport.socket)
        await side.over.wait()
        assert isinstance(side.raised, TLSFailure)
        assert isinstance(side.raised.__cause__, trio.BrokenResourceError)
        assert side.stream.evidence.transport_end == "reset"


@both_versions
async def test_a_damaged_record_is_refused_with_an_alert(version: ssl.TLSVersion) -> None:
    async with hub_of_a_test() as hub, answered(hub, version=version) as (client, side):
        await put_to_rest(client, side)
        [good] = client._records.encrypt(b"authentic")
        [damaged] = client._records.encrypt(b"damaged")
        bad = bytearray(damaged)
        bad[-1] ^= 1
        received = side.stream.received
        await client.transport.send_all(good + bad)
        with pytest.raises(TLSFailure) as caught:
            await client.receive_some()
        assert caught.value.evidence.alert is not None
        assert not caught.value.evidence.alert.sent
        assert caught.value.report.causes == ["tampered"]
        await side.over.wait()
        assert isinstance(side.raised, TLSFailure)
        assert side.raised.report.causes == ["tampered"]
        assert side.stream.received == received + len(b"authentic")


# --- cancellation and closing --------------------------------------------------------------------


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


async def test_a_second_sender_and_a_second_receiver_are_turned_away_at_rest() -> None:
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


# --- several connections -------------------------------------------------------------------------


async def test_what_an_answer_raises_is_raised_in_its_own_task_each_time() -> None:
    def fragile(data: bytes) -> bytes:
        if data == b"crash":
            raise ZeroDivisionError("oops")
        return data

    async with (
        hub_of_a_test() as hub,
        answered(hub, fragile) as (first, one),
        answered(hub, fragile) as (second, two),
        answered(hub, fragile) as (third, three),
    ):
        for client, side in ((first, one), (second, two), (third, three)):
            await put_to_rest(client, side)
        await first.send_all(b"crash")
        await second.send_all(b"crash")
        for side in (one, two):
            await side.over.wait()
            assert isinstance(side.raised, ZeroDivisionError)
            assert not watched(hub, side.stream)
            # Nothing was half sent: it can be closed as after any other bug.
            assert not side.stream.evidence.abandoned
        assert one.raised is not two.raised
        assert three.at_rest
        assert await ask(third) == b"hello"


@pytest.mark.parametrize(("before", "sound"), [(b"hello", True), (b"much", False)])
async def test_what_was_answered_before_an_answer_raised_is_sent(
    before: bytes, sound: bool
) -> None:
    def fragile(data: bytes) -> bytes:
        if data == b"crash":
            raise ZeroDivisionError("oops")
        return amplified(data)

    async with hub_of_a_test() as hub, answered(hub, fragile) as (client, side):
        await put_to_rest(client, side)
        records = [*client._records.encrypt(before), *client._records.encrypt(b"crash")]
        await client.transport.send_all(b"".join(records))
        await side.over.wait()
        assert isinstance(side.raised, ZeroDivisionError)
        # What does not fit leaves half a record behind, and then the end is not clean.
        assert side.stream.evidence.abandoned != sound
        if sound:
            assert await take(client, len(before)) == before
            assert side.stream.sent == side.stream.received - len(b"crash")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(side.stream.aclose)
                assert await client.receive_some() == b""
                await client.aclose()
        else:
            await side.stream.aclose()
            with pytest.raises(TLSFailure):
                await take(client, MUCH)


async def test_several_that_are_closed_or_cancelled_in_one_turn_all_wake() -> None:
    async with hub_of_a_test() as hub, contextlib.AsyncExitStack() as stack:
        sides: list[Side] = []
        for number in range(4):
            client, side = await stack.enter_async_context(answered(hub))
            await put_to_rest(client, side)
            sides.append(side)
            if number < 2:
                stack.push_async_callback(client.aclose)
        async with trio.open_nursery() as nursery:
            for number, side in enumerate(sides):
                if number < 2:
                    nursery.start_soon(trio.aclose_forcefully, side.stream)
                else:
                    side.scope.cancel()
            for side in sides:
                await side.over.wait()
        assert hub._ready == {}


async def test_one_busy_connection_does_not_keep_the_others_waiting() -> None:
    async with (
        hub_of_a_test() as hub,
        answered(hub) as (busy, one),
        answered(hub) as (calm, two),
    ):
        await put_to_rest(busy, one)
        await put_to_rest(calm, two)

        async def receive() -> None:
            while True:
                await busy.receive_some()

        async def send() -> None:
            while True:
                await busy.send_all(bytes(100_000))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive)
            nursery.start_soon(send)
            for _ in range(20):
                assert await ask(calm) == b"hello"
            nursery.cancel_scope.cancel()


# --- closing without waiting ---------------------------------------------------------------------


async def finished(client: TLSStream, side: Side) -> None:
    """The client has said its close_notify, and the server has read it."""
    client._records.close_notify()
    await client.transport.send_all(client._records.output())
    await side.over.wait()
    assert side.stream.evidence.close_notify


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
