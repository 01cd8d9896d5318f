"""A server in a thread of its own, for tests that are not asynchronous."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from types import TracebackType

_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"


class Threaded:
    """Answers every client that TLS lets in, by nothing but the standard library's means."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._thread = threading.Thread(target=self._accept, daemon=True)

    @property
    def address(self) -> str:
        """As the command takes it."""
        host, port = self._listener.getsockname()
        return f"{host}:{port}"

    def __enter__(self) -> Threaded:
        self._address = self.address
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with (
            connection,
            contextlib.suppress(OSError),
            self._context.wrap_socket(connection, server_side=True) as secured,
        ):
            secured.recv(16 * 1024)
            secured.sendall(_ANSWER)
            secured.unwrap()
