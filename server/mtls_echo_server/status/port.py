"""Serve HTTP on the status port: few connections, short waits, and no bug of it leaves it.

It is for one scraper, some probes and some people. Beyond `MOST` connections the oldest makes
room, so that one that says nothing keeps no probe out.
"""

from __future__ import annotations

import socket
import traceback
from collections.abc import Sequence

import trio

from mtls_echo_server import events as _events
from mtls_echo_server.accepting import ACCEPT_AGAIN
from mtls_echo_server.events import Events
from mtls_echo_server.http.conversation import Bounds, Conversation
from mtls_echo_server.http.site import Site

# Connections at once.
MOST = 64

# A scrape every minute keeps its connection.
_BOUNDS = Bounds(waiting=75.0, sending=10.0)

# What is read and discarded of a client that was refused while it sent, so that it can read why.
_LINGER, _LINGER_BYTES = 1.0, 4 * 1024 * 1024


class StatusPort:
    """The listeners of the status port, which are closed when `run` ends.

    Args:
        sockets: Listening.
        site: What answers.
        events: Told of bugs.
    """

    def __init__(self, sockets: Sequence[socket.socket], site: Site, events: Events) -> None:
        self._sockets = sockets
        self._site = site
        self._events = events
        self._open: dict[trio.CancelScope, None] = {}

    async def run(self) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as nursery:
            for sock in self._sockets:
                nursery.start_soon(self._accept, trio.socket.from_stdlib_socket(sock), nursery)

    async def _accept(self, listener: trio.socket.SocketType, tasks: trio.Nursery) -> None:
        with listener:
            while True:
                try:
                    sock, address = await listener.accept()
                except OSError:
                    await trio.sleep(ACCEPT_AGAIN)
                    continue
                if len(self._open) >= MOST:
                    oldest = next(iter(self._open))
                    del self._open[oldest]
                    oldest.cancel()
                scope = trio.CancelScope()
                self._open[scope] = None
                tasks.start_soon(self._serve, sock, scope, f"{address[0]}:{address[1]}")

    async def _serve(
        self, sock: trio.socket.SocketType, scope: trio.CancelScope, where: str
    ) -> None:
        try:
            with scope, sock:
                await self._converse(trio.SocketStream(sock))
        except* OSError:
            pass  # the client is gone already
        except* trio.BrokenResourceError:
            pass
        except* Exception as bugs:
            text = "".join(traceback.format_exception(bugs))
            self._events(
                _events.error(f"{where} on the status port", _events.innermost(bugs), text)
            )
        finally:
            self._open.pop(scope, None)

    async def _converse(self, stream: trio.SocketStream) -> None:
        conversation = Conversation(stream, self._site, bounds=_BOUNDS)
        await conversation.run()
        if conversation.finished:
            return
        with trio.move_on_after(_LINGER):
            await stream.send_eof()
            left = _LINGER_BYTES
            while left > 0 and (data := await stream.receive_some()):
                left -= len(data)
