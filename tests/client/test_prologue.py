"""What a protocol says in the clear before TLS begins."""

from __future__ import annotations

import socket
import ssl

import pytest
import trio.testing

from mtls_echo_client.exit_status import exit_status
from mtls_echo_client.session import connect
from mtls_echo_tls.diagnosis.evidence import Evidence
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.stream.tcp import TCPStream
from tests.client.sessions import alice
from tests.client.sessions import world as world
from tests.support.clients import World, echo, leaving_unanswered, say_nothing, serving
from tests.support.timing import flying


def starting(connection: socket.socket, context: ssl.SSLContext) -> None:
    assert connection.recv(6) == b"please"
    connection.sendall(b"S")
    echo(connection, context)


async def ask(transport: TCPStream, _: Evidence) -> None:
    await transport.send_all(b"please")
    assert await transport.receive_some() == b"S"


async def test_tls_begins_where_the_prologue_ends(world: World) -> None:
    with serving(starting, world.server_context()) as port:
        async with await connect("localhost", port, alice(world), prologue=ask) as session:
            await session.echo(b"hello\n")

    assert session.report.outcome == "echoed"


async def test_an_error_of_the_prologue_comes_out_and_the_connection_is_closed(
    world: World,
) -> None:
    async def refuse(_: TCPStream, __: Evidence) -> None:
        raise LookupError("no TLS here")

    with (
        serving(say_nothing, world.server_context()) as port,  # which waits for our end
        pytest.raises(LookupError, match="no TLS here"),
    ):
        await connect("localhost", port, alice(world), prologue=refuse)


async def test_a_prologue_ends_at_the_deadline(
    world: World, mock_clock: trio.testing.MockClock
) -> None:
    unanswered = leaving_unanswered(flying(mock_clock), tls=False)
    with (
        serving(unanswered, world.server_context()) as port,
        pytest.raises(TLSFailure) as caught,
    ):
        await connect("localhost", port, alice(world), prologue=ask, timeout=1)

    assert caught.value.report.causes == ["timeout"]
    assert exit_status(caught.value.report) == 7
