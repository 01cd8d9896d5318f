"""A server in a thread of its own, by nothing but the standard library's means."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from typing import TypeAlias

# From a connection and the head of its request to a whole response.
Answer: TypeAlias = Callable[[ssl.SSLSocket, str], str]

# Chooses, from the first bytes of a connection, what it is served with; None: without TLS.
Choose: TypeAlias = Callable[[bytes], ssl.SSLContext | None]

# Of a record of TLS.
_HEADER = 5


def response(text: str, status: str = "200 OK") -> str:
    """A whole response."""
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(text)}\r\nConnection: close\r\n"
    return f"{head}\r\n{text}"


def hello(_: ssl.SSLSocket, head: str) -> str:
    """The same to every client that TLS lets in."""
    return response("hello")


class Threaded:
    """The server; each of its connections has a thread."""

    def __init__(self, choose: ssl.SSLContext | Choose, answer: Answer = hello) -> None:
        self._choose: Choose = (lambda _: choose) if isinstance(choose, ssl.SSLContext) else choose
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._thread = threading.Thread(target=self._accept, daemon=True)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._listener.getsockname()[1])

    @property
    def address(self) -> str:
        """As the command takes it."""
        return f"127.0.0.1:{self.port}"

    def __enter__(self) -> Threaded:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.recv(_HEADER, socket.MSG_PEEK | socket.MSG_WAITALL)
            context = self._choose(connection.recv(16 * 1024, socket.MSG_PEEK))
            if context is None:
                connection.recv(16 * 1024)
                connection.sendall(response("hello").encode())
                return
            with context.wrap_socket(connection, server_side=True) as secured:
                head = secured.recv(16 * 1024).decode()
                secured.sendall(self._answer(secured, head).encode())
                secured.unwrap()
