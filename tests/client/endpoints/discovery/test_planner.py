"""Does the plan follow what is written, and stay where something cannot be read?"""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.abc
import trio.testing

from mtls_echo_client.endpoints.configuration.errors import EndpointsError
from mtls_echo_client.endpoints.configuration.read import parse_configuration, read_configuration
from mtls_echo_client.endpoints.discovery.dns import Names
from mtls_echo_client.endpoints.discovery.planner import Planner
from mtls_echo_client.endpoints.groups import Configuration
from mtls_echo_client.endpoints.plan import Plan, Problem
from mtls_echo_tls.address import Address
from tests.support.endpoints import LISTED, TLS, make_files, replace, thanos
from tests.support.timing import TIMEOUT

# A planner looks at its files from time to time.
pytestmark = pytest.mark.real_time


class Resolver(trio.abc.HostnameResolver):
    """Knows some names; anything else in ``answers`` is what happens on a lookup."""

    def __init__(self, **answers: Sequence[str] | Exception | None) -> None:
        self.answers = {name.replace("_", "."): answer for name, answer in answers.items()}
        self.asked: list[str] = []

    async def getaddrinfo(
        self, host: bytes | None, port: Any, family: int = 0, type: int = 0, *_: int
    ) -> list[Any]:
        name = (host or b"").decode()
        self.asked.append(name)
        answer = self.answers.get(
            name, socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        )
        if answer is None:
            await trio.sleep_forever()
        if isinstance(answer, Exception):
            raise answer
        return [
            (socket.AF_INET6, type, 6, "", (address, port, 0, 0))
            if ":" in address
            else (socket.AF_INET, type, 6, "", (address, port))
            for address in answer or ()
        ]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        raise AssertionError("this is never looked up")


@pytest.fixture
async def resolver() -> Resolver:
    known = Resolver(a_test=["10.0.0.2", "10.0.0.10", "::2"], empty_test=[], hanging_test=None)
    trio.socket.set_custom_hostname_resolver(known)
    return known


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("material")
    make_files(made)
    return made


@pytest.fixture
def folder(material: Path, tmp_path: Path) -> Path:
    for path in material.iterdir():
        (tmp_path / path.name).symlink_to(path)
    return tmp_path


def planner(folder: Path, text: str, **options: Any) -> Planner:
    (folder / "endpoints.yaml").write_text(text, "utf-8")
    return Planner(partial(read_configuration, folder / "endpoints.yaml"), **options)


def name_targets(path: Path, *targets: str, **labels: str) -> None:
    replace(path, json.dumps([{"targets": targets, "labels": labels}]))


def addresses(plan: Plan) -> list[str]:
    return [str(endpoint.address) for endpoint in plan.endpoints]


@asynccontextmanager
async def running(planner: Planner) -> AsyncIterator[Callable[[Callable[[Plan], bool]], Any]]:
    """Run a planner; yields a function that waits for a plan that is as it should be."""
    send, receive = trio.open_memory_channel[Plan](1000)

    async def until(right: Callable[[Plan], bool]) -> Plan:
        async for plan in receive:
            if right(plan):
                return plan
        raise AssertionError("the planner ended")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(planner.run, send.send_nowait)
        yield until
        nursery.cancel_scope.cancel()


# --- once ----------------------------------------------------------------------------------------


async def test_a_plan_has_everything_resolved(folder: Path, resolver: Resolver) -> None:
    name_targets(folder / "t.json", "c.test:3", job="echo")
    plan = await planner(
        folder,
        "- name: stores\n"
        "  tls_config: {ca_file: servers.crt}\n"
        "  endpoints: ['[::1]:1', 'dns+a.test:2']\n"
        "  endpoints_sd_files: [{files: ['*.json']}]\n"
        "- endpoints: ['b.test:4']\n"
        "  tls_config: {ca_file: clients.crt, server_name: other.test}\n"
        "  mode: strict\n",
    ).once()

    assert [
        (str(each.address), each.group, each.strict, each.server_name, each.origin)
        for each in plan.endpoints
    ] == [
        ("[::1]:1", "stores", False, "::1", "[0].endpoints[0]"),
        ("10.0.0.2:2", "stores", False, "a.test", "[0].endpoints[1]"),
        ("10.0.0.10:2", "stores", False, "a.test", "[0].endpoints[1]"),
        ("[::2]:2", "stores", False, "a.test", "[0].endpoints[1]"),
        ("c.test:3", "stores", False, "c.test", f"{folder}/t.json [0].targets[0]"),
        ("b.test:4", "[1]", True, "other.test", "[1].endpoints[0]"),
    ]
    assert plan.problems == ()
    assert plan.endpoints[4].labels == {"job": "echo", "__meta_filepath": f"{folder}/t.json"}
    assert plan.endpoints[1].written == "dns+a.test:2"
    assert [each.tls.ca_file.name for each in plan.endpoints if each.tls] == [
        *["servers.crt"] * 5,
        "clients.crt",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(LISTED, "[0]: has no tls_config", id="no tls_config"),
        pytest.param(
            LISTED + TLS + "- endpoints: ['b.test:1']\n",
            "[1]: has no tls_config",
            id="one group of two",
        ),
        pytest.param(
            thanos("address: 'a.test:1', client_config: {tls_config: {enabled: false}}"),
            "endpoints[0].client_config.tls_config.enabled: is false",
            id="enabled is false",
        ),
    ],
)
async def test_plaintext_must_be_allowed_outright(text: str, message: str, folder: Path) -> None:
    with pytest.raises(EndpointsError) as refused:
        await planner(folder, text).once()

    assert str(refused.value) == (
        f"{folder}/endpoints.yaml: {message}: everything would be sent in plaintext"
    )
    assert "allow_plaintext=True" in (refused.value.hint or "")

    plan = await planner(folder, text, allow_plaintext=True).once()
    plain = plan.endpoints[-1]
    assert (plain.tls, plain.server_name) == (None, None)


async def test_allowing_plaintext_takes_tls_from_no_endpoint(folder: Path) -> None:
    plan = await planner(folder, LISTED + TLS, allow_plaintext=True).once()

    assert plan.endpoints[0].tls is not None


async def test_a_broken_configuration_starts_nothing(folder: Path) -> None:
    making = planner(folder, "- endpoints: 1\n")

    with pytest.raises(EndpointsError):
        await making.once()
    published: list[Plan] = []
    with pytest.raises(EndpointsError):
        await making.run(published.append)
    assert published == []


async def test_what_files_and_names_fail_to_give_are_problems(
    folder: Path, resolver: Resolver
) -> None:
    (folder / "bad.json").write_text('[{"targets": ["c.test')
    plan = await planner(
        folder,
        "- endpoints: ['dns+nowhere.test:1', 'dns+empty.test:1', 'b.test:1']\n"
        + TLS
        + "  endpoints_sd_files: [{files: [bad.json, missing.json, nowhere/*.yml]}]\n",
    ).once()

    assert addresses(plan) == ["b.test:1"]
    assert plan.problems == (
        Problem(f"{folder}/missing.json", "does not exist, and names no targets"),
        Problem(f"{folder}/nowhere", "does not exist, and names no targets"),
        Problem(
            f"{folder}/bad.json",
            "line 1, column 15: is not JSON: unterminated string starting",
        ),
        Problem("dns+nowhere.test:1", "cannot be looked up: name or service not known"),
        Problem("dns+empty.test:1", "cannot be looked up: it has no address"),
    )


# --- an address twice ----------------------------------------------------------------------------


async def test_a_target_never_takes_an_endpoint_from_the_configuration(
    folder: Path, resolver: Resolver
) -> None:
    """Else a line in a target file would decide by which authority a server is verified."""
    name_targets(folder / "t.json", "B.test.:1", "10.0.0.2:2", "c.test:1", "c.test:1")
    plan = await planner(
        folder,
        "- endpoints_sd_files: [{files: [t.json]}]\n"
        "  tls_config: {ca_file: clients.crt}\n"
        "- endpoints: ['dns+a.test:2', 'b.test:1', '10.0.0.10:2']\n" + TLS,
    ).once()

    assert [
        (str(each.address), each.tls and each.tls.ca_file.name) for each in plan.endpoints
    ] == [
        ("c.test:1", "clients.crt"),
        ("10.0.0.2:2", "servers.crt"),
        ("[::2]:2", "servers.crt"),
        ("b.test:1", "servers.crt"),
        ("10.0.0.10:2", "servers.crt"),
    ]
    assert plan.problems == (
        Problem(
            "dns+a.test:2",
            "10.0.0.10:2 at [1].endpoints[0] is left out: it is already at [1].endpoints[2]",
        ),
        Problem(
            f"{folder}/t.json",
            "B.test.:1 at [0].targets[0] is left out: it is already at [1].endpoints[1];"
            " so are 2 more",
        ),
    )


async def test_a_plan_has_a_bounded_number_of_endpoints(folder: Path) -> None:
    for name in ("a", "b"):
        targets = (f"{name}{number}.test:1" for number in range(6000))
        name_targets(folder / f"{name}.json", *targets)
    plan = await planner(
        folder, "-" + TLS[1:] + "  endpoints_sd_files: [{files: ['*.json']}]\n"
    ).once()

    assert len(plan.endpoints) == 10_000
    assert plan.problems == (
        Problem(f"{folder}/endpoints.yaml", "leads to 12000 endpoints; the first 10000 are used"),
    )


# --- what changes --------------------------------------------------------------------------------

DISCOVERING = "-" + TLS[1:] + "  endpoints_sd_files: [{files: ['t*.json']}]\n"


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
        while making._discovery is before:  # read anew, and it says the same  # noqa: ASYNC110
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


# --- names ---------------------------------------------------------------------------------------

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


async def test_another_order_of_addresses_is_no_other_plan(
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
