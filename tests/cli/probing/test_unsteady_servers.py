"""Servers that are busy, that end, and that admit some by chance: no verdict is made of that."""

from __future__ import annotations

import itertools
import ssl

import pytest
import trio

from mtls_echo_tls.stream.tls import TLSStream
from tests.cli.probing.servers import (
    FEW,
    context,
    hello,
    http,
    page,
    probed,
    serving,
    verdicts,
)

pytestmark = pytest.mark.real_time

OPTIONAL = ssl.CERT_OPTIONAL


async def test_a_client_that_is_admitted_once_is_admitted() -> None:
    def answer(_: str, name: str | None, number: int) -> str:
        return page("hello") if name or number % 5 == 0 else page("who?", "403 Forbidden")

    async with serving(context(OPTIONAL), http(answer)) as port:
        result = await probed(port, only=("none",), repeat=5, versions=("1.3",))

    assert verdicts(result)["none"] == {"admitted"}
    assert any("none: admitted, and not at the first try" in note for note in result.notes)


async def test_chance_is_not_taken_for_a_way_around() -> None:
    without = itertools.count(1)

    def answer(_: str, name: str | None, number: int) -> str:
        # Every other one from the third on: both of the usual way are refused.
        lucky = name is None and next(without) in (3, 5, 7)
        return page("hello") if name or lucky else page("who?", "403 Forbidden")

    async with serving(context(OPTIONAL), http(answer)) as port:
        result = await probed(port, only=("none", "sni-none"), versions=("1.3",))

    assert verdicts(result) == {"none": {"admitted"}, "sni-none": {"not tested"}}


async def test_a_server_that_has_given_out_by_the_end_has_not_refused() -> None:
    async def serve(stream: TLSStream, name: str | None, number: int) -> None:
        # The good identity, twice, and what is issued anew for it; from then on no client.
        if number <= 3:
            await http(hello)(stream, name, number)

    async with serving(context(OPTIONAL), serve) as port:
        result = await probed(port, only=("none",), versions=("1.3",))

    assert verdicts(result)["none"] == {"unclear"}
    assert any("was not served either" in note for note in result.notes)


async def test_who_is_turned_away_unseen_is_not_refused() -> None:
    # The good identity's second connection, and two of those that follow.
    few = {2, 6, 8}
    async with serving(context(OPTIONAL), http(hello), turns_away=few) as port:
        result = await probed(port, repeat=3, versions=("1.3",))
    async with serving(context(), http(hello), turns_away=range(4, 99)) as port:
        gone = await probed(port, versions=("1.3",))

    assert verdicts(result) == {
        "none": {"admitted"},
        "unknown-authority": {"refused"},
        "expired": {"refused"},
    }
    assert verdicts(gone) == {slug: {"unclear"} for slug in FEW}
    assert all("before it had seen a certificate" in row.how for row in gone.rows)


async def test_a_server_that_ends_in_the_middle_has_not_refused() -> None:
    async with trio.open_nursery() as nursery:

        async def serve(stream: TLSStream, name: str | None, number: int) -> None:
            # The good identity, twice, and what is issued anew for it; then it stops listening.
            await http(hello)(stream, name, number)
            if number == 3:
                nursery.cancel_scope.cancel()

        async def run_server(*, task_status: trio.TaskStatus[int]) -> None:
            async with serving(context(OPTIONAL), serve) as port:
                task_status.started(port)
                await trio.sleep_forever()

        port = await nursery.start(run_server)
        with trio.CancelScope(shield=True):
            result = await probed(port, versions=("1.3",), only=(*FEW, "ticket-of-refused"))

    assert {row.how for row in result.rows if row.slug in FEW} == {"there is no TCP connection"}
    assert verdicts(result) == {
        **{slug: {"unclear"} for slug in FEW},
        "ticket-of-refused": {"not tested"},
    }
    assert any("(there is no TCP connection)" in note for note in result.notes)
