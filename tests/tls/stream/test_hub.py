"""A hub answers for connections at rest, one or several."""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import ssl

import pytest
import trio
import trio.testing

from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.stream.hub import open_hub
from mtls_echo_tls.stream.records import Records
from mtls_echo_tls.stream.tcp import TCPStream
from tests.support.tls import both_versions, tcp_pair
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
    take,
    watched,
)


class Steps(trio.abc.Instrument):
    """How often each task has run."""

    def __init__(self) -> None:
        self.of: dict[trio.lowlevel.Task, int] = {}

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.of[task] = self.of.get(task, 0) + 1


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


async def test_what_came_behind_a_message_that_cannot_be_answered_is_not_lost() -> None:
    def fragile(data: bytes) -> bytes:
        return same(data) if data != b"crash" else bytes(1 // (len(data) - 5))

    async with hub_of_a_test() as hub, answered(hub, fragile) as (client, side):
        await put_to_rest(client, side)
        messages = (b"before", b"crash", b"behind", bytes(100_000))
        records = [record for data in messages for record in client._records.encrypt(data)]
        # All in one receive, since nothing receives meanwhile.
        assert isinstance(client.transport, TCPStream)
        assert client.transport.push(records) == b""
        await side.over.wait()
        assert isinstance(side.raised, ZeroDivisionError)
        behind = await take(side.stream, len(b"behind") + 100_000)
        assert behind == b"behind" + bytes(100_000)
        assert await take(client, len(b"before")) == b"before"


async def test_of_a_great_many_tiny_records_most_are_answered_at_once() -> None:
    sizes: list[int] = []

    def counted(data: bytes) -> bytes:
        sizes.append(len(data))
        return data

    data = os.urandom(2000)
    async with hub_of_a_test() as hub, answered(hub, counted) as (client, side):
        await put_to_rest(client, side)
        sizes.clear()
        records = [client._records.encrypt(data[at : at + 1])[0] for at in range(len(data))]
        assert isinstance(client.transport, TCPStream)
        assert client.transport.push([b"".join(records)]) == b""
        assert await take(client, len(data)) == data
        # The hub answers a few, each for itself: more would keep the others waiting.
        assert 1 < sizes.count(1) < 100
        assert max(sizes) > 1000
        await put_to_rest(client, side)
        assert side.stream.received == side.stream.sent == client.received


@pytest.mark.parametrize("kind", [ssl.SSLError, ssl.SSLWantReadError])
@pytest.mark.parametrize("answers", [0, 2, 10])
async def test_an_answer_that_cannot_be_encrypted_ends_the_connection_at_once(
    answers: int, kind: type[ssl.SSLError], monkeypatch: pytest.MonkeyPatch
) -> None:
    encrypt, error = Records.encrypt, kind(1, "[SSL] internal error")
    error.library, error.reason = "SSL", "INTERNAL_ERROR"
    async with hub_of_a_test() as hub, answered(hub) as (client, side):
        for _ in range(answers):
            assert await ask(client) == b"hello"
        await trio.testing.wait_all_tasks_blocked()
        assert side.at_rest == (answers > 2)

        def failing(records: Records, plaintext: bytes | memoryview) -> list[bytes]:
            if records is side.stream._records:
                raise error
            return encrypt(records, plaintext)

        monkeypatch.setattr(Records, "encrypt", failing)
        await client.send_all(b"hello")
        await side.over.wait()
        assert isinstance(side.raised, TLSFailure)
        assert side.stream.sent == len(b"hello") * answers


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


async def test_those_who_send_much_take_turns_with_each_other_and_with_other_tasks(
    patient_clock: trio.testing.MockClock,
) -> None:
    pairs = [tcp_pair() for _ in range(5)]
    served: list[int] = []
    async with hub_of_a_test() as hub:
        for number, (sender, receiver) in enumerate(pairs):

            def ready(_: float, number: int = number) -> bool:
                served.append(number)
                patient_clock.jump(0.0006)
                return True  # there is always more

            sender.send(b"much")
            hub.add(receiver.fileno(), ready)
        answered_before = [0]
        while len(served) < 20:
            await trio.lowlevel.checkpoint()
            answered_before.append(len(served))
        for _, receiver in pairs:
            hub.remove(receiver.fileno())
    for sender, receiver in pairs:
        sender.close()
        receiver.close()
    order = served[:5]
    assert sorted(order) == [0, 1, 2, 3, 4]
    assert served == (order * 5)[: len(served)]
    turns = itertools.pairwise(answered_before)
    # Two in each turn, of 0.6 ms; and two turns, where trio's order has changed between them.
    assert max(after - before for before, after in turns) <= 4
