"""One check of each endpoint, over TLS and in plaintext."""

from __future__ import annotations

import socket
import ssl
from typing import Any

import pytest
import trio
import trio.testing

from mtls_echo_client.endpoints.monitor.link import dial
from mtls_echo_client.endpoints.monitor.monitor import Monitor
from mtls_echo_client.endpoints.monitor.status import Status, verdict
from mtls_echo_server.access import Access
from tests.client.endpoints.monitor.scenes import one
from tests.client.endpoints.monitor.scenes import servers as servers
from tests.support.clients import (
    Behaviour,
    close_at_once,
    echo_plainly,
    leaving_unanswered,
    reset_at_once,
    say_nothing,
    serving,
    speaking_plainly,
)
from tests.support.endpoint_servers import EndpointServers, endpoint, plan
from tests.support.ports import refusing_port
from tests.support.timing import passing

# A monitor looks at its endpoints and their files from time to time.
pytestmark = pytest.mark.real_time

NO_TLS: Any = None  # what the plain servers of `client_helpers` make of a context: nothing


def silence(clock: trio.testing.MockClock) -> Behaviour:
    """Hears something and says nothing, and the time of what waits for it is over."""
    return leaving_unanswered(passing(clock, 5), tls=False)


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


async def test_a_server_that_denies_us_after_the_handshake_is_denied(
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


async def test_a_closed_port_is_not_a_connection(servers: EndpointServers) -> None:
    status = one(await Monitor().check_once(plan(endpoint(refusing_port(), servers.tls()))))

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
