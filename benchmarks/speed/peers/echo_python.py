"""The servers of Python that ours is compared with: each prints its port and echoes.

    echo_python.py WHICH CERT KEY CA [alike]

Each has the context that `ssl` gives it, or one that is configured as ours is (alike): no session
tickets. None has a limit or a log; those of trio have an idle timeout, one deadline per wait.
"""

from __future__ import annotations

import asyncio
import importlib
import socket
import ssl
import sys
from functools import partial
from typing import cast

import trio

from mtls_echo_server.service import serve
from mtls_echo_tls.stream.tls import TLSStream

IDLE = 300


def context_of(certificate: str, key: str, ca: str, *alike: str) -> ssl.SSLContext:
    """Mutual TLS and nothing else that is not the default."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(ca)
    context.verify_mode = ssl.CERT_REQUIRED
    if alike:
        context.num_tickets = 0
        context.options |= ssl.OP_NO_TICKET
    return context


async def trio_stream(context: ssl.SSLContext) -> None:
    """What trio's documentation suggests."""

    async def handle(stream: trio.SSLStream[trio.SocketStream]) -> None:
        try:
            while True:
                with trio.fail_after(IDLE):
                    data = await stream.receive_some()
                if not data:
                    return
                await stream.send_all(data)
        except trio.BrokenResourceError:
            pass

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(
            partial(trio.serve_ssl_over_tcp, handle, 0, context, host="127.0.0.1")
        )
        print(listeners[0].transport_listener.socket.getsockname()[1], flush=True)


async def ordinary_handler(context: ssl.SSLContext) -> None:
    """This project's server as a library, with a handler that receives and sends, and no log."""

    async def handle(stream: TLSStream) -> None:
        while data := await stream.receive_some():
            await stream.send_all(data)

    async with trio.open_nursery() as nursery:
        [(_, port)] = await nursery.start(
            partial(serve, context, "127.0.0.1:0", handle, events=lambda _: None)
        )
        print(port, flush=True)


async def asyncio_streams(context: ssl.SSLContext) -> None:
    """asyncio's streams."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    await _serve_forever(await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context))


class Echo(asyncio.Protocol):
    """asyncio's other half: callbacks, and backpressure by hand."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's does not inherit

    def data_received(self, data: bytes) -> None:
        """Answer."""
        self._transport.write(data)

    def pause_writing(self) -> None:
        """Read no more than the client does."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        self._transport.resume_reading()


async def asyncio_protocol(context: ssl.SSLContext) -> None:
    """asyncio's protocols."""
    loop = asyncio.get_running_loop()
    await _serve_forever(await loop.create_server(Echo, "127.0.0.1", 0, ssl=context))


async def _serve_forever(server: asyncio.Server) -> None:
    listener: socket.socket = server.sockets[0]
    print(listener.getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    which, *rest = sys.argv[1:]
    made = context_of(*rest)
    if which == "trio":
        trio.run(trio_stream, made)
    elif which == "ordinary":
        trio.run(ordinary_handler, made)
    elif which == "streams":
        asyncio.run(asyncio_streams(made))
    elif which == "uvloop":
        importlib.import_module("uvloop").run(asyncio_protocol(made))
    else:
        asyncio.run(asyncio_protocol(made))
