"""Connections at rest in a hub, and the clients at their other ends."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator

import trio
import trio.testing

from mtls_echo_tls.stream.answering import AnsweringStream
from mtls_echo_tls.stream.hub import Hub, open_hub
from mtls_echo_tls.stream.tcp import TCPStream
from mtls_echo_tls.stream.tls import Answer, TLSStream
from tests.support.timing import TIMEOUT
from tests.support.tls import V13, client_side, handshake, server_side, tcp_pair

# More than the kernel takes at once of what no peer reads.
MUCH = 16 * 1024 * 1024


def same(data: bytes) -> bytes:
    return data


def amplified(data: bytes) -> bytes:
    return bytes(MUCH) if data == b"much" else data


class Side:
    """A server's side: its stream, the task that answers, and how that ended."""

    def __init__(self, stream: AnsweringStream, answer: Answer) -> None:
        self.stream = stream
        self.scope = trio.CancelScope()
        self.task: trio.lowlevel.Task | None = None
        self.raised: BaseException | None = None
        self.over = trio.Event()
        self._answer = answer

    async def run(self) -> None:
        self.task = trio.lowlevel.current_task()
        try:
            with self.scope:
                await self.stream.answer_all(self._answer)
        except Exception as error:
            self.raised = error
        finally:
            self.over.set()

    @property
    def at_rest(self) -> bool:
        return self.stream._asleep is not None


@contextlib.asynccontextmanager
async def hub_of_a_test() -> AsyncIterator[Hub]:
    with trio.fail_after(TIMEOUT):
        async with open_hub() as hub:
            assert hub is not None
            yield hub


@contextlib.asynccontextmanager
async def answered(
    hub: Hub | None, answer: Answer = same, version: ssl.TLSVersion = V13
) -> AsyncIterator[tuple[TLSStream, Side]]:
    """A client, and a server's side that answers it."""
    ours, theirs = tcp_pair()
    client = TLSStream(TCPStream(ours), client_side(version), server_name="localhost")
    server = AnsweringStream(TCPStream(theirs), server_side(version), server_side=True, hub=hub)
    await handshake(client, server)
    try:
        async with trio.open_nursery() as nursery:
            side = Side(server, answer)
            nursery.start_soon(side.run)
            yield client, side
            nursery.cancel_scope.cancel()
    finally:
        for stream in (client, server):
            with trio.CancelScope() as at_once:
                at_once.cancel()
                await stream.aclose()


async def ask(client: TLSStream, data: bytes = b"hello") -> bytes:
    await client.send_all(data)
    return await take(client, len(data))


async def take(client: TLSStream, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        received += await client.receive_some()
    return bytes(received)


async def put_to_rest(client: TLSStream, side: Side) -> None:
    """Ask until the connection is left to the hub."""
    while not side.at_rest:
        assert await ask(client) == b"hello"
        await trio.testing.wait_all_tasks_blocked()


def watched(hub: Hub, stream: AnsweringStream) -> bool:
    assert isinstance(stream.transport, TCPStream)
    return stream.transport.socket.fileno() in hub._ready


async def finished(client: TLSStream, side: Side) -> None:
    """The client has said its close_notify, and the server has read it."""
    client._records.close_notify()
    await client.transport.send_all(client._records.output())
    await side.over.wait()
    assert side.stream.evidence.close_notify
