"""Is nothing a success but the same bytes come back, whatever a server does instead?"""

from __future__ import annotations

import math
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import trio
import trio.testing

from mtls_echo_client.context import client_context
from mtls_echo_client.session import WINDOW, Session, connect
from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_tls.denial import DENIAL, denial_line
from mtls_echo_tls.diagnosis.diagnose import diagnose
from mtls_echo_tls.diagnosis.evidence import Evidence
from mtls_echo_tls.diagnosis.exit_status import exit_status
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.diagnosis.report import Report
from tests.support.clients import (
    VERSIONS,
    Behaviour,
    World,
    answering,
    close_at_once,
    echo,
    free_port,
    leaving_unanswered,
    read_slowly,
    reset_at_once,
    say_goodbye,
    saying,
    serving,
    stalling,
    transforming,
    truncate,
)
from tests.support.timing import IDLE, TIMEOUT, flying, passing

versions = pytest.mark.parametrize("version", list(VERSIONS))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World.create(tmp_path_factory.mktemp("world"))


def pattern(size: int) -> bytes:
    """Bytes whose period divides no record and no window."""
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def alice(world: World) -> ssl.SSLContext:
    return client_context(world.servers.trust, world.alice)


async def exchange(
    world: World,
    behaviour: Behaviour,
    data: bytes = b"hello\n",
    *,
    version: str = "1.3",
    context: ssl.SSLContext | None = None,
    timeout: float = TIMEOUT,  # noqa: ASYNC109  handed on to connect()
) -> Session:
    """Connect to a server that behaves like that, and have ``data`` echoed."""
    with serving(behaviour, world.server_context(version)) as port:
        connected = await connect("localhost", port, context or alice(world), timeout=timeout)
        async with connected as session:
            await session.echo(data)
    return session


async def failure_of(
    world: World,
    behaviour: Behaviour,
    data: bytes = b"hello\n",
    *,
    version: str = "1.3",
    context: ssl.SSLContext | None = None,
    timeout: float = TIMEOUT,  # noqa: ASYNC109  handed on to connect()
) -> TLSFailure:
    with pytest.raises(TLSFailure) as caught:
        await exchange(world, behaviour, data, version=version, context=context, timeout=timeout)
    return caught.value


# --- the echo ------------------------------------------------------------------------------------


@versions
@pytest.mark.parametrize("size", [1, 16_384, WINDOW, WINDOW + 1, 3_000_000])
async def test_what_is_sent_comes_back(world: World, version: str, size: int) -> None:
    session = await exchange(world, echo, pattern(size), version=version)

    assert session.echoed == size
    assert session.report.outcome == "echoed"
    assert exit_status(session.report) == 0


async def test_a_session_is_diagnosed_again_only_when_more_is_known(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Report] = []

    def counted(evidence: Evidence) -> Report:
        made.append(diagnose(evidence))
        return made[-1]

    monkeypatch.setattr("mtls_echo_client.session.diagnose", counted)
    with serving(echo, world.server_context()) as port:
        async with await connect("localhost", port, alice(world)) as session:
            unproved = session.report
            assert session.report is unproved
            await session.echo(b"hello\n")
            proved = session.report
            assert session.report is proved

    assert (unproved.outcome, proved.outcome) == ("failed", "echoed")
    assert len(made) == 2


async def test_a_session_echoes_again_and_again(world: World) -> None:
    with serving(echo, world.server_context()) as port:
        async with await connect("localhost", port, alice(world)) as session:
            for number in range(50):
                await session.echo(b"%d\n" % number)
            assert str(session.peer) == "localhost"


async def test_a_server_with_tiny_buffers_is_only_slow(world: World) -> None:
    session = await exchange(world, read_slowly, bytes(100_000))

    assert session.echoed == 100_000


async def test_many_pieces_are_in_flight_before_the_first_comes_back(world: World) -> None:
    release = threading.Event()

    def hold_back(connection: socket.socket, context: ssl.SSLContext) -> None:
        with context.wrap_socket(connection, server_side=True) as tls:
            kept = b""
            while kept.count(b"\n") < 1000:
                kept += tls.recv(16_384)
            release.set()
            tls.sendall(kept)
            tls.unwrap()

    lines = iter([b"%d\n" % number for number in range(1000)])

    async def source() -> bytes:
        return next(lines, b"")

    received = bytearray()

    async def sink(data: bytes) -> None:
        assert release.is_set()
        received.extend(data)

    with serving(hold_back, world.server_context()) as port:
        async with await connect("localhost", port, alice(world)) as session:
            await session.echo_all(source, sink)
    assert received == b"".join(b"%d\n" % number for number in range(1000))


async def test_no_more_than_the_window_is_taken_from_the_source_ahead_of_the_echo(
    world: World,
) -> None:
    taken = returned = most = 0

    async def source() -> bytes:
        nonlocal taken, most
        if taken >= 4_000_000:
            return b""
        taken += 10_000
        most = max(most, taken - returned)
        return bytes(10_000)

    async def sink(data: bytes) -> None:
        nonlocal returned
        returned += len(data)

    with serving(echo, world.server_context()) as port:
        async with await connect("localhost", port, alice(world)) as session:
            await session.echo_all(source, sink)
    assert returned == 4_000_000
    # Ahead are the window, the piece that waits for room in it, and the one just taken.
    assert most <= WINDOW + 2 * 10_000


async def test_a_slow_sink_is_not_taken_for_a_silent_server(
    world: World, mock_clock: trio.testing.MockClock
) -> None:
    async def sink(_: bytes) -> None:
        mock_clock.jump(2)  # longer than the timeout
        await trio.testing.wait_all_tasks_blocked()

    pieces = [b"a", b"b"]

    async def source() -> bytes:
        return pieces.pop() if pieces else b""

    with serving(echo, world.server_context()) as port:
        async with await connect("localhost", port, alice(world), timeout=1) as session:
            await session.echo_all(source, sink)
            assert session.echoed == 2


@pytest.mark.parametrize("end", ["source", "sink"])
async def test_an_error_of_the_caller_s_own_comes_out_as_itself(world: World, end: str) -> None:
    async def source() -> bytes:
        if end == "source":
            raise LookupError("no more input")
        return b"x"

    async def sink(_: bytes) -> None:
        raise LookupError("no more room")

    with serving(echo, world.server_context()) as port:
        async with await connect("localhost", port, alice(world)) as session:
            with pytest.raises(LookupError, match="no more"):
                await session.echo_all(source, sink)


async def test_a_cancelled_session_does_not_wait_for_the_server(
    world: World, mock_clock: trio.testing.MockClock
) -> None:
    over, stalled = threading.Event(), threading.Event()

    with serving(stalling(1, over, stalled.set), world.server_context()) as port:
        async with await connect("localhost", port, alice(world), timeout=60) as session:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(session.echo, bytes(50_000_000))
                await trio.to_thread.run_sync(stalled.wait, TIMEOUT)
                await trio.testing.wait_all_tasks_blocked(IDLE)
                nursery.cancel_scope.cancel()
            assert nursery.cancel_scope.cancelled_caught
            # It was cancelled in the middle of a record, or all that may be due is on its way.
            mock_clock.autojump_threshold = IDLE
            with pytest.raises(TLSFailure):
                await session.echo(b"x")
        over.set()


# --- servers that are no echo servers ------------------------------------------------------------


def once(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Apply ``change`` to the third piece only."""
    seen = 0

    def changed(data: bytes) -> bytes:
        nonlocal seen
        seen += 1
        return change(data) if seen == 3 else data

    return changed


@versions
@pytest.mark.parametrize(
    ("change", "told"),
    [
        pytest.param(lambda d: d[:99] + b"\0" + d[100:], "differs", id="alters a byte"),
        pytest.param(lambda d: d[:50] + d[51:], "differs", id="drops a byte"),
        pytest.param(lambda d: d[:50] + b"?" + d[50:], "differs", id="adds a byte"),
        pytest.param(lambda d: d[100:200] + d[:100] + d[200:], "differs", id="reorders"),
        pytest.param(lambda d: d + d, "differs", id="repeats"),
        pytest.param(lambda d: b"", "differs", id="drops a whole piece"),
    ],
)
async def test_an_altered_echo_is_caught_at_its_first_wrong_byte(
    world: World, version: str, change: Callable[[bytes], bytes], told: str
) -> None:
    data = pattern(1_000_000)

    failure = await failure_of(world, transforming(once(change)), data, version=version)

    assert failure.report.outcome == "failed"
    assert failure.report.causes == ["altered-echo"]
    assert failure.evidence.mismatched_echo is not None
    assert told in failure.evidence.mismatched_echo
    assert exit_status(failure.report) == 6


@pytest.mark.parametrize(
    ("behaviour", "told"),
    [
        pytest.param(transforming(lambda d: d + b"!"), "byte 7 was never sent: '!'", id="adds"),
        pytest.param(
            transforming(bytes.upper), r"byte 1 differs: sent 'hello\n', received 'HELLO\n'",
            id="alters",
        ),
    ],
)  # fmt: skip
async def test_the_message_says_which_byte(world: World, behaviour: Behaviour, told: str) -> None:
    failure = await failure_of(world, behaviour)

    assert told in (failure.evidence.mismatched_echo or "")


async def test_an_end_before_the_last_echo_is_a_close_without_a_reason(world: World) -> None:
    failure = await failure_of(world, answering(b"hell"))

    assert failure.report.causes == ["closed-without-alert"]
    assert failure.evidence.closed_early == "after 4 bytes had come back and 2 were due"
    assert exit_status(failure.report) == 6


async def test_an_end_when_nothing_was_due_is_reported_as_what_it_is(world: World) -> None:
    async def sink(_: bytes) -> None:
        pass

    async def go_on() -> bytes:
        if not sent:
            sent.append(True)
            return b"hello\n"
        await trio.sleep_forever()
        raise AssertionError

    sent: list[bool] = []
    with serving(answering(b"hello\n"), world.server_context()) as port:
        async with await connect("localhost", port, alice(world)) as session:
            with pytest.raises(TLSFailure) as caught:
                await session.echo_all(go_on, sink)

    assert caught.value.evidence.closed_early == "after every byte had come back (6)"
    assert exit_status(caught.value.report) == 6


async def test_an_end_before_a_person_has_typed_says_so(world: World) -> None:
    async def never() -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    async def sink(_: bytes) -> None:
        raise AssertionError("there was nothing to echo")

    with serving(saying(), world.server_context("1.2")) as port:
        async with await connect("localhost", port, alice(world)) as session:
            with pytest.raises(TLSFailure) as caught:
                await session.echo_all(never, sink)

    assert caught.value.evidence.closed_early == "before anything was sent"


async def test_what_a_server_made_us_quote_is_bounded(world: World) -> None:
    failure = await failure_of(world, transforming(lambda _: b"\x1b" * 16_384), b"x" * 16_000)

    told = failure.evidence.mismatched_echo or ""
    assert len(told) < 250
    assert told.isprintable()


@versions
async def test_a_server_that_speaks_before_it_is_spoken_to_is_no_echo_server(
    world: World, version: str
) -> None:
    failure = await failure_of(world, saying(b"220 welcome\r\n"), version=version)

    assert failure.report.causes == ["altered-echo"]


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


async def test_an_empty_echo_is_no_proof(world: World) -> None:
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
async def test_a_close_notify_in_place_of_the_echo_is_no_success(
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
    unanswered = leaving_unanswered(passing(mock_clock, 1), tls=tls)
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


# --- servers that answer something else than an echo ---------------------------------------------


async def ask(session: Session, question: bytes) -> bytes:
    await session.send(question)
    return await session.receive()


@versions
@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param((b"hello alice\n",), id="at once"),
        pytest.param((b"hello ", b"alice\n"), id="in pieces"),
        pytest.param((DENIAL[:5], b"lo alice\n"), id="begun like a denial"),
        pytest.param((DENIAL, b"and then two", b"\nlines\n"), id="a denial and more"),
        pytest.param((DENIAL + b"x" * 600,), id="longer than a denial"),
    ],
)
async def test_an_answer_is_received_as_it_comes(
    world: World, version: str, pieces: tuple[bytes, ...]
) -> None:
    answer = b""
    with serving(answering(*pieces), world.server_context(version)) as port:
        async with await connect("localhost", port, alice(world)) as session:
            await session.send(b"who am I?\n")
            while len(answer) < len(b"".join(pieces)):
                answer += await session.receive()
            with pytest.raises(TLSFailure) as caught:
                await session.receive()

    assert answer == b"".join(pieces)
    assert caught.value.evidence.closed_early == "before more answer had come"
    assert exit_status(caught.value.report) == 6


@versions
@pytest.mark.parametrize(
    "pieces", [(denial_line("only bob"),), (DENIAL[:3], DENIAL[3:], b"only bob", b"\n")], ids=len
)
async def test_a_denial_is_not_received_as_an_answer(
    world: World, version: str, pieces: tuple[bytes, ...]
) -> None:
    with serving(saying(*pieces), world.server_context(version)) as port:
        async with await connect("localhost", port, alice(world)) as session:
            await session.send(b"who am I?\n")
            with pytest.raises(TLSFailure) as caught:
                await session.receive()

    assert caught.value.evidence.denied == "only bob"
    assert exit_status(caught.value.report) == 9


async def test_a_denial_is_found_while_still_sending(world: World) -> None:
    with serving(saying(denial_line("only bob")), world.server_context()) as port:
        async with await connect("localhost", port, alice(world)) as session:
            with pytest.raises(TLSFailure) as caught:
                await ask(session, bytes(100_000_000))

    assert exit_status(caught.value.report) == 9


async def test_an_empty_answer_and_a_refusal_are_no_answers(
    world: World, mock_clock: trio.testing.MockClock
) -> None:
    anonymous = client_context(world.servers.trust)
    unanswered = leaving_unanswered(passing(mock_clock, 1), tls=True)
    for context, behaviour, status in (
        (alice(world), answering(), 6),
        (anonymous, echo, 5),
        (alice(world), unanswered, 7),
    ):
        with serving(behaviour, world.server_context()) as port:
            async with await connect("localhost", port, context, timeout=1) as session:
                with pytest.raises(TLSFailure) as caught:
                    await ask(session, b"x")
        assert exit_status(caught.value.report) == status


async def test_a_cancelled_receive_loses_nothing(
    world: World, mock_clock: trio.testing.MockClock
) -> None:
    go_on, time_flies = threading.Event(), flying(mock_clock)

    def hesitate(connection: socket.socket, context: ssl.SSLContext) -> None:
        with context.wrap_socket(connection, server_side=True) as tls:
            tls.sendall(DENIAL[:5])
            time_flies()
            go_on.wait(TIMEOUT)
            tls.sendall(b"!\n")
            tls.unwrap()

    with serving(hesitate, world.server_context()) as port:
        async with await connect("localhost", port, alice(world)) as session:
            with trio.move_on_after(1) as scope:
                await session.receive()
            mock_clock.autojump_threshold = math.inf
            go_on.set()
            assert scope.cancelled_caught
            assert await session.receive() == DENIAL[:5] + b"!\n"


# --- no connection -------------------------------------------------------------------------------


async def test_a_failed_connection_names_each_address_tried(world: World) -> None:
    port = free_port()
    with pytest.raises(TLSFailure) as caught:
        await connect("127.0.0.1", port, alice(world))

    assert caught.value.evidence.connect_error == f"127.0.0.1:{port}: connection refused"
    assert caught.value.report.stage == "connect"
    assert exit_status(caught.value.report) == 3


async def test_a_name_that_leads_nowhere_is_no_connection(world: World) -> None:
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
