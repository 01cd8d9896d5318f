"""Open listening sockets, before anything slow is imported or read.

Early clients then wait instead of failing. From `listen(2)` on, the kernel completes TCP
connections by itself and queues them. Binding first and importing the event loop afterwards
therefore costs no early client anything, and a port that is taken is reported in 20 ms instead of
after the keys were read. Nothing here needs trio.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable

from mtls_echo_pki.files.durable import os_reason
from mtls_echo_tls.address import Address, parse_address

# Connections that the kernel queues while none is accepted, as when max_connections are served.
# The kernel cuts it to net.core.somaxconn.
BACKLOG = 1024

# For the hint when something else was written.
FORMS = (
    "HOST:PORT, such as 127.0.0.1:8443 or [::1]:8443 (this machine only), 0.0.0.0:8443 or "
    "[::]:8443 (every interface); port 0 is any free port"
)

# What an address of a host name may fail with while another of its addresses works: no IPv6 here.
_NOT_HERE = frozenset({errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT})


class ListenError(Exception):
    """An address that cannot be listened on.

    Args:
        message: Lower case, names the address.
        hint: What to do about it.
    """

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


def listen(addresses: Iterable[str]) -> list[socket.socket]:
    """Open a non-blocking listening socket for each ``HOST:PORT``, all or none.

    A host name is listened on at each of its addresses.

    Raises:
        ValueError: As `parse_address`.
        ListenError: One of them cannot be opened.
    """
    parsed = [parse_address(text, listening=True) for text in addresses]
    sockets: list[socket.socket] = []
    try:
        for address in parsed:
            sockets += _listen_on_host(address)
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _listen_on_host(wanted: Address) -> list[socket.socket]:
    host, port = wanted
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        reason = os_reason(error)
        raise ListenError(
            f"cannot listen on {wanted}: {reason}", "name an address of this machine: 127.0.0.1"
        ) from error
    sockets: list[socket.socket] = []
    failure: OSError | None = None
    try:
        for family, _, _, _, address in dict.fromkeys(found):
            if sockets and port == 0:
                # One free port for all of them: people read a single number.
                address = (address[0], sockets[0].getsockname()[1], *address[2:])
            try:
                sockets.append(_listen_on(family, address))
            except OSError as error:
                if error.errno not in _NOT_HERE:
                    raise
                failure = error
        if failure is not None and not sockets:
            raise failure
    except OSError as error:
        for sock in sockets:
            sock.close()
        raise ListenError(
            f"cannot listen on {wanted}: {_reason(error)}", _hint(error, port)
        ) from error
    return sockets


def _listen_on(family: int, address: tuple[object, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Or a restart would wait a minute for the last connections' TIME-WAIT to pass. (On Linux
        # this does not let two servers share a port.)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # [::] and 0.0.0.0 are two addresses, on every system alike.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setblocking(False)
        sock.bind(address)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _reason(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "the port is in use"
    if error.errno == errno.EADDRNOTAVAIL:
        return "no interface of this machine has that address"
    return os_reason(error)


def _hint(error: OSError, port: int) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"see who has it: ss -ltnp 'sport = :{port}'; or take any free one: port 0"
    if error.errno == errno.EACCES and port < 1024:
        return "ports below 1024 are for privileged users: take 8443"
    return "name an address of this machine: 127.0.0.1"
