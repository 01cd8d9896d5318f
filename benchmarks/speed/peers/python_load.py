"""The load generator in Python, for machines without a C compiler: `load.c` says what it does.

One thread per connection where the load is one; the servers that need least wait for it.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

WARM_UPS = 5
PIECE = 64 * 1024


class Client:
    """One place: a connection, or one after the other.

    Args:
        context: What the client presents and trusts.
        port: Where the server listens.
        size: Bytes per message.
        resuming: Offer the session of the connection before.
    """

    def __init__(
        self, context: ssl.SSLContext, port: int, size: int, *, resuming: bool = False
    ) -> None:
        self._context = context
        self._port = port
        self._message = b"x" * (size - 1) + b"\n"
        self._resuming = resuming
        self._tls: ssl.SSLSocket | None = None
        self._session: ssl.SSLSession | None = None
        self.samples: list[float] = []
        self.resumed = 0

    def connect(self) -> ssl.SSLSocket:
        """Connect, if it is not."""
        if self._tls is None:
            plain = socket.create_connection(("127.0.0.1", self._port), timeout=60)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._tls = self._context.wrap_socket(
                plain, server_hostname="localhost", session=self._session
            )
        return self._tls

    def close(self) -> None:
        """Close with close_notify, and do not wait for the server's."""
        if self._tls is not None:
            tls, self._tls = self._tls, None
            self._session = tls.session if self._resuming else None
            tls.settimeout(0)
            with contextlib.suppress(OSError):
                tls.unwrap()
            tls.close()

    def echo(self, message: bytes | None = None) -> None:
        """One message there and back."""
        message = self._message if message is None else message
        tls = self.connect()
        for start in range(0, len(message), PIECE):
            piece = message[start : start + PIECE]
            tls.sendall(piece)
            left = len(piece)
            while left:
                data = tls.recv(left)
                if not data:
                    raise EOFError("the server closed the connection")
                left -= len(data)

    def warm_up(self) -> None:
        """Connect and let everything happen once."""
        for _ in range(WARM_UPS):
            self.echo(b"x" * 63 + b"\n")

    def session(self) -> None:
        """Connect, echo, close."""
        tls = self.connect()
        self.echo()
        self.resumed += bool(tls.session_reused)
        self.close()

    def timed(self, work: Callable[[], None]) -> None:
        """Do something and note how long it takes."""
        began = time.monotonic()
        work()
        self.samples.append(time.monotonic() - began)

    def until(self, end: float, work: Callable[[], None]) -> None:
        """Again and again, once at least."""
        self.timed(work)
        while time.monotonic() < end:
            self.timed(work)


def main() -> None:
    """Do what the arguments say."""
    port, certificate, key, ca, tls, kind, connections, size, seconds = sys.argv[1:]
    context = ssl.create_default_context(cafile=ca)
    context.load_cert_chain(certificate, key)
    version = ssl.TLSVersion.TLSv1_2 if tls == "1.2" else ssl.TLSVersion.TLSv1_3
    context.minimum_version = context.maximum_version = version
    clients = [
        Client(context, int(port), int(size), resuming=kind == "resumed")
        for _ in range(int(connections))
    ]
    for client in clients:
        if kind == "resumed":
            client.session()
            client.resumed = 0
        elif kind != "handshakes":
            client.warm_up()

    print("ready", flush=True)
    if not sys.stdin.readline():
        return
    cpu, began = time.process_time(), time.monotonic()
    if kind == "once":
        for client in clients:
            client.timed(client.echo)
    else:
        end = began + float(seconds)
        with ThreadPoolExecutor(len(clients)) as pool:
            jobs = [
                pool.submit(client.until, end, client.echo if kind == "echoes" else client.session)
                for client in clients
            ]
            for job in jobs:
                job.result()
    took = time.monotonic() - began
    samples = sorted(sample for client in clients for sample in client.samples)
    found = {
        "operations": len(samples),
        "seconds": took,
        "cpu": time.process_time() - cpu,
        "resumed": sum(client.resumed for client in clients),
        "p50": samples[len(samples) // 2],
        "p99": samples[len(samples) * 99 // 100],
    }
    print(json.dumps(found), flush=True)
    sys.stdin.readline()
    for client in clients:
        client.close()


if __name__ == "__main__":
    main()
