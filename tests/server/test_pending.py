"""Which unauthenticated connection makes room for which."""

from __future__ import annotations

import pytest

from mtls_echo_server.pending import PendingConnections, Slot


def pending_of(places: int, *hosts: str) -> tuple[PendingConnections, list[Slot]]:
    pending = PendingConnections(places)
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
        (["192.0.2.1", "192.0.2.2", "192.0.2.2", "192.0.2.3"], [1]),  # of the host with most
        (["192.0.2.1", "2001:db8::1", "2001:db8::2", "192.0.2.3"], [1]),  # one /64 is one host
        (["192.0.2.1", "2001:db8::1", "2001:db8:0:1::1", "192.0.2.1"], [0]),  # two are two
        (["fe80::1%eth0", "192.0.2.1", "fe80::2%eth0", "192.0.2.3"], [0]),
    ],
)
async def test_the_busiest_network_evicts_only_itself(
    hosts: list[str], evicted: list[int]
) -> None:
    _, slots = pending_of(3, *hosts)
    assert cancelled(slots) == evicted
    assert [slots[number].evicted for number in evicted] == [True] * len(evicted)


async def test_an_admitted_client_frees_its_slot_and_is_safe() -> None:
    pending, slots = pending_of(2, "192.0.2.1", "192.0.2.1")
    pending.remove(slots[0])
    slots.append(Slot("192.0.2.1"))
    pending.add(slots[2])
    assert cancelled(slots) == []
    pending.make_room()
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
    PendingConnections(1).make_room()
