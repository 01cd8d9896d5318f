"""A connection that is kept: proved again, lost, and dialled again."""

from __future__ import annotations

import socket
import ssl
import threading

import pytest
import trio
import trio.testing

from mtls_echo_client.endpoints.monitor.monitor import Monitor
from mtls_echo_client.endpoints.monitor.worker import backoff
from mtls_echo_client.endpoints.plan import Plan
from tests.client.endpoints.monitor.scenes import one, until_lasting
from tests.client.endpoints.monitor.scenes import servers as servers
from tests.support.clients import drain, serving
from tests.support.endpoint_servers import (
    EndpointServers,
    endpoint,
    monitoring,
    plan,
    until,
    until_state,
)
from tests.support.ports import refusing_port
from tests.support.timing import TIMEOUT, flying, passing

# A monitor looks at its endpoints and their files from time to time.
pytestmark = pytest.mark.real_time


# --- a connection that is kept -------------------------------------------------------------------


async def test_a_connection_is_kept_and_proved_again_and_again(servers: EndpointServers) -> None:
    site = servers.site()
    async with trio.open_nursery() as outer:
        await site.start(outer)
        async with monitoring(plan(endpoint(site.port, servers.tls()))) as (monitor, _):
            await until_state(monitor, "up")
            seen = set[float | None]()
            while len(seen) < 4:
                seen.add(one(monitor.snapshot()).round_trip)
                await monitor.wait_for_change(monitor.revision)
            assert site.admitted == 1
        assert await site.wait_for_ends(1) == ["client"], "closed with close_notify"
        outer.cancel_scope.cancel()


async def test_a_server_that_stops_is_noticed_and_found_again_when_it_is_back(
    servers: EndpointServers,
) -> None:
    site = servers.site()
    async with monitoring(Plan()) as (monitor, sites):
        await site.start(sites)
        monitor.update(plan(endpoint(site.port, servers.tls())))
        await until_lasting(monitor)
        await site.stop()
        down = await until_state(monitor, "down")
        assert down.report is not None
        assert down.report.causes == ["no-connection"]
        assert (down.admitted, down.usable) == (True, False)
        await until(monitor, lambda status: status.attempts > 1)
        await site.start(sites)
        up = await until_state(monitor, "up")
        assert (up.admitted, up.attempts) == (True, 0)


async def test_a_close_notify_is_noticed_between_two_checks_and_the_server_dialled_at_once(
    servers: EndpointServers,
) -> None:
    """The next check would come in a minute, and the cap of every wait is as long."""
    enough, connections = threading.Event(), list[int]()

    def part(connection: socket.socket, context: ssl.SSLContext) -> None:
        connections.append(1)
        with context.wrap_socket(connection, server_side=True) as tls:
            for _ in range(3):
                tls.sendall(tls.recv(100))
            if len(connections) == 1:
                enough.wait(TIMEOUT)
                tls.unwrap()
            else:
                drain(tls)

    draws = iter([0.0])
    with serving(part, servers.plain_context()) as port:
        options = {"check_interval": TIMEOUT, "draw": lambda: next(draws, 1.0)}
        async with monitoring(plan(endpoint(port, servers.tls())), **options) as (monitor, _):
            await until_lasting(monitor)
            enough.set()
            lost = await until_state(monitor, "connecting")
            assert (lost.admitted, lost.usable) == (True, False)
            assert lost.report is not None
            assert lost.report.summary.endswith("while nothing was due")
            await until_state(monitor, "up")
    assert len(connections) == 2


async def test_a_server_that_lets_us_in_and_closes_is_not_dialled_without_end(
    servers: EndpointServers,
) -> None:
    def once(connection: socket.socket, context: ssl.SSLContext) -> None:
        with context.wrap_socket(connection, server_side=True) as tls:
            for _ in range(2):
                tls.sendall(tls.recv(100))
            tls.unwrap()

    with serving(once, servers.plain_context()) as port:
        where = plan(endpoint(port, servers.tls()))
        async with monitoring(where, check_interval=TIMEOUT, draw=lambda: 0.5) as (monitor, _):
            down = await until(monitor, lambda status: status.next_attempt)

    assert (down.state, down.attempts) == ("down", 1)
    assert down.report is not None
    assert down.report.causes == ["closed-without-alert"]


async def test_a_server_that_falls_silent_is_down_after_the_timeout(
    servers: EndpointServers, mock_clock: trio.testing.MockClock
) -> None:
    mock_clock.rate = 1.0
    time_flies = flying(mock_clock)

    def stall(connection: socket.socket, context: ssl.SSLContext) -> None:
        with context.wrap_socket(connection, server_side=True) as tls:
            for _ in range(3):
                tls.sendall(tls.recv(100))
            time_flies()
            while tls.recv(100):
                pass

    with serving(stall, servers.plain_context()) as port:
        where = plan(endpoint(port, servers.tls()))
        async with monitoring(where, file_interval=TIMEOUT) as (monitor, _):
            await until_state(monitor, "up")
            down = await until_state(monitor, "down")

    assert down.report is not None
    assert down.report.causes == ["timeout"]


@pytest.mark.parametrize("tls", [True, False], ids=["TLS", "plaintext"])
async def test_a_server_that_echoes_a_byte_now_and_then_is_not_waited_for(
    tls: bool, servers: EndpointServers, mock_clock: trio.testing.MockClock
) -> None:
    """It is never silent for long, and would hold one of the places to dial from for minutes."""
    one_second = passing(mock_clock, 1)

    def dribble(connection: socket.socket, context: ssl.SSLContext) -> None:
        with context.wrap_socket(connection, server_side=True) if tls else connection as end:
            while data := end.recv(100):
                for byte in data:
                    one_second()
                    end.sendall(bytes([byte]))

    with serving(dribble, servers.plain_context()) as port:
        where = plan(endpoint(port, servers.tls() if tls else None))
        status = one(await Monitor().check_once(where))

    assert status.report is not None
    assert (status.state, status.report.causes) == ("down", ["timeout"])
    assert (status.report.tls is not None) == tls, "after the handshake"


async def test_a_member_is_dropped_after_the_unhealthy_time_and_comes_back(
    servers: EndpointServers,
) -> None:
    site = servers.site()
    async with monitoring(Plan(), unhealthy_timeout=0.3) as (monitor, sites):
        await site.start(sites)
        strict, other = servers.site(), servers.site()
        await strict.start(sites)
        await other.start(sites)
        monitor.update(
            plan(
                endpoint(site.port, servers.tls()),
                endpoint(strict.port, servers.tls(), strict=True),
                endpoint(other.port, servers.tls()),
            )
        )
        for place in range(3):
            await until_state(monitor, "up", place)
        await site.stop()
        await strict.stop()
        dropped = await until_state(monitor, "dropped")
        kept = await until_state(monitor, "down", 1)
        assert (dropped.admitted, kept.admitted) == (False, True)
        assert monitor.snapshot()[2].state == "up"
        tried = dropped.attempts
        await until(monitor, lambda status: status.attempts > tried)
        await site.start(sites)
        assert (await until_state(monitor, "up")).admitted


async def test_a_strict_endpoint_that_was_never_reached_is_shown_and_tried(
    servers: EndpointServers,
) -> None:
    where = plan(endpoint(refusing_port(), servers.tls(), strict=True))
    async with monitoring(where, unhealthy_timeout=0.01) as (monitor, _):
        status = await until(monitor, lambda status: status.attempts >= 3)

    assert (status.state, status.admitted, status.exit_status) == ("down", True, 3)


# --- timeout ------------------------------------------------------------------------------------


def test_the_wait_grows_to_a_cap_and_is_drawn_from_nothing_to_its_bound() -> None:
    longest = [backoff(failures, 5.0, lambda: 1.0) for failures in range(1, 12)]
    assert longest[:5] == [0.3125, 0.625, 1.25, 2.5, 5.0]
    assert set(longest[5:]) == {5.0}
    assert backoff(10_000, 5.0, lambda: 1.0) == 5.0
    assert backoff(3, 5.0, lambda: 0.0) == 0.0
    assert backoff(3, 5.0, lambda: 0.5) == 0.625
