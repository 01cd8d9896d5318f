"""Ports for tests: of a server that has to be told its own, and one that refuses connections.

A port that was free a moment ago may belong to another process before it is used: most of all one
that the kernel hands out, for it hands them out to everything else that runs.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import functools
import itertools
import socket
from collections.abc import Iterator
from pathlib import Path

# No round number: tests look for ports in what is printed.
_LOWEST = 20_011

# Each process has as many for itself, and holds the first of them.
_SHARE = 250


def _end() -> int:
    """Where the ports begin that the kernel gives to those who name none, or begin usually."""
    try:
        said = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text("ascii")
    except FileNotFoundError:
        return 49_152  # RFC 6335 section 6
    first = int(said.split()[0])
    return first if first > _LOWEST + _SHARE else 32_768


@functools.cache
def _own() -> Iterator[int]:
    for first in range(_LOWEST, _end() - _SHARE, _SHARE):
        with contextlib.suppress(OSError):  # it is another process's
            _hold(first)
            return itertools.cycle(range(first + 1, first + _SHARE))
    raise AssertionError("no ports are free")


def _hold(port: int) -> int:
    """Bind a port until the tests are over, without listening."""
    held = socket.socket()  # without SO_REUSEADDR, so that it is shared with no other
    atexit.register(held.close)
    held.bind(("127.0.0.1", port))
    found: int = held.getsockname()[1]
    return found


def server_port() -> int:
    """A free port, which the kernel does not hand out before a server has bound it.

    Nor to a connection: one to a port where nothing listens yet could else be its own other end.
    """
    for port in itertools.islice(_own(), _SHARE):
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return port
    raise AssertionError("no port is free")


def refusing_port() -> int:
    """A port on which nothing listens, now and until the tests are over."""
    return _hold(0)
