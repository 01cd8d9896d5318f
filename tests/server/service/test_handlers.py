"""What handlers are given, and what their errors end."""

from __future__ import annotations

import contextlib
import ssl

import pytest
import trio

from mtls_echo_server.connection import Connection
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.stream.tls import TLSStream
from tests.server.service.world import pki as pki
from tests.support.servers import Authorities, echoed, everything, limits, running


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
            assert "test_handlers" in error["traceback"]
            assert (await here.event("connection", number))["ended"] == "error"
        assert await echoed(other) == b"hello"


async def test_a_failure_of_the_connection_is_not_a_bug_of_its_handler(pki: Authorities) -> None:
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
            assert report["causes"][-1] == "truncated"
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
            # It is not asked for before there is a whole record.
            await stream.send_all(b"\x16\x03\x01\0\1\1")
            with contextlib.suppress(trio.BrokenResourceError):
                assert await everything(stream) == b""
        assert (await here.event("error"))["message"] == "RuntimeError: no context"
        contexts.pop()
        async with await here.connect(pki.client_context(pki.alice)) as tls:
            assert await echoed(tls) == b"hello"
