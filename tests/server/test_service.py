"""Accepting, refusing, limiting and stopping, over loopback TCP."""

from __future__ import annotations

import contextlib
import errno
import socket
import ssl
import struct
from typing import Any

import pytest
import trio

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.request import Request
from mtls_echo_server.connection import QUIET, Connection, Limits
from mtls_echo_server.context import ClientAuth, server_context
from mtls_echo_server.handlers import echo
from mtls_echo_server.service import serve
from mtls_echo_tls.denial import denial_in
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.stream.tls import TLSStream
from tests.support.servers import (
    VERSIONS,
    Authorities,
    access,
    echoed,
    everything,
    limits,
    running,
)

versions = pytest.mark.parametrize(
    "version", [version for _, version in VERSIONS], ids=[name for name, _ in VERSIONS]
)


@pytest.fixture
def pki() -> Authorities:
    return Authorities()


# --- who gets in ---------------------------------------------------------------------------------


@versions
async def test_a_client_with_a_certificate_gets_its_bytes_back(
    pki: Authorities, version: ssl.TLSVersion
) -> None:
    async with running(pki.server_context(), limits=limits()) as here:
        async with await here.connect(pki.client_context(pki.alice, version)) as stream:
            assert await echoed(stream, b"x" * 300_000) == b"x" * 300_000
        accepted = await here.event("accepted")
        report = await here.event("connection")
    assert accepted["identity"] == "alice.test"
    assert accepted["fingerprint"] == pki.alice.fingerprint
    assert report["outcome"] == "echoed"
    assert report["ended"] == "client"
    assert report["bytes_received"] == report["bytes_sent"] == 300_000


@versions
@pytest.mark.parametrize("client_auth", list(ClientAuth))
@pytest.mark.parametrize("who", ["alice", "unauthenticated", "untrusted"])
async def test_client_authentication_is_what_it_is_called(
    pki: Authorities, version: ssl.TLSVersion, client_auth: ClientAuth, who: str
) -> None:
    credential = {"alice": pki.alice, "unauthenticated": None, "untrusted": pki.untrusted}[who]
    welcome = {
        ClientAuth.NONE: {"alice", "unauthenticated", "untrusted"},  # no client is asked
        ClientAuth.OPTIONAL: {"alice", "unauthenticated"},
        ClientAuth.REQUIRED: {"alice"},
    }[client_auth]
    async with running(pki.server_context(client_auth), limits=limits()) as here:
        context = pki.client_context(credential, version)
        if who in welcome:
            async with await here.connect(context) as stream:
                assert await echoed(stream) == b"hello"
            accepted = await here.event("accepted")
            proven = who == "alice" and client_auth is not ClientAuth.NONE
            assert accepted["identity"] == ("alice.test" if proven else None)
        else:
            with pytest.raises(TLSFailure) as refusal:
                async with await here.connect(context) as stream:
                    await stream.receive_some()
            alert = refusal.value.evidence.alert
            assert alert is not None
            missing = (
                "certificate_required"
                if version == ssl.TLSVersion.TLSv1_3
                else ("handshake_failure")
            )
            expected = missing if who == "unauthenticated" else "unknown_ca"
            report = await here.event("connection")
            assert report["outcome"] == "refused"
            assert report["alert"]["name"] == expected
            assert report["alert"]["code"] == alert.code
            assert report["client_random"] == refusal.value.evidence.client_random
        assert (await here.event("listening"))["client_auth"] == client_auth.value


@versions
async def test_an_authenticated_client_that_may_not_enter_reads_why_and_a_clean_end(
    pki: Authorities, version: ssl.TLSVersion
) -> None:
    rules = access(cn=["bob"])
    async with running(pki.server_context(), access=rules, limits=limits()) as here:
        async with await here.connect(pki.client_context(pki.alice, version)) as stream:
            reason = denial_in(await everything(stream))
        report = await here.event("connection")
    assert reason is not None
    assert "alice.test" in reason
    assert report["outcome"] == "denied"
    assert report["causes"] == ["not-authorised"]
    assert report["alert"] is None
    assert not [event for event in here.events if event.name == "accepted"]


async def test_an_anonymous_client_may_not_enter_where_only_certain_ones_may(
    pki: Authorities,
) -> None:
    context = pki.server_context(ClientAuth.OPTIONAL)
    async with running(context, access=access(cn=["alice"]), limits=limits()) as here:
        async with await here.connect(pki.client_context()) as stream:
            assert denial_in(await everything(stream))
        async with await here.connect(pki.client_context(pki.alice)) as stream:
            assert await echoed(stream) == b"hello"


async def test_the_context_is_asked_for_at_each_connection(pki: Authorities) -> None:
    contexts = [pki.server_context()]
    async with (
        running(lambda: contexts[-1], limits=limits()) as here,
        await here.connect(pki.client_context(pki.alice)) as old,
    ):
        assert await echoed(old) == b"hello"
        others = Authority.root("clients")
        contexts.append(server_context(pki.server, others.trust))
        with pytest.raises(TLSFailure):
            async with await here.connect(pki.client_context(pki.alice)) as stream:
                await stream.receive_some()
        async with await here.connect(
            pki.client_context(others.issue(Request.client("alice.test")))
        ) as stream:
            assert await echoed(stream) == b"hello"
        # Who was let in before stays.
        assert await echoed(old) == b"hello"


# --- what is not TLS, or not enough of it --------------------------------------------------------


@pytest.mark.parametrize(
    "request_line", [b"GET / HTTP/1.1", b"OPTIONS * HTTP/1.1", b"PRI * HTTP/2.0"]
)
async def test_an_http_client_gets_an_http_answer_that_this_port_speaks_tls(
    pki: Authorities, request_line: bytes
) -> None:
    async with running(pki.server_context(), limits=limits()) as here:
        async with await here.tcp() as stream:
            await stream.send_all(request_line + b"\r\nHost: localhost\r\n\r\n")
            answer = await everything(stream)
        report = await here.event("connection")
        async with await here.connect(pki.client_context(pki.alice)) as tls:
            assert await echoed(tls) == b"hello"
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert b"TLS" in body
    assert report["causes"] == ["plaintext-client"]


@pytest.mark.parametrize(
    "garbage", [b"SSH-2.0-OpenSSH_9\r\n", b"\x00" * 1048576, b"\x16" * 1048576]
)
async def test_garbage_ends_with_one_event_and_harms_no_client(
    pki: Authorities, garbage: bytes
) -> None:
    async with (
        running(pki.server_context(), limits=limits()) as here,
        await here.connect(pki.client_context(pki.alice)) as other,
    ):
        async with await here.tcp() as stream:
            await stream.send_all(garbage)
            await stream.send_eof()
            # An alert at the most: 5 bytes of header, 2 of body.
            assert len(await everything(stream)) in (0, 7)
        report = await here.event("connection")
        assert report["outcome"] in ("failed", "refused")
        assert await echoed(other) == b"hello"
    assert len([event for event in here.events if event.name == "connection"]) == 2
    assert not [event for event in here.events if event.name == "error"]


async def test_a_silent_client_is_given_up_on(
    pki: Authorities, patient_clock: trio.testing.MockClock
) -> None:
    async with running(pki.server_context(), limits=limits(handshake_timeout=0.05)) as here:
        async with await here.tcp() as stream:
            assert await everything(stream) == b""
        report = await here.event("connection")
    assert report["causes"] == ["timeout"]
    assert report["stage"] == "handshake"


async def test_trickling_bytes_does_not_prolong_the_handshake(
    pki: Authorities, mock_clock: trio.testing.MockClock
) -> None:
    async with (
        running(pki.server_context(), limits=limits(handshake_timeout=0.3)) as here,
        await here.tcp() as stream,
        trio.open_nursery() as nursery,
    ):

        async def trickle() -> None:
            # The beginning of a record that announces 512 bytes, one byte at a time.
            for byte in b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500):
                try:
                    await stream.send_all(bytes([byte]))
                except trio.BrokenResourceError:
                    return
                mock_clock.jump(0.02)
                await trio.testing.wait_all_tasks_blocked()

        nursery.start_soon(trickle)
        report = await here.event("connection")
        nursery.cancel_scope.cancel()
    assert report["causes"] == ["timeout"]


async def test_a_client_that_resets_the_connection_harms_no_other(pki: Authorities) -> None:
    async with running(pki.server_context(), limits=limits()) as here:
        for number in range(1, 6):
            stream = await here.tcp()
            stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            stream.close()
            report = await here.event("connection", number)
            assert report["causes"] == ["reset"]
        async with await here.connect(pki.client_context(pki.alice)) as tls:
            assert await echoed(tls) == b"hello"


# --- limits --------------------------------------------------------------------------------------


async def test_an_idle_client_gets_a_close_notify(
    pki: Authorities, patient_clock: trio.testing.MockClock
) -> None:
    async with running(pki.server_context(), limits=limits(idle_timeout=0.1)) as here:
        async with await here.connect(pki.client_context(pki.alice)) as stream:
            assert await echoed(stream) == b"hello"
            assert await everything(stream) == b""  # and not an error: truncation would be one
        report = await here.event("connection")
    assert report["ended"] == "idle"
    assert report["outcome"] == "echoed"


async def test_a_client_that_never_reads_is_cut_off(
    pki: Authorities, patient_clock: trio.testing.MockClock
) -> None:
    async with running(pki.server_context(), limits=limits(idle_timeout=0.3)) as here:
        stream = await here.connect(pki.client_context(pki.alice))
        with pytest.raises(TLSFailure):
            await stream.send_all(b"x" * 100_000_000)  # the kernel's buffers are some megabytes
        await stream.aclose()
        report = await here.event("connection")
    assert report["causes"] == ["timeout"]
    assert report["ended"] == "failure"


async def test_an_old_connection_is_closed_at_its_first_pause(
    pki: Authorities, patient_clock: trio.testing.MockClock
) -> None:
    async with running(pki.server_context(), limits=limits(max_connection_age=0.05)) as here:
        async with await here.connect(pki.client_context(pki.alice)) as stream:
            await trio.sleep(0.1)
            # Of age, but the peer is still sending: nothing is lost.
            assert await echoed(stream, b"x" * 300_000) == b"x" * 300_000
            assert await everything(stream) == b""
        report = await here.event("connection")
    assert report["ended"] == "age"
    assert report["bytes_sent"] == 300_000


async def test_an_old_connection_that_never_pauses_is_cut_off_after_the_grace_period(
    pki: Authorities, mock_clock: trio.testing.MockClock
) -> None:
    limited = limits(max_connection_age=0.05, grace_period=0.2)
    async with running(pki.server_context(), limits=limited) as here:
        async with await here.connect(pki.client_context(pki.alice)) as stream:
            answer = b"hello"
            with contextlib.suppress(TLSFailure):
                while answer:
                    answer = await echoed(stream)
                    mock_clock.jump(0.02)
        report = await here.event("connection")
    # Cut off while it waited, or while it sent; either way although the client never paused.
    assert report["ended"] in ("age", "interrupted")
    assert report["causes"] == []


async def test_clients_beyond_the_most_allowed_wait_until_one_leaves(pki: Authorities) -> None:
    async with running(pki.server_context(), limits=limits(max_connections=2)) as here:
        first = await here.connect(pki.client_context(pki.alice))
        second = await here.connect(pki.client_context(pki.alice))
        assert await echoed(first) == await echoed(second) == b"hello"
        async with trio.open_nursery() as nursery:
            third_served = trio.Event()

            async def third() -> None:
                async with await here.connect(pki.client_context(pki.alice)) as stream:
                    assert await echoed(stream) == b"hello"
                    third_served.set()

            nursery.start_soon(third)
            assert "2 connections" in (await here.event("warning"))["message"]
            assert not third_served.is_set()
            assert len([event for event in here.events if event.name == "accepted"]) == 2
            await first.aclose()
            await third_served.wait()
        await second.aclose()


async def test_accepting_outlives_a_shortage_of_descriptors(
    pki: Authorities, monkeypatch: pytest.MonkeyPatch, patient_clock: trio.testing.MockClock
) -> None:
    # The real shortage is in test_server_command; here each errno that accept(2) may have.
    shortages = [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EPERM]
    accept = socket.socket.accept

    def failing(self: socket.socket) -> Any:
        if shortages:
            number = shortages.pop()
            raise OSError(number, f"errno {number}")
        return accept(self)

    async with running(pki.server_context(), limits=limits()) as here:
        monkeypatch.setattr(socket.socket, "accept", failing)
        async with await here.connect(pki.client_context(pki.alice)) as stream:
            assert await echoed(stream) == b"hello"
        for number in range(1, 6):
            assert "errno" in (await here.event("accept-error", number))["message"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"handshake_timeout": 0},
        {"idle_timeout": -1},
        {"max_connections": 0},
        {"grace_period": -1},
        {"max_connection_age": float("nan")},
    ],
)
def test_limits_that_would_admit_no_client_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Limits(**wrong)  # type: ignore[arg-type]  # the point of the test


async def test_silent_connections_keep_no_client_out(pki: Authorities) -> None:
    limited = limits(max_connections=2)
    async with (
        running(pki.server_context(), limits=limited) as here,
        await here.connect(pki.client_context(pki.alice)) as before,
    ):
        assert await echoed(before) == b"hello"
        silent = [await here.tcp() for _ in range(limited.max_pending + 10)]
        async with await here.connect(pki.client_context(pki.alice)) as stream:
            assert await echoed(stream) == b"hello"
        assert await everything(silent[0]) == b""  # the oldest has made room
        crowded = await here.event("connection")
        assert await echoed(before) == b"hello"
        for tcp in silent:
            tcp.close()
    assert crowded["ended"] == "crowded"
    assert crowded["causes"] == []
    assert not [event for event in here.events if event.name in ("warning", "error")]


async def test_refused_clients_that_do_not_close_take_no_place_of_a_client(
    pki: Authorities,
) -> None:
    async with running(pki.server_context(), limits=limits(max_connections=2)) as here:
        refused = [await here.connect(pki.client_context()) for _ in range(2)]
        await here.event("connection", 2)  # we have refused them, and linger
        async with await here.connect(pki.client_context(pki.alice)) as stream:
            assert await echoed(stream) == b"hello"
        for stream in refused:
            await stream.transport.aclose()
    assert not [event for event in here.events if event.name == "warning"]


async def test_a_scan_of_the_port_is_called_what_it_is(pki: Authorities) -> None:
    async with running(pki.server_context(), limits=limits()) as here:
        (await here.tcp()).close()
        await here.event("connection")
    [text] = [event.text for event in here.events if event.name == "connection"]
    assert text.endswith(": connected and left without a word")


# --- handlers ------------------------------------------------------------------------------------


async def test_a_handler_has_the_idle_timeout_anew_when_data_has_arrived(
    pki: Authorities, mock_clock: trio.testing.MockClock
) -> None:
    deadlines: list[float] = []

    async def note(stream: TLSStream) -> None:
        assert isinstance(stream, Connection)
        while await stream.receive_some():
            deadlines.append(stream.scope.deadline)
            await stream.send_all(b"noted")

    sent: list[float] = []
    async with (
        running(pki.server_context(), note, limits=limits()) as here,
        await here.connect(pki.client_context(pki.alice)) as stream,
    ):
        for _ in range(2):
            mock_clock.jump(1)  # it has been waiting for a while
            sent.append(trio.current_time())
            assert await echoed(stream) == b"noted"
    for moment, deadline in zip(sent, deadlines, strict=True):
        assert deadline >= moment + limits().idle_timeout


async def test_a_handler_that_was_interrupted_is_not_reported_as_finished(
    pki: Authorities, patient_clock: trio.testing.MockClock
) -> None:
    async def slow(stream: TLSStream) -> None:
        await stream.receive_some()
        await trio.sleep_forever()

    async with running(pki.server_context(), slow, limits=limits(idle_timeout=0.1)) as here:
        async with await here.connect(pki.client_context(pki.alice)) as stream:
            await stream.send_all(b"hello")
            with pytest.raises(TLSFailure):  # a clean end would pass for an answer
                await everything(stream)
        report = await here.event("connection")
    assert report["ended"] == "interrupted"
    assert report["outcome"] == "failed"
    assert report["causes"] == []  # nor was it the client that was late


async def test_a_handler_is_given_an_authenticated_stream(pki: Authorities) -> None:
    async def greet(stream: TLSStream) -> None:
        await stream.send_all(f"hello {stream.peer}".encode())

    async with running(pki.server_context(), greet, limits=limits()) as here:
        async with await here.connect(pki.client_context(pki.alice)) as stream:
            assert await everything(stream) == b"hello alice.test"
        assert (await here.event("connection"))["ended"] == "handler"


async def test_a_bug_in_a_handler_ends_its_own_connection_only(pki: Authorities) -> None:
    async def buggy(stream: TLSStream) -> None:
        while data := await stream.receive_some():
            if data == b"crash":
                raise ZeroDivisionError("oops")
            if data == b"nest":
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(trio.sleep_forever)
                    raise KeyError("nested")
            await stream.send_all(data)

    async with (
        running(pki.server_context(), buggy, limits=limits()) as here,
        await here.connect(pki.client_context(pki.alice)) as other,
    ):
        assert await echoed(other) == b"hello"
        for number, (word, message) in enumerate(
            [(b"crash", "ZeroDivisionError: oops"), (b"nest", "KeyError: 'nested'")], start=1
        ):
            async with await here.connect(pki.client_context(pki.alice)) as stream:
                await stream.send_all(word)
                assert await everything(stream) == b""
            error = await here.event("error", number)
            assert error["message"] == message
            assert "test_service" in error["traceback"]
            assert (await here.event("connection", number))["ended"] == "error"
        assert await echoed(other) == b"hello"


async def test_a_failure_of_the_connection_is_no_bug_of_its_handler(pki: Authorities) -> None:
    async def in_a_nursery(stream: Connection) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.receive_some)

    for handler in (None, in_a_nursery):
        async with running(pki.server_context(), handler, limits=limits()) as here:
            stream = await here.connect(pki.client_context(pki.alice))
            await here.event("accepted")
            assert isinstance(stream.transport, trio.abc.HalfCloseableStream)
            await stream.transport.aclose()  # without close_notify
            report = await here.event("connection")
            assert report["causes"] == ["truncated"]
        assert not [event for event in here.events if event.name == "error"]


async def test_a_context_that_cannot_be_had_ends_that_connection_only(pki: Authorities) -> None:
    contexts: list[ssl.SSLContext | None] = [pki.server_context()]

    def current() -> ssl.SSLContext:
        context = contexts[-1]
        if context is None:
            raise RuntimeError("no context")
        return context

    async with running(current, limits=limits()) as here:
        contexts.append(None)
        async with await here.tcp() as stream:
            await stream.send_all(b"\x16")  # it is not asked for before
            with contextlib.suppress(trio.BrokenResourceError):
                assert await everything(stream) == b""
        assert (await here.event("error"))["message"] == "RuntimeError: no context"
        contexts.pop()
        async with await here.connect(pki.client_context(pki.alice)) as tls:
            assert await echoed(tls) == b"hello"


# --- stopping ------------------------------------------------------------------------------------


async def test_a_stop_closes_what_is_idle_at_once_and_lets_what_is_busy_finish(
    pki: Authorities, patient_clock: trio.testing.MockClock
) -> None:
    async with running(pki.server_context(), limits=limits(grace_period=60)) as here:
        idle = await here.connect(pki.client_context(pki.alice))
        busy = await here.connect(pki.client_context(pki.alice))
        assert await echoed(idle) == await echoed(busy) == b"hello"
        await trio.sleep(QUIET)
        assert await echoed(busy) == b"hello"
        here.server.stop()
        assert (await here.event("stopping"))["connections"] == 2
        assert await everything(idle) == b""
        assert (await here.event("connection"))["ended"] == "drain"
        await idle.aclose()
        assert await echoed(busy, b"x" * 300_000) == b"x" * 300_000
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", here.port))
        assert await everything(busy) == b""
        await busy.aclose()
        stopped = await here.event("stopped")
    assert stopped == {"drained": 2, "aborted": 0}


async def test_what_is_still_open_after_the_grace_period_is_cut_off(
    pki: Authorities, patient_clock: trio.testing.MockClock
) -> None:
    async def stubborn(stream: TLSStream) -> None:
        await trio.sleep_forever()

    async with running(pki.server_context(), stubborn, limits=limits(grace_period=0.1)) as here:
        stream = await here.connect(pki.client_context(pki.alice))
        await here.event("accepted")
        here.server.stop()
        with pytest.raises(TLSFailure):
            await everything(stream)
        await stream.aclose()
        report = await here.event("connection")
        assert report["ended"] == "abort"
        assert report["outcome"] == "failed"
        assert report["causes"] == []  # the client was not late: we cut it off
        [text] = [event.text for event in here.events if event.name == "connection"]
        assert "we cut it off while stopping" in text
        assert await here.event("stopped") == {"drained": 0, "aborted": 1}


async def test_a_second_stop_cuts_off_at_once(pki: Authorities) -> None:
    async def stubborn(stream: TLSStream) -> None:
        async with trio.open_nursery() as nursery:  # which wraps the cancellation in a group
            nursery.start_soon(trio.sleep_forever)

    async with running(pki.server_context(), stubborn, limits=limits(grace_period=3600)) as here:
        stream = await here.connect(pki.client_context(pki.alice))
        await here.event("accepted")
        here.server.stop()
        await here.event("stopping")
        here.server.stop()
        stopped = await here.event("stopped")
        await stream.transport.aclose()
    assert stopped == {"drained": 0, "aborted": 1}
    assert not [event for event in here.events if event.name == "error"]


async def test_a_stop_does_not_wait_for_pending_connections_nor_count_them(
    pki: Authorities, patient_clock: trio.testing.MockClock
) -> None:
    async with running(pki.server_context(), limits=limits(grace_period=3600)) as here:
        silent = await here.tcp()
        client = await here.connect(pki.client_context(pki.alice))
        assert await echoed(client) == b"hello"
        here.server.stop()
        assert (await here.event("stopping"))["connections"] == 1
        async with silent:
            assert await everything(silent) == b""
        assert (await here.event("connection"))["ended"] == "abort"
        assert await everything(client) == b""
        await client.aclose()
        assert await here.event("stopped") == {"drained": 1, "aborted": 0}


async def test_without_a_grace_period_idle_clients_still_get_a_close_notify(
    pki: Authorities, patient_clock: trio.testing.MockClock
) -> None:
    async def in_a_nursery(stream: Connection) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(echo, stream)

    for handler in (None, in_a_nursery):
        async with running(pki.server_context(), handler, limits=limits(grace_period=0)) as here:
            client = await here.connect(pki.client_context(pki.alice))
            assert await echoed(client) == b"hello"
            await trio.sleep(QUIET)
            here.server.stop()
            assert await everything(client) == b""
            await client.aclose()
            assert (await here.event("connection"))["ended"] == "drain"
            assert await here.event("stopped") == {"drained": 1, "aborted": 0}


async def test_serve_in_a_nursery_is_a_whole_server(
    pki: Authorities, capsys: pytest.CaptureFixture[str]
) -> None:
    async with trio.open_nursery() as nursery:
        [(host, port)] = await nursery.start(serve, pki.server_context(), "127.0.0.1:0")
        tcp = await trio.open_tcp_stream(host, port)
        async with TLSStream(
            tcp, pki.client_context(pki.alice), server_name="localhost"
        ) as stream:
            await stream.do_handshake()
            assert await echoed(stream) == b"hello"
        nursery.cancel_scope.cancel()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith(f"listening on 127.0.0.1:{port}, client certificates required")
    assert '"alice.test", TLSv1.3' in lines[1]
