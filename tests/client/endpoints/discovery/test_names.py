"""Host names in a plan, looked up again and again."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.abc
import trio.testing

from mtls_echo_client.endpoints.discovery.dns import Names
from mtls_echo_client.endpoints.plan import Problem
from mtls_echo_tls.address import Address
from tests.client.endpoints.discovery.planning import (
    DISCOVERING,
    Resolver,
    addresses,
    name_targets,
    planner,
    running,
)
from tests.client.endpoints.discovery.planning import folder as folder
from tests.client.endpoints.discovery.planning import material as material
from tests.client.endpoints.discovery.planning import resolver as resolver
from tests.support.endpoints import TLS
from tests.support.timing import TIMEOUT

# A planner looks at its files from time to time.
pytestmark = pytest.mark.real_time

NAMED = (
    "- endpoints: ['dns+a.test:1']\n"
    + TLS
    + "  endpoints_sd_files: [{files: ['t*.json'], refresh_interval: 10ms}]\n"
)


async def test_a_name_is_looked_up_again_and_a_failure_keeps_its_addresses(
    folder: Path, resolver: Resolver
) -> None:
    resolver.answers["a.test"] = ["10.0.0.1"]
    async with running(planner(folder, NAMED, interval=0.01)) as until:
        await until(lambda plan: addresses(plan) == ["10.0.0.1:1"])

        resolver.answers["a.test"] = ["10.0.0.3", "10.0.0.1"]
        await until(lambda plan: addresses(plan) == ["10.0.0.1:1", "10.0.0.3:1"])

        resolver.answers["a.test"] = socket.gaierror(socket.EAI_AGAIN, "Temporary failure")
        kept = await until(lambda plan: bool(plan.problems))
        assert addresses(kept) == ["10.0.0.1:1", "10.0.0.3:1"]
        assert kept.problems == (
            Problem("dns+a.test:1", "cannot be looked up: temporary failure"),
        )

        resolver.answers["a.test"] = ["10.0.0.3"]
        await until(lambda plan: addresses(plan) == ["10.0.0.3:1"] and not plan.problems)


async def test_another_order_of_addresses_is_not_another_plan(
    folder: Path, resolver: Resolver
) -> None:
    making = planner(folder, NAMED)
    first = await making.once()
    resolver.answers["a.test"] = ["::2", "10.0.0.10", "10.0.0.2", "10.0.0.2"]

    assert await making.once() == first


async def test_the_systems_own_resolver_is_asked(folder: Path) -> None:
    plan = await planner(folder, NAMED.replace("a.test", "localhost")).once()

    assert plan.problems == ()
    assert {each.address.host for each in plan.endpoints} <= {"127.0.0.1", "::1"}
    assert {each.server_name for each in plan.endpoints} == {"localhost"}


async def test_names_in_target_files_are_looked_up_too(folder: Path, resolver: Resolver) -> None:
    async with running(planner(folder, DISCOVERING, interval=0.01)) as until:
        await until(lambda plan: plan.endpoints == ())
        name_targets(folder / "t.json", "dns+a.test:7")
        plan = await until(lambda plan: len(plan.endpoints) == 3)

    assert addresses(plan) == ["10.0.0.2:7", "10.0.0.10:7", "[::2]:7"]
    assert {each.server_name for each in plan.endpoints} == {"a.test"}
    assert {each.origin for each in plan.endpoints} == {f"{folder}/t.json [0].targets[0]"}


async def test_a_lookup_that_hangs_holds_up_no_other(
    folder: Path, resolver: Resolver, mock_clock: trio.testing.MockClock
) -> None:
    text = NAMED.replace("['dns+a.test:1']", "['dns+a.test:1', 'dns+hanging.test:1']")
    making = planner(folder, text, interval=0.01)
    making._names = Names(timeout=5)

    async def let_time_pass() -> None:
        while "hanging.test" not in resolver.asked:
            await trio.testing.wait_all_tasks_blocked(0.001)
        mock_clock.jump(5)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(let_time_pass)
        plan = await making.once()

    assert len(plan.endpoints) == 3
    assert plan.problems == (
        Problem("dns+hanging.test:1", "cannot be looked up: no answer in 5 s"),
    )
    making._names = Names(timeout=TIMEOUT)
    mock_clock.rate = 1.0
    async with running(making) as until:
        await until(lambda plan: True)
        name_targets(folder / "t.json", "c.test:1")
        await until(lambda plan: "c.test:1" in addresses(plan))
        resolver.answers["b.test"] = ["10.0.0.9"]
        name_targets(folder / "t.json", "dns+b.test:1")
        await until(lambda plan: "10.0.0.9:1" in addresses(plan))


async def test_a_plan_is_not_waited_for_longer_than_its_timeout(
    folder: Path, resolver: Resolver, autojump_clock: trio.testing.MockClock
) -> None:
    names, wanted = Names(), {Address(f"h{n}.test", 1): 30.0 for n in range(1000)}
    resolver.answers |= dict.fromkeys((name.host for name in wanted), None)
    began = trio.current_time()

    await names.refresh(wanted)

    assert trio.current_time() - began == 25
    problems = [names.problem(name) for name in wanted]
    assert sum(each is not None and "no answer" in each.message for each in problems) == 32
    assert problems[-1] == Problem("dns+h999.test:1", "is being looked up")


async def test_a_name_has_a_bounded_number_of_addresses(folder: Path, resolver: Resolver) -> None:
    resolver.answers["a.test"] = [f"10.0.{n // 200}.{n % 200}" for n in range(300)]
    plan = await planner(folder, NAMED).once()

    assert len(plan.endpoints) == 256
    assert plan.problems == (Problem("dns+a.test:1", "has 300 addresses; 256 of them are used"),)


async def test_lookups_are_few_at_once(resolver: Resolver) -> None:
    names = Names()
    at_once, most = 0, 0

    class Counting(Resolver):
        async def getaddrinfo(self, *arguments: Any) -> list[Any]:
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            await trio.testing.wait_all_tasks_blocked()
            at_once -= 1
            return await super().getaddrinfo(*arguments)

    trio.socket.set_custom_hostname_resolver(Counting())
    await names.refresh({Address(f"h{number}.test", 1): 30.0 for number in range(100)})

    assert most == 16


async def test_a_name_is_not_looked_up_before_it_is_due(
    resolver: Resolver, autojump_clock: trio.testing.MockClock
) -> None:
    names, wanted = Names(), {Address("a.test", 1): 30.0}
    assert names.due(wanted) == [Address("a.test", 1)]
    await names.refresh(wanted)
    await trio.sleep(29)
    assert names.due(wanted) == []
    await trio.sleep(1)
    assert names.due(wanted) == [Address("a.test", 1)]


async def test_a_name_that_is_no_longer_wanted_is_forgotten(resolver: Resolver) -> None:
    names = Names()
    await names.refresh({Address("a.test", 1): 30.0})
    assert names.addresses(Address("a.test", 1)) == ("10.0.0.2", "10.0.0.10", "::2")

    await names.refresh({})

    assert names.addresses(Address("a.test", 1)) == ()
