"""Who makes room for whom, while nobody has proved anything."""

from __future__ import annotations

import pytest

from mtls_echo_server.pending import Strangers, Visit


def crowd(places: int, *hosts: str) -> tuple[Strangers, list[Visit]]:
    strangers = Strangers(places)
    visits = [Visit(host) for host in hosts]
    for visit in visits:
        strangers.enter(visit)
    return strangers, visits


def ended(visits: list[Visit]) -> list[int]:
    return [number for number, visit in enumerate(visits) if visit.scope.cancel_called]


async def test_nobody_goes_while_there_is_room() -> None:
    _, visits = crowd(3, "192.0.2.1", "192.0.2.1", "192.0.2.1")
    assert ended(visits) == []


@pytest.mark.parametrize(
    ("hosts", "gone"),
    [
        (["192.0.2.1"] * 5, [0, 1]),  # the oldest first
        (["192.0.2.1", "192.0.2.2", "192.0.2.2", "192.0.2.3"], [1]),  # of the host with most
        (["192.0.2.1", "2001:db8::1", "2001:db8::2", "192.0.2.3"], [1]),  # one /64 is one host
        (["192.0.2.1", "2001:db8::1", "2001:db8:0:1::1", "192.0.2.1"], [0]),  # two are two
        (["fe80::1%eth0", "192.0.2.1", "fe80::2%eth0", "192.0.2.3"], [0]),
    ],
)
async def test_a_crowd_crowds_out_itself(hosts: list[str], gone: list[int]) -> None:
    _, visits = crowd(3, *hosts)
    assert ended(visits) == gone
    assert [visits[number].crowded_out for number in gone] == [True] * len(gone)


async def test_who_is_admitted_makes_room_and_is_safe() -> None:
    strangers, visits = crowd(2, "192.0.2.1", "192.0.2.1")
    strangers.leave(visits[0])
    visits.append(Visit("192.0.2.1"))
    strangers.enter(visits[2])
    assert ended(visits) == []
    strangers.make_room()
    assert ended(visits) == [1]


async def test_who_was_ended_takes_no_place_while_it_is_closed() -> None:
    strangers, visits = crowd(1, "192.0.2.1", "192.0.2.2")
    strangers.enter(visits[0])
    strangers.leave(visits[0])
    assert ended(visits) == [0]


async def test_a_stop_ends_handshakes_and_lets_alerts_arrive() -> None:
    strangers, visits = crowd(3, "192.0.2.1", "192.0.2.2")
    visits[0].leaving = True
    strangers.send_away()
    assert ended(visits) == [1]
    assert not visits[1].crowded_out


async def test_making_room_where_nobody_is_does_nothing() -> None:
    Strangers(1).make_room()
