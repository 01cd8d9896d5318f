"""A service stops: what is drained, and what is cut off."""

from __future__ import annotations

import socket

import pytest
import trio

from mtls_echo_server.connection import QUIET, Connection
from mtls_echo_server.handlers import echo
from mtls_echo_server.service import serve
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.stream.tls import TLSStream
from tests.server.service.world import pki as pki
from tests.support.servers import Authorities, echoed, everything, limits, running


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
