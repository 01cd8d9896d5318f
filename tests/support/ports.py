"""Ports for tests: of a server that has to be told its own, and one that refuses connections.

A port that was free a moment ago may belong to another process before it is used: most of all one
that the kernel hands out, for it hands them out to everything else that runs.
"""

from __future__ import annotations

import atexit
import errno
import itertools
import os
import socket
from pathlib import Path

# No round number: tests look for ports in what is printed.
_LOWEST = 20_011

# Each process looks for its own among as many.
_SHARE = 1_000


def _first_of_the_kernels() -> int:
    """Where the ports begin that are given to those who name none."""
    try:
        said = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text("ascii")
    except FileNotFoundError:
        return 49_152  # RFC 6335 section 6
    return int(said.split()[0])


def _own_share() -> range:
    shares = max(1, (_first_of_the_kernels() - _LOWEST) // _SHARE)
    first = _LOWEST + os.getpid() % shares * _SHARE
    return range(first, first + _SHARE)


_own = itertools.cycle(_own_share())


def server_port() -> int:
    """A free port, which the kernel does not hand out before a server has bound it.

    Nor to a connection: one to a port where nothing listens yet could else be its own other end.
    """
    for port in itertools.islice(_own, _SHARE):
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
    held = socket.socket()  # without SO_REUSEADDR, so that it is shared with no other
    held.bind(("127.0.0.1", 0))
    atexit.register(held.close)
    port: int = held.getsockname()[1]
    return port
