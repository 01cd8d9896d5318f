"""Which unauthenticated connection makes room for which, and when its time is up."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from mtls_echo_server.pending import PendingConnections, Slot


def pending_of(
    places: int, *hosts: str, share: int | None = None
) -> tuple[PendingConnections, list[Slot]]:
    pending = PendingConnections(places, share)
    slots = [Slot(host) for host in hosts]
    for slot in slots:
        pending.add(slot)
    return pending, slots


def cancelled(slots: list[Slot]) -> list[int]:
    return [number for number, slot in enumerate(slots) if slot.scope.cancel_called]


async def test_no_connection_is_evicted_while_there_is_room() -> None:
    _, slots = pending_of(3, "192.0.2.1", "192.0.2.1", "192.0.2.1")
    assert cancelled(slots) == []


@pytest.mark.parametrize(
    ("hosts", "evicted"),
    [
        (["192.0.2.1"] * 5, [0, 1]),  # the oldest first
        (["192.0.2.1", "198.51.100.1", "198.51.100.9", "203.0.113.1"], [1]),  # of a /24 with most
        (
            ["192.0.2.1", "198.51.100.1", "192.0.3.1", "203.0.113.1"],
            [0],
        ),  # all the same: the first
        (["192.0.2.1", "2001:db8::1", "2001:db8:0:ff::1", "203.0.113.1"], [1]),  # one /56 is one
        (["192.0.2.1", "2001:db8::1", "2001:db8:0:100::1", "192.0.2.1"], [0]),  # two are two
        (["fe80::1%eth0", "192.0.2.1", "fe80::2%eth0", "203.0.113.1"], [0]),
        (["203.0.113.1", "::ffff:192.0.2.1", "192.0.2.2", "198.51.100.1"], [1]),  # one network
    ],
)
async def test_the_busiest_network_evicts_only_itself(
    hosts: list[str], evicted: list[int]
) -> None:
    _, slots = pending_of(3, *hosts)
    assert cancelled(slots) == evicted
    assert [slots[number].evicted for number in evicted] == [True] * len(evicted)


async def test_a_network_with_its_share_makes_room_for_its_own_connections_only() -> None:
    hosts = ["192.0.2.1", "198.51.100.1", "192.0.2.2", "198.51.100.2", "192.0.2.3", "203.0.113.1"]
    _, slots = pending_of(10, *hosts, share=2)
    assert cancelled(slots) == [0]
    assert slots[0].evicted


# Networks of connections that come, and now and then one that leaves: which of those there are.
_COMINGS = st.lists(
    st.tuples(st.sampled_from("aaaabbbccdefgh"), st.none() | st.integers(0, 39)),
    min_size=20,
    max_size=80,
)


@given(comings=_COMINGS)
def test_what_is_evicted_is_the_oldest_of_a_network_with_most(
    comings: list[tuple[str, int | None]],
) -> None:
    pending, slots = pending_of(20)
    for network, leaving in comings:
        if leaving is not None and leaving < len(slots):
            pending.remove(slots.pop(leaving))
        slots.append(Slot(f"10.0.{ord(network)}.1"))
        pending.add(slots[-1])
        held = Counter(slot.network for slot in slots)
        gone = [slot for slot in slots if slot.cancelled]
        assert len(gone) == (len(slots) > 20)
        for slot in gone:
            assert held[slot.network] == max(held.values())
            assert slot is next(each for each in slots if each.network == slot.network)
            slots.remove(slot)


async def test_handshakes_end_when_their_time_is_up_a_few_in_each_turn(
    mock_clock: trio.testing.MockClock,
) -> None:
    pending, slots = pending_of(100)
    now = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pending.expire)
        await trio.testing.wait_all_tasks_blocked()
        slots = [Slot("192.0.2.1", now + 10 + (number >= 50)) for number in range(60)]
        for slot in slots:
            pending.add(slot)
        pending.authenticated(slots[3])
        slots[4].begin_closing()
        pending.add(slots[4])
        pending.remove(slots[5])
        mock_clock.jump(9.9)
        await trio.testing.wait_all_tasks_blocked()
        assert cancelled(slots) == []
        mock_clock.jump(0.1)
        ended: list[int] = []
        while not slots[49].scope.cancel_called:
            await trio.lowlevel.checkpoint()
            ended.append(len(cancelled(slots)))
        assert ended[-1] == 50 - 3
        # Between two looks it may have had two turns of 16, and no more.
        assert max(after - before for before, after in itertools.pairwise([0, *ended])) <= 32
        await trio.testing.wait_all_tasks_blocked()
        assert cancelled(slots) == [n for n in range(50) if n not in (3, 4, 5)]
        mock_clock.jump(1)
        await trio.testing.wait_all_tasks_blocked()
        assert cancelled(slots) == [n for n in range(60) if n not in (3, 4, 5)]
        assert not any(slot.cancelled for slot in slots)  # their time was up
        nursery.cancel_scope.cancel()


async def test_an_admitted_client_frees_its_slot_and_is_safe() -> None:
    pending, slots = pending_of(2, "192.0.2.1", "192.0.2.1")
    pending.remove(slots[0])
    slots.append(Slot("192.0.2.1"))
    pending.add(slots[2])
    assert cancelled(slots) == []
    assert pending.make_room()
    assert cancelled(slots) == [1]


async def test_a_cancelled_connection_takes_no_slot_while_it_is_closed() -> None:
    pending, slots = pending_of(1, "192.0.2.1", "192.0.2.2")
    pending.add(slots[0])
    pending.remove(slots[0])
    assert cancelled(slots) == [0]


async def test_a_stop_ends_handshakes_and_lets_alerts_arrive() -> None:
    pending, slots = pending_of(3, "192.0.2.1", "192.0.2.2")
    slots[0].closing = True
    pending.cancel_all()
    assert cancelled(slots) == [1]
    assert not slots[1].evicted


async def test_making_room_among_none_does_nothing() -> None:
    assert not PendingConnections(1).make_room()
