"""The servers that are compared: each prints its port and echoes until it is killed."""

from __future__ import annotations

import asyncio
import ssl
import sys
from functools import partial

import trio

from mtls_echo_pki.directory.directory import Directory
from mtls_echo_server.context import server_context
from mtls_echo_server.events import Event
from mtls_echo_server.service import serve


def _ignore(_: Event) -> None:
    pass


async def ours(context: ssl.SSLContext) -> None:
    """This project's server, with all its limits and none of its log."""
    async with trio.open_nursery() as nursery:
        start = partial(serve, context, "127.0.0.1:0", events=_ignore)
        [(_, port)] = await nursery.start(start)
        print(port, flush=True)


async def idiomatic_trio(context: ssl.SSLContext) -> None:
    """What trio's documentation suggests, with an idle timeout as ours has."""

    async def handle(stream: trio.SSLStream[trio.SocketStream]) -> None:
        try:
            while True:
                with trio.fail_after(300):
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


async def asyncio_streams(context: ssl.SSLContext) -> None:
    """asyncio's streams, without any timeout."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    name, path = sys.argv[1:]
    directory = Directory(path)
    made = server_context(directory.credential("server"), directory.trust("clients"))
    if name == "mtls-echo":
        trio.run(ours, made)
    elif name == "trio.SSLStream":
        trio.run(idiomatic_trio, made)
    else:
        asyncio.run(asyncio_streams(made))
