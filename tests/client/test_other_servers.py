"""Servers that are not echo servers, and servers that answer something else."""

from __future__ import annotations

import math
import socket
import ssl
import threading
from collections.abc import Callable

import pytest
import trio
import trio.testing

from mtls_echo_client.context import client_context
from mtls_echo_client.exit_status import exit_status
from mtls_echo_client.session import Session, connect
from mtls_echo_tls.denial import DENIAL, denial_line
from mtls_echo_tls.diagnosis.failure import TLSFailure
from tests.client.sessions import alice, failure_of, once, pattern, versions
from tests.client.sessions import world as world
from tests.support.clients import (
    Behaviour,
    World,
    answering,
    echo,
    leaving_unanswered,
    saying,
    serving,
    transforming,
)
from tests.support.timing import TIMEOUT, flying


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


@versions
async def test_an_answer_in_http_is_told_as_one(world: World, version: str) -> None:
    refusing = transforming(lambda _: b"HTTP/1.1 400 Bad Request\r\n\r\n")

    failure = await failure_of(world, refusing, b"hello\n", version=version)

    assert failure.report.causes == ["other-protocol"]
    assert failure.report.summary == (
        "mutual TLS is up, but the server does not echo: it answered HTTP/1.1 400 Bad Request"
    )
    assert "ask a server of HTTP by http of check()" in failure.report.remedy
    assert exit_status(failure.report) == 8


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
async def test_a_server_that_speaks_before_it_is_spoken_to_is_not_an_echo_server(
    world: World, version: str
) -> None:
    failure = await failure_of(world, saying(b"220 welcome\r\n"), version=version)

    assert failure.report.causes == ["other-protocol"]
    assert failure.report.answer is not None
    assert failure.report.answer.protocol == "SMTP or FTP"
    assert "it answered SMTP or FTP “220 welcome”" in failure.report.summary


async def test_words_that_belong_to_no_protocol_are_an_altered_echo(world: World) -> None:
    failure = await failure_of(world, saying(b"good morning\r\n"))

    assert (failure.report.causes, failure.report.answer) == (["altered-echo"], None)


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


async def test_an_empty_answer_and_a_refusal_are_not_answers(
    world: World, mock_clock: trio.testing.MockClock
) -> None:
    anonymous = client_context(world.servers.trust)
    unanswered = leaving_unanswered(flying(mock_clock), tls=True)
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
