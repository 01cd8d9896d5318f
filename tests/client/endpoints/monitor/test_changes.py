"""Files and plans change: which endpoint is dialled again, and which is not."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import Any

import pytest
import trio
import trio.testing

from mtls_echo_client.endpoints.monitor import contexts as sources
from mtls_echo_client.endpoints.monitor.monitor import Monitor
from mtls_echo_client.endpoints.monitor.status import Status
from mtls_echo_client.endpoints.plan import Plan, Problem, TLSSettings
from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.request import Request
from tests.client.endpoints.monitor.scenes import contexts as contexts
from tests.client.endpoints.monitor.scenes import servers as servers
from tests.client.endpoints.monitor.scenes import until_lasting
from tests.support.endpoint_servers import (
    EndpointServers,
    Site,
    endpoint,
    monitoring,
    plan,
    until,
    until_state,
)
from tests.support.timing import TIMEOUT

# A monitor looks at its endpoints and their files from time to time.
pytestmark = pytest.mark.real_time


@contextlib.asynccontextmanager
async def one_up(servers: EndpointServers) -> AsyncGenerator[tuple[Monitor, Site]]:
    """A monitor of one endpoint, which is up."""
    site = servers.site()
    async with monitoring(Plan()) as (monitor, sites):
        await site.start(sites)
        monitor.update(plan(endpoint(site.port, servers.tls())))
        await until_state(monitor, "up")
        yield monitor, site


async def test_only_the_endpoint_whose_settings_changed_is_dialled_again(
    servers: EndpointServers,
) -> None:
    changed, same = servers.site(), servers.site()
    async with monitoring(Plan()) as (monitor, sites):
        await changed.start(sites)
        await same.start(sites)
        neighbour = endpoint(same.port, servers.tls())
        monitor.update(plan(endpoint(changed.port, servers.tls()), neighbour))
        await until_state(monitor, "up", 0)
        await until_state(monitor, "up", 1)

        monitor.update(plan(endpoint(changed.port, servers.tls("other")), neighbour))
        first = monitor.snapshot()[0]
        assert (first.state, first.admitted) == ("connecting", False), "nothing is proved any more"
        down = await until_state(monitor, "down")
        assert down.exit_status == 4
        ends = await changed.wait_for_ends(2)
        assert sorted(ends) == ["client", "failure"], "closed with close_notify, then refused"

        monitor.update(plan(endpoint(changed.port, servers.tls()), neighbour))
        await until_state(monitor, "up")
        await until_lasting(monitor)
        assert (changed.admitted, same.admitted) == (2, 1)
        assert same.ends == []


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"group": "elsewhere"}, id="another group"),
        pytest.param({"strict": True}, id="strict"),
        pytest.param({"labels": {"az": "b"}}, id="labels"),
        pytest.param({"origin": "targets.json [0].targets[0]"}, id="written elsewhere"),
    ],
)
async def test_the_settings_of_an_endpoint_may_change_under_its_very_connection(
    servers: EndpointServers, change: dict[str, Any]
) -> None:
    async with one_up(servers) as (monitor, site):
        monitor.update(plan(endpoint(site.port, servers.tls(), **change)))
        status = monitor.snapshot()[0]
        assert status.state == "up"
        for name, value in change.items():
            assert getattr(status.endpoint, name) == value
        await until_lasting(monitor)
        assert site.admitted == 1


async def test_a_removed_endpoint_is_closed_and_an_added_one_dialled(
    servers: EndpointServers,
) -> None:
    gone, stays, comes = servers.site(), servers.site(), servers.site()
    async with monitoring(Plan()) as (monitor, sites):
        for site in (gone, stays, comes):
            await site.start(sites)
        monitor.update(plan(*(endpoint(site.port, servers.tls()) for site in (gone, stays))))
        await until_state(monitor, "up", 0)
        await until_state(monitor, "up", 1)
        monitor.update(plan(*(endpoint(site.port, servers.tls()) for site in (stays, comes))))
        assert [status.state for status in monitor.snapshot()] == ["up", "connecting"]
        assert await gone.wait_for_ends(1) == ["client"]
        await until_state(monitor, "up", 1)
        assert (stays.admitted, stays.ends, comes.admitted) == (1, [], 1)


async def test_a_replaced_ca_redials_the_endpoints_that_trust_it_and_no_other(
    servers: EndpointServers,
) -> None:
    under_one, under_other = servers.site("one"), servers.site("other")
    async with monitoring(Plan()) as (monitor, sites):
        await under_one.start(sites)
        await under_other.start(sites)
        monitor.update(
            plan(
                endpoint(under_one.port, servers.tls("one")),
                endpoint(under_other.port, servers.tls("other")),
            )
        )
        await until_state(monitor, "up", 0)
        await until_state(monitor, "up", 1)

        servers.publish("one.crt", Authority.root("new").trust.pem)
        down = await until_state(monitor, "down")
        assert down.exit_status == 4
        assert (down.admitted, down.usable) == (True, False)

        servers.publish("one.crt", servers.one.trust.pem)
        await until_state(monitor, "up")
        assert (under_one.admitted, under_other.admitted) == (2, 1)


async def test_a_change_that_is_undone_while_it_is_read_is_seen(
    servers: EndpointServers, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = sources.Contexts()
    source = known.source(servers.tls("one"))
    await source.current()
    before = sources._digests

    def change_meanwhile(settings: Iterable[TLSSettings]) -> dict[TLSSettings, bytes]:
        found = before(settings)
        servers.publish("one.crt", Authority.root("new").trust.pem)
        return found

    monkeypatch.setattr(sources, "_digests", change_meanwhile)
    assert await known.look() == [(source, True)]
    monkeypatch.setattr(sources, "_digests", before)

    servers.publish("one.crt", servers.one.trust.pem)
    assert await known.look() == [(source, True)]
    assert await known.look() == []


async def test_a_replaced_certificate_of_ours_is_what_the_server_sees_next(
    servers: EndpointServers,
) -> None:
    async with one_up(servers) as (monitor, site):
        renewed = servers.clients.issue(Request.client("renewed.test"))
        servers.publish("alice.key", renewed.key_pem)
        servers.publish("alice.crt", renewed.certificate_pem)

        def is_renewed(status: Status) -> bool:
            own = status.report.own if status.report else None
            return own is not None and own.names == ["renewed.test"] and status.state == "up"

        await until(monitor, is_renewed)
        assert site.admitted == 2


async def test_broken_files_keep_the_last_good_ones_and_the_very_connection(
    servers: EndpointServers,
) -> None:
    async with one_up(servers) as (monitor, site):
        good = (servers.folder / "alice.key").read_bytes()

        servers.publish("alice.key", good[: len(good) // 2])
        status = await until(monitor, lambda status: status.problem)
        assert status.state == "up"
        assert status.problem is not None
        assert "alice.key" in status.problem.message
        assert "still is" in status.problem.message
        assert [problem.message for problem in monitor.problems] == [status.problem.message]

        servers.publish("alice.key", good)
        await until(monitor, lambda status: status.problem is None)
        assert not monitor.problems
        await until_lasting(monitor)
        assert site.admitted == 1


async def test_files_that_become_usable_are_tried_at_once(servers: EndpointServers) -> None:
    site = servers.site()
    good = (servers.folder / "one.crt").read_bytes()
    servers.publish("one.crt", b"")
    async with monitoring(Plan()) as (monitor, sites):
        await site.start(sites)
        monitor.update(plan(endpoint(site.port, servers.tls())))
        status = await until(monitor, lambda status: status.problem and status.state == "down")
        assert status.attempts == 0, "there is nothing to try it with"
        assert site.events[1:] == []
        servers.publish("one.crt", good)
        assert (await until_state(monitor, "up")).problem is None


async def test_a_request_to_look_does_not_wait_for_the_time_to(servers: EndpointServers) -> None:
    site = servers.site()
    async with monitoring(Plan(), file_interval=10 * TIMEOUT) as (monitor, sites):
        await site.start(sites)
        monitor.update(plan(endpoint(site.port, servers.tls())))
        await until_state(monitor, "up")
        monitor.look_at_files()
        await trio.testing.wait_all_tasks_blocked(0.01)
        servers.publish("one.crt", servers.other.trust.pem)
        monitor.look_at_files()
        assert (await until_state(monitor, "down")).exit_status == 4


async def test_the_plans_problems_are_passed_on(servers: EndpointServers) -> None:
    monitor = Monitor()
    problem = Problem("targets.json", "is no JSON")
    monitor.update(Plan((), (problem,)))
    assert monitor.problems == (problem,)


async def test_endpoints_with_equal_settings_share_one_context(
    servers: EndpointServers, contexts: Callable[[], int]
) -> None:
    sites = [servers.site() for _ in range(3)]
    async with monitoring(Plan()) as (monitor, nursery):
        for site in sites:
            await site.start(nursery)
        monitor.update(plan(*(endpoint(site.port, servers.tls()) for site in sites)))
        for place in range(3):
            await until_state(monitor, "up", place)
        assert contexts() == 1
        monitor.update(Plan())
        for site in sites:
            await site.wait_for_ends(1)
        # A look at the files that is under way in a thread ends before it lets go of its context.
        while contexts() > 0:
            await trio.testing.wait_all_tasks_blocked()
