"""What a service does with peers that do not speak TLS, and with too many of them."""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from typing import Any

import pytest
import trio

from mtls_echo_server.connection import Limits
from mtls_echo_tls.diagnosis.failure import TLSFailure
from tests.server.service.world import pki as pki
from tests.support.servers import Authorities, echoed, everything, limits, running

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
        {"max_handshakes": 0},
        {"max_handshakes_per_network": -1},
    ],
)
def test_limits_that_would_admit_no_client_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Limits(**wrong)  # type: ignore[arg-type]  # the point of the test


@pytest.mark.parametrize(
    ("given", "total", "share"),
    [
        ({}, 1000, 500),
        ({"max_connections": 2}, 64, 64),
        ({"max_connections": 5000}, 5000, 1000),
        ({"max_connections": 100}, 100, 64),
        ({"max_handshakes": 10}, 10, 10),
        ({"max_handshakes": 300, "max_handshakes_per_network": 20}, 300, 20),
    ],
)
def test_a_network_has_half_of_the_handshakes_unless_said(
    given: dict[str, int], total: int, share: int
) -> None:
    made = limits(**given)
    assert (made.max_pending, made.max_pending_per_network) == (total, share)


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
    assert text.endswith(": connected and left without a word, as health checks do")
