"""The loads: blocking clients of the standard library, the same for every server."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mtls_echo_client.context import client_context
from mtls_echo_pki.directory.directory import Directory

_IDLE_CONNECTIONS = 300


@dataclass(frozen=True)
class Load:
    """Something to do to a server.

    Attributes:
        name: What one unit of it is.
        size: How many units.
        work: Does that many.
    """

    name: str
    size: int
    work: Callable[[ssl.SSLContext, int, int], None]

    def run(self, directory: Directory, port: int, scale: float) -> None:
        """Do it once, with fresh connections."""
        self.work(_context(directory), port, max(1, round(self.size * scale)))


def _context(directory: Directory) -> ssl.SSLContext:
    return client_context(directory.trust("servers"), directory.credential("client"))


def _connect(context: ssl.SSLContext, port: int) -> ssl.SSLSocket:
    plain = socket.create_connection(("127.0.0.1", port))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(plain, server_hostname="localhost")


def _receive(tls: ssl.SSLSocket, count: int) -> None:
    while count:
        count -= len(tls.recv(min(count, 65536)))


def _sessions(context: ssl.SSLContext, port: int, count: int) -> None:
    for _ in range(count):
        with _connect(context, port) as tls:
            tls.sendall(b"x")
            _receive(tls, 1)


def _round_trips(context: ssl.SSLContext, port: int, count: int) -> None:
    with _connect(context, port) as tls:
        for _ in range(count):
            tls.sendall(b"x" * 64)
            _receive(tls, 64)


def _bulk(context: ssl.SSLContext, port: int, mebibytes: int) -> None:
    block = bytes(64 * 1024)
    with _connect(context, port) as tls:
        for _ in range(mebibytes * 16):
            tls.sendall(block)
            _receive(tls, len(block))


LOADS = (
    Load("mTLS session, 1 byte", 300, _sessions),
    Load("round trip of 64 bytes", 10_000, _round_trips),
    Load("MiB echoed in 64 KiB", 128, _bulk),
)


def memory_per_connection(directory: Directory, port: int, pid: int) -> float:
    """KiB of resident memory per established, idle connection."""
    context = _context(directory)
    held = [_connect(context, port)]  # the first one pays for what all share
    try:
        _receive_echo(held[0])
        before = _resident(pid)
        for _ in range(_IDLE_CONNECTIONS):
            held.append(_connect(context, port))
            _receive_echo(held[-1])
        return (_resident(pid) - before) / _IDLE_CONNECTIONS
    finally:
        for tls in held:
            tls.close()


def _receive_echo(tls: ssl.SSLSocket) -> None:
    tls.sendall(b"x")
    _receive(tls, 1)


def _resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise RuntimeError("no VmRSS: this needs Linux")
