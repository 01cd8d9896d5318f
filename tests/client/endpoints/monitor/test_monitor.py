"""Real servers come and go, files and plans change: who is dialled again, and who is not?"""

from __future__ import annotations

import gc
import os
import resource
import socket
import ssl
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
import trio
import trio.testing

from mtls_echo_client.context import client_context
from mtls_echo_client.endpoints.monitor import contexts as sources
from mtls_echo_client.endpoints.monitor import worker
from mtls_echo_client.endpoints.monitor.link import dial
from mtls_echo_client.endpoints.monitor.monitor import Monitor
from mtls_echo_client.endpoints.monitor.status import Status, verdict
from mtls_echo_client.endpoints.monitor.worker import backoff
from mtls_echo_client.endpoints.plan import Plan, Problem, TLSSettings
from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.request import Request
from mtls_echo_server.access import Access
from mtls_echo_tls.diagnosis.evidence import Evidence
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.stream.tls import TLSStream
from tests.support.clients import (
    Behaviour,
    close_at_once,
    drain,
    echo_plainly,
    free_port,
    leaving_unanswered,
    reset_at_once,
    say_nothing,
    serving,
    speaking_plainly,
)
from tests.support.endpoint_servers import (
    EndpointServers,
    endpoint,
    monitoring,
    plan,
    until,
    until_state,
)
from tests.support.timing import IDLE, TIMEOUT, flying, passing

# A monitor looks at its endpoints and their files from time to time.
pytestmark = pytest.mark.real_time

NO_TLS: Any = None  # what the plain servers of `client_helpers` make of a context: nothing


@pytest.fixture
def servers(tmp_path: Path) -> EndpointServers:
    return EndpointServers(tmp_path)


def silence(clock: trio.testing.MockClock) -> Behaviour:
    """Hears something and says nothing, and the time of what waits for it is over."""
    return leaving_unanswered(passing(clock, 5), tls=False)


def one(statuses: tuple[Status, ...]) -> Status:
    [status] = statuses
    return status


# --- one check -----------------------------------------------------------------------------------


async def test_a_server_that_echoes_is_up_with_all_that_was_proved(
    servers: EndpointServers,
) -> None:
    site = servers.site()
    async with trio.open_nursery() as nursery:
        await site.start(nursery)
        where = endpoint(site.port, servers.tls())
        status = one(await Monitor().check_once(plan(where)))
        assert await site.wait_for_ends(1) == ["client"], "closed with close_notify"
        nursery.cancel_scope.cancel()

    assert (status.state, status.admitted, status.attempts) == ("up", True, 0)
    assert (status.version, status.names) == ("TLSv1.3", ("localhost",))
    assert status.not_after is not None
    assert status.round_trip is not None
    assert status.round_trip > 0
    assert status.report is not None
    assert status.report.outcome == "echoed"
    assert status.exit_status == 0


@pytest.mark.parametrize(
    ("asked", "cause", "expected", "remedy"),
    [
        pytest.param(
            {"ca": "other"},
            "unknown-authority",
            4,
            "trust anchors (ca_file)",
            id="a server that is not trusted",
        ),
        pytest.param(
            {"presenting": "untrusted"},
            "unknown-authority",
            5,
            "that the server trusts",
            id="a client that is not trusted",
        ),
        pytest.param(
            {"presenting": None}, "no-client-certificate", 5, "cert_file", id="no certificate"
        ),
    ],
)
async def test_a_refusal_on_either_side_is_reported_by_cause_and_status(
    servers: EndpointServers, asked: dict[str, Any], cause: str, expected: int, remedy: str
) -> None:
    site = servers.site()
    async with trio.open_nursery() as nursery:
        await site.start(nursery)
        where = endpoint(site.port, servers.tls(**asked))
        status = one(await Monitor().check_once(plan(where)))
        nursery.cancel_scope.cancel()

    assert status.report is not None
    assert cause in status.report.causes
    assert (status.state, status.admitted, status.exit_status) == ("down", False, expected)
    assert status.names == ()
    assert remedy in status.report.remedy
    assert "--" not in status.report.remedy, "there is no such option here"


async def test_a_server_that_turns_us_away_after_the_handshake_is_denied(
    servers: EndpointServers,
) -> None:
    site = servers.site(access=Access(dns=("bob.test",)))
    async with trio.open_nursery() as nursery:
        await site.start(nursery)
        status = one(await Monitor().check_once(plan(endpoint(site.port, servers.tls()))))
        nursery.cancel_scope.cancel()

    assert (status.state, status.exit_status) == ("down", 9)
    assert status.report is not None
    assert "cert_file and key_file" in status.report.remedy


async def test_another_name_than_the_one_asked_for_is_refused(servers: EndpointServers) -> None:
    site = servers.site("one", "elsewhere.test")
    async with trio.open_nursery() as nursery:
        await site.start(nursery)
        asked = endpoint(site.port, servers.tls())
        told = endpoint(site.port, servers.tls(), server_name="elsewhere.test")
        wrong = one(await Monitor().check_once(plan(asked)))
        right = one(await Monitor().check_once(plan(told)))
        nursery.cancel_scope.cancel()

    assert wrong.report is not None
    assert (wrong.report.causes, wrong.exit_status) == (["wrong-name"], 4)
    assert "a name that the certificate has (server_name, if" in wrong.report.remedy
    assert right.state == "up"


@pytest.mark.parametrize(
    ("behaviour", "cause", "expected"),
    [
        pytest.param(None, "timeout", 7, id="says nothing"),
        pytest.param(close_at_once, "closed-without-alert", 6, id="closes"),
        pytest.param(reset_at_once, "reset", 6, id="resets"),
        pytest.param(speaking_plainly(b"220 smtp\r\n"), "plaintext-peer", 8, id="no TLS"),
        pytest.param(echo_plainly, "plaintext-peer", 8, id="a plaintext echo server"),
    ],
)
async def test_a_server_that_is_none_never_counts_as_proved(
    servers: EndpointServers,
    behaviour: Behaviour | None,
    cause: str,
    expected: int,
    mock_clock: trio.testing.MockClock,
) -> None:
    with serving(behaviour or silence(mock_clock), NO_TLS) as port:
        status = one(await Monitor().check_once(plan(endpoint(port, servers.tls()))))

    assert status.report is not None
    assert (status.report.causes[0], status.exit_status) == (cause, expected)
    assert (status.state, status.admitted) == ("down", False)


async def test_a_closed_port_is_no_connection(servers: EndpointServers) -> None:
    status = one(await Monitor().check_once(plan(endpoint(free_port(), servers.tls()))))

    assert status.report is not None
    assert (status.report.causes, status.exit_status) == (["no-connection"], 3)


async def test_unusable_files_are_a_problem_and_nothing_is_dialled(
    servers: EndpointServers,
) -> None:
    (servers.folder / "alice.key").write_bytes(b"not a key")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        where = endpoint(listener.getsockname()[1], servers.tls(), strict=True)
        status = one(await Monitor().check_once(plan(where)))
        with pytest.raises(BlockingIOError):
            listener.accept()

    assert status.problem is not None
    assert status.problem.where == "[0].tls_config"
    assert "alice.key" in status.problem.message
    assert (status.state, status.report, status.exit_status) == ("down", None, 2)


async def test_several_are_reported_in_the_order_of_the_plan_not_of_the_answers(
    servers: EndpointServers, mock_clock: trio.testing.MockClock
) -> None:
    site = servers.site()
    async with trio.open_nursery() as nursery:
        await site.start(nursery)
        with serving(say_nothing, NO_TLS) as silent:
            ends: list[Status] = []

            def note(status: Status) -> None:
                ends.append(status)
                mock_clock.jump(5)

            both = plan(endpoint(silent, servers.tls()), endpoint(site.port, servers.tls()))
            statuses = await Monitor().check_once(both, note)
        nursery.cancel_scope.cancel()

    assert [status.state for status in statuses] == ["down", "up"]
    assert [status.state for status in ends] == ["up", "down"]
    assert verdict(statuses) == 0


# --- plaintext -----------------------------------------------------------------------------------


async def test_plaintext_is_compared_byte_for_byte_and_authenticates_no_server(
    servers: EndpointServers,
) -> None:
    with serving(echo_plainly, NO_TLS) as port:
        status = one(await Monitor().check_once(plan(endpoint(port, None))))

    assert status.report is not None
    assert (status.state, status.version, status.names) == ("up", None, ())
    assert status.report.summary == "echoed in plaintext: neither side has proved who it is"
    assert status.report.tls is None


@pytest.mark.parametrize(
    ("behaviour", "cause"),
    [
        pytest.param(None, "timeout", id="says nothing"),
        pytest.param(close_at_once, "closed-without-alert", id="closes"),
        pytest.param(reset_at_once, "reset", id="resets"),
        pytest.param(speaking_plainly(b"mtls-echo?"), "altered-echo", id="something else"),
    ],
)
async def test_plaintext_that_does_not_echo_is_down(
    behaviour: Behaviour | None, cause: str, mock_clock: trio.testing.MockClock
) -> None:
    with serving(behaviour or silence(mock_clock), NO_TLS) as port:
        status = one(await Monitor().check_once(plan(endpoint(port, None))))

    assert status.report is not None
    assert (status.state, status.report.causes) == ("down", [cause])
    assert "close_notify" not in str(status.report.evidence)
    may_be_tls = behaviour is not None  # a TLS server would have something to say
    assert ("write a tls_config" in status.report.remedy) == may_be_tls


async def test_a_tls_server_is_never_taken_for_a_plaintext_one(servers: EndpointServers) -> None:
    site = servers.site()
    async with trio.open_nursery() as nursery:
        await site.start(nursery)
        status = one(await Monitor().check_once(plan(endpoint(site.port, None))))
        nursery.cancel_scope.cancel()

    assert status.state == "down"


@pytest.mark.parametrize("settings", [True, False], ids=["context missing", "context too many"])
async def test_settings_and_context_go_together_or_nothing_is_dialled(
    servers: EndpointServers, settings: bool
) -> None:
    where = endpoint(1, servers.tls() if settings else None)
    context = None if settings else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with pytest.raises(ValueError, match="do not go together"):
        await dial(where, context, 1.0)


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


async def test_a_good_bye_is_heard_between_two_checks_and_the_server_dialled_at_once(
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


async def until_lasting(monitor: Monitor) -> None:
    """Wait until the first endpoint has been checked twice on one connection."""
    await until_state(monitor, "up")
    before = monitor.snapshot()[0].round_trip
    await until(monitor, lambda status: status.round_trip not in (None, before))


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
    where = plan(endpoint(free_port(), servers.tls(), strict=True))
    async with monitoring(where, unhealthy_timeout=0.01) as (monitor, _):
        status = await until(monitor, lambda status: status.attempts >= 3)

    assert (status.state, status.admitted, status.exit_status) == ("down", True, 3)


# --- what changes, and what does not -------------------------------------------------------------


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
    site = servers.site()
    async with monitoring(Plan()) as (monitor, sites):
        await site.start(sites)
        monitor.update(plan(endpoint(site.port, servers.tls())))
        await until_state(monitor, "up")
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
    site = servers.site()
    async with monitoring(Plan()) as (monitor, sites):
        await site.start(sites)
        monitor.update(plan(endpoint(site.port, servers.tls())))
        await until_state(monitor, "up")
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
    site = servers.site()
    async with monitoring(Plan()) as (monitor, sites):
        await site.start(sites)
        monitor.update(plan(endpoint(site.port, servers.tls())))
        await until_state(monitor, "up")
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


@pytest.fixture
def contexts(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many contexts there are of those that were made for endpoints."""
    made: weakref.WeakSet[ssl.SSLContext] = weakref.WeakSet()

    def note(*arguments: Any, **options: Any) -> ssl.SSLContext:
        context = client_context(*arguments, **options)
        made.add(context)
        return context

    def count() -> int:
        gc.collect()
        return len(made)

    monkeypatch.setattr("mtls_echo_client.endpoints.monitor.contexts.client_context", note)
    return count


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


# --- many ----------------------------------------------------------------------------------------


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


# --- timeout ------------------------------------------------------------------------------------


def test_the_wait_grows_to_a_cap_and_is_drawn_from_nothing_to_its_bound() -> None:
    longest = [backoff(failures, 5.0, lambda: 1.0) for failures in range(1, 12)]
    assert longest[:5] == [0.3125, 0.625, 1.25, 2.5, 5.0]
    assert set(longest[5:]) == {5.0}
    assert backoff(10_000, 5.0, lambda: 1.0) == 5.0
    assert backoff(3, 5.0, lambda: 0.0) == 0.0
    assert backoff(3, 5.0, lambda: 0.5) == 0.625
