"""Very many endpoints and changes: a few are dialled at a time, and nothing is left behind."""

from __future__ import annotations

import gc
import os
import resource
from collections.abc import Callable, Iterator
from typing import NoReturn

import pytest
import trio
import trio.testing

from mtls_echo_client.endpoints.monitor import worker
from mtls_echo_client.endpoints.monitor.monitor import Monitor
from mtls_echo_client.endpoints.plan import Plan
from mtls_echo_tls.diagnosis.evidence import Evidence
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.stream.tls import TLSStream
from tests.client.endpoints.monitor.scenes import contexts as contexts
from tests.client.endpoints.monitor.scenes import servers as servers
from tests.support.endpoint_servers import (
    EndpointServers,
    endpoint,
    monitoring,
    plan,
    until,
    until_state,
)
from tests.support.timing import IDLE, TIMEOUT

# A monitor looks at its endpoints and their files from time to time.
pytestmark = pytest.mark.real_time


async def test_a_thousand_changes_leave_nothing_behind(
    servers: EndpointServers, contexts: Callable[[], int]
) -> None:
    site, neighbour = servers.site(), servers.site()
    async with monitoring(Plan(), file_interval=TIMEOUT) as (monitor, sites):
        await site.start(sites)
        await neighbour.start(sites)
        left_alone = endpoint(neighbour.port, servers.tls())
        names = ("one", "other")

        async def change(number: int) -> None:
            settings = servers.tls(names[number % 2], server_name=f"unused-{number}")
            monitor.update(plan(left_alone, endpoint(site.port, settings)))

        async def settle() -> tuple[int, int, int, int]:
            await change(0)
            await until_state(monitor, "up", 1)
            await site.wait_for_ends(site.admitted - 1)
            await trio.testing.wait_all_tasks_blocked(IDLE)
            tasks = trio.lowlevel.current_statistics().tasks_living
            descriptors = len(os.listdir("/proc/self/fd"))
            return tasks, descriptors, contexts(), streams()

        before = await settle()
        for number in range(1, 1001):
            await change(number)
            await until(monitor, lambda status: status.state != "connecting", 1)
        left = await settle()

        assert left == before
        assert len(site.ends) >= 1000, "each change was a connection"
        assert neighbour.admitted == 1


def streams() -> int:
    """How many TLS streams there are in this process, after `gc.collect`."""
    return sum(isinstance(each, TLSStream) for each in gc.get_objects())


async def test_no_more_are_dialled_at_once_than_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    dialling: list[int] = [0]

    async def count_and_fail(*arguments: object) -> NoReturn:
        dialling.append(dialling[-1] + 1)
        for _ in range(20):
            await trio.lowlevel.checkpoint()
        dialling.append(dialling[-1] - 1)
        raise TLSFailure(Evidence("client"))

    monkeypatch.setattr(worker, "dial", count_and_fail)
    ports = range(1, 101)
    statuses = await Monitor(concurrency=7).check_once(
        plan(*(endpoint(port, None) for port in ports))
    )

    assert max(dialling) == 7
    assert dialling[-1] == 0
    assert len(statuses) == 100


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Both ends of five hundred connections are in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_descriptors")
async def test_five_hundred_endpoints_are_dialled_a_few_at_a_time_and_all_come_up(
    servers: EndpointServers,
) -> None:
    site = servers.site()
    rules = {"check_interval": 2.0, "concurrency": 8}
    async with monitoring(Plan(), **rules) as (monitor, sites):
        ports = await site.start(sites, doors=500)
        monitor.update(plan(*(endpoint(port, servers.tls()) for port in ports)))
        before = trio.lowlevel.current_statistics().tasks_living
        while not all(status.state == "up" for status in monitor.snapshot()):
            await monitor.wait_for_change(monitor.revision)
        assert site.admitted == 500
        # On our side one for each endpoint; the server has two for each connection.
        assert trio.lowlevel.current_statistics().tasks_living - before <= 3 * 500
