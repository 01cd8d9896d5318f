"""A relay between two peers, which keeps what it passed on."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from dataclasses import dataclass, field

from tests.interop.foreign_peers import close_listener
from tests.support.timing import TIMEOUT


@dataclass
class Relayed:
    """One connection through the relay.

    Attributes:
        ends: In the order in which they happened: ``client closed``, ``client reset``,
            ``server closed`` (its FIN), ``server reset``.
        last_of_client: The last bytes it sent.
        bytes_of_client: How many it sent in all.
    """

    ends: list[str] = field(default_factory=list)
    last_of_client: bytes = b""
    bytes_of_client: int = 0

    def reset_first(self, side: str) -> bool:
        """Whether this side reset the connection before the other had ended it."""
        before = itertools.takewhile(lambda end: end.startswith(side), self.ends)
        return f"{side} reset" in before


class Relay:
    """A TCP relay that records how each side ended, and passes it on.

    The order of ``ends`` is one of cause and effect, not of clocks: a side learns that the other
    has closed only after the relay has written it down.
    """

    def __init__(self, port: int) -> None:
        self.connections: list[Relayed] = []
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def __enter__(self) -> Relay:
        return self

    def __exit__(self, *_: object) -> None:
        close_listener(self._listener)
        for thread in self._threads:
            thread.join()

    def wait(self) -> list[Relayed]:
        """The connections, when both sides of each have ended."""
        for thread in self._threads[1:]:
            thread.join(TIMEOUT)
            assert not thread.is_alive(), self.connections
        return self.connections

    def _accept(self) -> None:
        while True:
            try:
                client_side, _ = self._listener.accept()
            except OSError:
                return  # closed: the test is over
            record = Relayed()
            self.connections.append(record)
            thread = threading.Thread(target=self._relay, args=(client_side, record))
            self._threads.append(thread)
            thread.start()

    def _relay(self, client_side: socket.socket, record: Relayed) -> None:
        with client_side, socket.create_connection(("127.0.0.1", self._target)) as server_side:
            for sock in (client_side, server_side):
                sock.settimeout(TIMEOUT)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = threading.Thread(
                target=_pump, args=(server_side, client_side, record, "server", "client")
            )
            back.start()
            _pump(client_side, server_side, record, "client", "server")
            back.join()


def _pump(source: socket.socket, sink: socket.socket, record: Relayed, of: str, to: str) -> None:
    while True:
        try:
            data = source.recv(65536)
        except OSError:
            data = b""
            record.ends.append(f"{of} reset")
        else:
            if not data:
                record.ends.append(f"{of} closed")
        if not data:
            # Whichever end it was, the other side learns of it; a reset as an end, no sooner.
            with contextlib.suppress(OSError):
                sink.shutdown(socket.SHUT_WR)
            return
        if of == "client":
            record.bytes_of_client += len(data)
            record.last_of_client = (record.last_of_client + data)[-64:]
        try:
            sink.sendall(data)
        except OSError:
            record.ends.append(f"{to} reset")
            # What it sent last may still be unread the other way; what comes from here is lost.
            with contextlib.suppress(OSError):
                while source.recv(65536):
                    pass
            return
