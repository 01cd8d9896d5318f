"""A plan follows what is written, and stays where something cannot be read."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
import trio.abc
import trio.testing

from mtls_echo_client.endpoints.configuration.read import parse_configuration
from mtls_echo_client.endpoints.discovery.planner import Planner
from mtls_echo_client.endpoints.groups import Configuration
from mtls_echo_client.endpoints.plan import Plan, Problem
from tests.client.endpoints.discovery.planning import (
    DISCOVERING,
    addresses,
    name_targets,
    planner,
    running,
)
from tests.client.endpoints.discovery.planning import folder as folder
from tests.client.endpoints.discovery.planning import material as material
from tests.support.endpoints import LISTED, TLS, replace
from tests.support.timing import TIMEOUT

# A planner looks at its files from time to time.
pytestmark = pytest.mark.real_time


async def test_every_change_of_a_target_file_is_a_new_plan(folder: Path) -> None:
    name_targets(folder / "t.json", "a.test:1")
    async with running(planner(folder, DISCOVERING, interval=0.01)) as until:
        await until(lambda plan: addresses(plan) == ["a.test:1"])

        name_targets(folder / "t.json", "a.test:1", "b.test:1")
        await until(lambda plan: addresses(plan) == ["a.test:1", "b.test:1"])

        (folder / "t.json").write_text("[{")
        kept = await until(lambda plan: bool(plan.problems))
        assert addresses(kept) == ["a.test:1", "b.test:1"]

        name_targets(folder / "t2.json", "c.test:1")
        await until(lambda plan: addresses(plan) == ["a.test:1", "b.test:1", "c.test:1"])

        (folder / "t.json").unlink()
        last = await until(lambda plan: addresses(plan) == ["c.test:1"])
        assert last.problems == ()


async def test_files_are_read_as_often_as_their_refresh_interval_asks(folder: Path) -> None:
    text = "-" + TLS[1:] + "  endpoints_sd_files: [{files: [t.json], refresh_interval: 1ms}]\n"
    async with running(planner(folder, text, interval=10 * TIMEOUT)) as until:
        await until(lambda plan: plan.endpoints == ())
        name_targets(folder / "t.json", "a.test:1")
        await until(lambda plan: addresses(plan) == ["a.test:1"])


async def test_a_label_alone_is_a_new_plan(folder: Path) -> None:
    name_targets(folder / "t.json", "a.test:1", job="one")
    async with running(planner(folder, DISCOVERING, interval=0.01)) as until:
        await until(lambda plan: plan.endpoints[0].labels["job"] == "one")
        name_targets(folder / "t.json", "a.test:1", job="two")
        await until(lambda plan: plan.endpoints[0].labels["job"] == "two")


async def test_a_plan_is_published_once(folder: Path) -> None:
    name_targets(folder / "t.json", "a.test:1")
    making = planner(folder, DISCOVERING, interval=0.001)
    await making.once()
    published: list[Plan] = []
    changed = trio.Event()

    def publish(plan: Plan) -> None:
        published.append(plan)
        if len(plan.endpoints) == 2:
            changed.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(making.run, publish)
        before = making._discovery
        (folder / "t.json").write_text('[{"targets": ["a.test:1"], "labels": {} } ]')
        # Read anew, it says the same: there is no event to wait for.
        while making._discovery is before:  # noqa: ASYNC110  see above
            await trio.sleep(0.001)
        name_targets(folder / "t.json", "a.test:1", "b.test:1")
        await changed.wait()
        nursery.cancel_scope.cancel()

    assert [len(plan.endpoints) for plan in published] == [1, 2]


async def test_a_thousand_changes_leave_nothing_behind(folder: Path) -> None:
    making = planner(folder, DISCOVERING)
    for number in range(1000):
        name_targets(folder / "t.json", f"h{number}.test:1")
        plan = await making.once()

    assert addresses(plan) == ["h999.test:1"]
    ((found,),) = [making._discovery.found(folder / "t*.json")]
    assert len(found.targets) == 1


async def test_a_changed_configuration_is_taken_up(folder: Path) -> None:
    async with running(planner(folder, LISTED + TLS, interval=0.01)) as until:
        await until(lambda plan: addresses(plan) == ["a.test:1"])

        text = "- endpoints: ['b.test:1']\n  tls_config: {ca_file: clients.crt}\n"
        replace(folder / "endpoints.yaml", text)
        plan = await until(lambda plan: addresses(plan) == ["b.test:1"])

    assert plan.endpoints[0].tls is not None
    assert plan.endpoints[0].tls.ca_file == folder / "clients.crt"


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        pytest.param(
            "- endpoints: 1\n", "[0].endpoints: must be a list, not the number 1", id="a number"
        ),
        pytest.param("", "is empty", id="empty"),
        pytest.param(
            LISTED,
            "[0]: has no tls_config: everything would be sent in plaintext",
            id="plaintext that is not allowed",
        ),
        pytest.param(None, "does not exist", id="deleted"),
    ],
)
async def test_a_configuration_that_breaks_stays_in_force_as_it_was(
    broken: str | None, message: str, folder: Path
) -> None:
    path = folder / "endpoints.yaml"
    async with running(planner(folder, LISTED + TLS, interval=0.01)) as until:
        before = await until(lambda plan: True)
        if broken is None:
            path.unlink()
        else:
            replace(path, broken)

        kept = await until(lambda plan: bool(plan.problems))

        assert kept.endpoints == before.endpoints
        assert kept.problems == (Problem(str(path), message),)

        replace(path, LISTED + TLS)
        assert await until(lambda plan: not plan.problems) == before


async def test_a_configuration_whose_certificate_comes_later_is_taken_up_then(
    folder: Path, material: Path
) -> None:
    text = "- endpoints: ['b.test:1']\n  tls_config: {ca_file: later.crt}\n"
    async with running(planner(folder, LISTED + TLS, interval=0.01)) as until:
        await until(lambda plan: True)
        replace(folder / "endpoints.yaml", text)
        refused = await until(lambda plan: bool(plan.problems))
        assert addresses(refused) == ["a.test:1"]
        assert refused.problems == (
            Problem(
                f"{folder}/endpoints.yaml",
                f"[0].tls_config.ca_file: {folder}/later.crt: does not exist",
            ),
        )

        (folder / "later.crt").symlink_to(material / "servers.crt")

        await until(lambda plan: addresses(plan) == ["b.test:1"] and not plan.problems)


async def test_a_configuration_given_inline_is_read_once(folder: Path) -> None:
    loads: list[Configuration] = []

    def load() -> Configuration:
        loads.append(parse_configuration(DISCOVERING, folder=folder))
        return loads[-1]

    async with running(Planner(load, interval=0.001)) as until:
        await until(lambda plan: True)
        name_targets(folder / "t.json", "a.test:1")
        await until(lambda plan: addresses(plan) == ["a.test:1"])

    assert len(loads) == 1
