"""Servers that refuse, deny, go away or cannot be reached."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
import trio.testing

from mtls_echo_client.context import client_context
from mtls_echo_client.exit_status import exit_status
from mtls_echo_client.session import connect
from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_tls.denial import DENIAL, denial_line
from mtls_echo_tls.diagnosis.failure import TLSFailure
from tests.client.sessions import alice, exchange, failure_of, versions
from tests.client.sessions import world as world
from tests.support.clients import (
    Behaviour,
    World,
    close_at_once,
    echo,
    leaving_unanswered,
    reset_at_once,
    say_goodbye,
    saying,
    serving,
    stalling,
    truncate,
)
from tests.support.ports import refusing_port
from tests.support.timing import TIMEOUT, flying

# --- servers that refuse, deny, or go away -------------------------------------------------------


@versions
@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param((denial_line("only bob"),), id="one record"),
        pytest.param((DENIAL, b"only bob", b"\n"), id="several records"),
        pytest.param((b"m", denial_line("only bob")[1:]), id="torn after a byte that was sent"),
    ],
)
@pytest.mark.parametrize(
    "data", [b"hello\n", b"mm", b"mtls-echo: not me", bytes(5_000_000)], ids=len
)
async def test_a_denial_is_neither_an_echo_nor_an_altered_one(
    world: World, version: str, pieces: tuple[bytes, ...], data: bytes
) -> None:
    failure = await failure_of(world, saying(*pieces), data, version=version)

    assert failure.report.outcome == "denied"
    assert failure.evidence.denied == "only bob"
    assert exit_status(failure.report) == 9


async def test_two_tasks_cannot_mix_their_echoes(world: World) -> None:
    with serving(saying(close=False), world.server_context()) as port:
        async with (
            await connect("localhost", port, alice(world)) as session,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(session.echo, b"one")
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(trio.BusyResourceError):
                await session.echo(b"two")
            nursery.cancel_scope.cancel()


async def test_ipv6_is_an_address_like_any_other(world: World) -> None:
    with serving(echo, world.server_context(), host="::1") as port:
        async with await connect("::1", port, alice(world)) as session:
            await session.echo(b"hello\n")

    assert session.report.outcome == "echoed"


async def test_an_empty_echo_proves_nothing(world: World) -> None:
    with pytest.raises(ValueError, match="proves nothing"):
        await exchange(world, echo, b"")


async def test_a_line_that_only_looks_like_a_denial_is_echoed(world: World) -> None:
    session = await exchange(world, echo, denial_line("myself") + b"more\n")

    assert session.report.outcome == "echoed"


@versions
@pytest.mark.parametrize(
    ("presented", "causes", "alert"),
    [
        pytest.param(None, ["no-client-certificate"], {"1.2": 40, "1.3": 116}, id="nothing"),
        pytest.param(
            "untrusted", ["unknown-authority"], {"1.2": 48, "1.3": 48}, id="untrusted CA"
        ),
    ],
)
async def test_a_refused_client_never_gets_beyond_the_first_echo(
    world: World,
    version: str,
    presented: str | None,
    causes: list[str],
    alert: dict[str, int],
) -> None:
    context = client_context(world.servers.trust, world.untrusted if presented else None)

    failure = await failure_of(world, echo, bytes(5_000_000), version=version, context=context)

    assert failure.report.outcome == "refused"
    assert failure.report.rejected_by == "server"
    assert failure.report.causes[:1] == causes
    assert failure.report.alert is not None
    assert failure.report.alert.code == alert[version]
    assert failure.report.stage == ("handshake" if version == "1.2" else "first-read")
    assert exit_status(failure.report) == 5


async def test_a_server_of_another_ca_is_refused_with_an_alert(world: World) -> None:
    heard: list[str | None] = []

    def listen(connection: socket.socket, context: ssl.SSLContext) -> None:
        try:
            context.wrap_socket(connection, server_side=True)
        except ssl.SSLError as error:
            heard.append(error.reason)

    context = client_context(Authority.root("elsewhere").trust)

    failure = await failure_of(world, listen, context=context)

    assert failure.report.rejected_by == "client"
    assert failure.report.causes[:1] == ["unknown-authority"]
    assert failure.report.peer is not None  # rejected, and named all the same
    assert exit_status(failure.report) == 4
    assert heard == ["TLSV1_ALERT_UNKNOWN_CA"]


@versions
@pytest.mark.parametrize(
    ("behaviour", "causes"),
    [
        pytest.param(close_at_once, ["closed-without-alert"], id="closes at once"),
        pytest.param(reset_at_once, ["reset"], id="resets at once"),
        pytest.param(truncate, ["truncated"], id="ends without close_notify"),
    ],
)
async def test_an_end_before_the_echo_is_a_failure(
    world: World, version: str, behaviour: Behaviour, causes: list[str]
) -> None:
    failure = await failure_of(world, behaviour, version=version)

    assert failure.report.outcome == "failed"
    assert failure.report.causes == causes
    assert exit_status(failure.report) == 6


@versions
async def test_a_close_notify_in_place_of_the_echo_is_not_a_success(
    world: World, version: str
) -> None:
    failure = await failure_of(world, saying(), version=version)

    assert failure.report.causes == ["closed-without-alert"]
    assert exit_status(failure.report) == 6


@pytest.mark.parametrize(
    ("tls", "stage"),
    [
        pytest.param(False, "handshake", id="no ServerHello"),
        pytest.param(True, "first-read", id="no echo"),
    ],
)
async def test_silence_ends_at_the_deadline(
    world: World, tls: bool, stage: str, mock_clock: trio.testing.MockClock
) -> None:
    unanswered = leaving_unanswered(flying(mock_clock), tls=tls)
    failure = await failure_of(world, unanswered, timeout=1)

    assert failure.report.causes == ["timeout"]
    assert failure.report.stage == stage
    assert exit_status(failure.report) == 7


async def test_a_server_that_stops_reading_half_way_ends_at_the_deadline(
    world: World, mock_clock: trio.testing.MockClock
) -> None:
    over = threading.Event()
    stalled = stalling(1_000_000, over, flying(mock_clock))
    with serving(stalled, world.server_context()) as port:
        async with await connect("localhost", port, alice(world)) as session:
            with pytest.raises(TLSFailure) as caught:
                await session.echo(bytes(50_000_000))
        over.set()

    assert exit_status(caught.value.report) == 7
    assert caught.value.report.stage == "established"


async def test_an_idle_conversation_has_no_deadline_but_learns_of_its_end(
    world: World, mock_clock: trio.testing.MockClock
) -> None:
    over = threading.Event()

    def deny_after_all(connection: socket.socket, context: ssl.SSLContext) -> None:
        with context.wrap_socket(connection, server_side=True) as tls:
            over.wait(TIMEOUT)
            tls.sendall(denial_line("only bob"))
            say_goodbye(tls)

    async def never() -> AsyncIterator[bytes]:
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(3600)
        await trio.testing.wait_all_tasks_blocked()
        over.set()
        await trio.sleep_forever()
        yield b""

    async def sink(_: bytes) -> None:
        raise AssertionError("there was nothing to echo")

    with serving(deny_after_all, world.server_context()) as port:
        async with await connect("localhost", port, alice(world)) as session:
            with pytest.raises(TLSFailure) as caught:
                await session.echo_all(never().__anext__, sink)

    assert exit_status(caught.value.report) == 9


# --- no connection -------------------------------------------------------------------------------


async def test_a_failed_connection_names_each_address_tried(world: World) -> None:
    port = refusing_port()
    with pytest.raises(TLSFailure) as caught:
        await connect("127.0.0.1", port, alice(world))

    assert caught.value.evidence.connect_error == f"127.0.0.1:{port}: connection refused"
    assert caught.value.report.stage == "connect"
    assert exit_status(caught.value.report) == 3


async def test_a_name_that_leads_nowhere_makes_no_connection(world: World) -> None:
    with pytest.raises(TLSFailure) as caught:
        await connect("nowhere.invalid", 1, alice(world))

    assert (caught.value.evidence.connect_error or "").startswith("nowhere.invalid: ")
    assert exit_status(caught.value.report) == 3


async def test_a_name_that_dns_cannot_have_is_a_failed_lookup(world: World) -> None:
    with pytest.raises(TLSFailure) as caught:
        await connect("\u2603.test", 1, alice(world))

    told = caught.value.evidence.connect_error or ""
    assert told.startswith("\u2603.test: cannot be looked up: codepoint")
    assert exit_status(caught.value.report) == 3


async def test_a_host_that_does_not_answer_ends_at_the_deadline(
    world: World, monkeypatch: pytest.MonkeyPatch, mock_clock: trio.testing.MockClock
) -> None:
    async def connecting(*_: object) -> None:
        mock_clock.jump(1)
        await trio.sleep_forever()

    # A host that drops every SYN cannot be had on the loopback interface everywhere.
    monkeypatch.setattr("mtls_echo_tls.stream.tcp.TCPStream.connect", connecting)

    with pytest.raises(TLSFailure) as caught:
        await connect("127.0.0.1", 9, alice(world), timeout=1)

    assert caught.value.evidence.connect_error == "127.0.0.1:9: no answer in time"
    assert exit_status(caught.value.report) == 7


async def test_a_name_that_no_certificate_can_have_is_a_mistake_of_the_caller(
    world: World, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="not a host name"):
        await connect("localhost", 1, alice(world), server_name="a b")
