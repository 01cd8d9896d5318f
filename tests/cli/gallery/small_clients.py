"""Small clients, each with a habit of its own, as functions of a URL and a file of trust anchors.

They run in a thread of the test, where a command would be a process, and end with its exit status.
"""

from __future__ import annotations

import os
import signal
import socket
import ssl
import sys
from collections.abc import Callable, Sequence
from urllib.parse import urlsplit

import trio

from mtls_echo.gallery.clients import ClientCommand
from mtls_echo.gallery.running import Ran

SmallClient = Callable[[str, str], int | None]

_NO_CHECK_TIME = 0x200000


def get(url: str, context: ssl.SSLContext, *, say: bytes = b"GET / HTTP/1.0\r\n\r\n") -> bytes:
    """Say something, and read the whole answer; HTTP/1.0's ends with the connection."""
    address = urlsplit(url)
    assert address.hostname is not None
    with (
        socket.create_connection((address.hostname, address.port), timeout=30) as tcp,
        context.wrap_socket(tcp, server_hostname=address.hostname) as tls,
    ):
        if say:
            tls.sendall(say)
        answer = b""
        while say and (received := tls.recv(65536)):
            answer += received
        return answer


def _whole(answer: bytes) -> int:
    head, _, body = answer.partition(b"\r\n\r\n")
    sizes = [line[16:] for line in head.lower().split(b"\r\n") if b"content-length: " in line]
    return 0 if head.startswith(b"HTTP/1.1 200 ") and int(sizes[0]) == len(body) else 1


def _asked(url: str, context: ssl.SSLContext) -> int:
    try:
        return _whole(get(url, context))
    except OSError:
        return 1


def _strict(ca: str) -> ssl.SSLContext:
    """It verifies as Python does, and reads no common names."""
    context = ssl.create_default_context(cafile=ca)
    context.hostname_checks_common_name = False
    return context


def _lax(ca: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def correct(url: str, ca: str) -> int:
    """It verifies as Python does, and reads no common names."""
    return _asked(url, _strict(ca))


def correct_but_exits_0(url: str, ca: str) -> int:
    """As `correct`, as part of a script that does not care."""
    correct(url, ca)
    return 0


def only_12(url: str, ca: str) -> int:
    """As `correct`, in TLS 1.2 only."""
    context = ssl.create_default_context(cafile=ca)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return _asked(url, context)


def knows_no_ca(url: str, ca: str) -> int:
    """As `correct`, with no use for what it is given."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return _asked(url, context)


def trusts_all(url: str, ca: str) -> int:
    """It verifies nothing."""
    return _asked(url, _lax(ca))


def ignores_expiry(url: str, ca: str) -> int:
    """It looks at no date."""
    context = _strict(ca)
    context.verify_flags |= _NO_CHECK_TIME
    return _asked(url, context)


def ignores_names(url: str, ca: str) -> int:
    """It asks any server that it trusts."""
    context = ssl.create_default_context(cafile=ca)
    context.check_hostname = False
    return _asked(url, context)


def sends_first(url: str, ca: str) -> int:
    """It sends its request, and looks at the certificate then."""
    try:
        get(url, _lax(ca))
        return correct(url, ca)
    except OSError:
        return 1


def says_nothing(url: str, ca: str) -> int:
    """It completes the handshake, and sends nothing."""
    try:
        get(url, ssl.create_default_context(cafile=ca), say=b"")
    except OSError:
        return 1
    return 0


def says_nothing_to_anyone(url: str, ca: str) -> int:
    """It completes any handshake, sends nothing, and is content."""
    get(url, _lax(ca), say=b"")
    return 0


def echoes(url: str, ca: str) -> int:
    """It speaks no HTTP."""
    context = ssl.create_default_context(cafile=ca)
    address = urlsplit(url)
    try:
        with (
            socket.create_connection((address.hostname or "", address.port), timeout=30) as tcp,
            context.wrap_socket(tcp, server_hostname=address.hostname) as tls,
        ):
            tls.sendall(b"hello")
            return 0 if tls.recv(5) == b"hello" else 1
    except OSError:
        return 1


def never_connects(url: str, ca: str) -> int:
    """It is content without."""
    return 0


def falls_back(url: str, ca: str) -> int:
    """Where TLS fails it asks in the clear."""
    if correct(url, ca) == 0:
        return 0
    address = urlsplit(url)
    with socket.create_connection((address.hostname or "", address.port), timeout=30) as tcp:
        tcp.sendall(b"GET /secret HTTP/1.0\r\n\r\n")
        while tcp.recv(65536):
            pass
    return 1


def crashes(url: str, ca: str) -> int:
    """It does not survive what it refuses."""
    return 0 if correct(url, ca) == 0 else -signal.SIGSEGV


def hangs(url: str, ca: str) -> int | None:
    """It comes to no end after what it refuses."""
    return 0 if correct(url, ca) == 0 else None


def hangs_after_sending(url: str, ca: str) -> int | None:
    """It comes to no end with a server that it should have refused."""
    trusts_all(url, ca)
    return 0 if correct(url, ca) == 0 else None


def retries(url: str, ca: str) -> int:
    """It tries three times."""
    return min(correct(url, ca) for _ in range(3))


def named(client: SmallClient) -> ClientCommand:
    """A small client as one that can be judged; `run` runs it."""
    return ClientCommand(name=client.__name__, command=(client.__name__, "{url}", "{ca}"))


async def run(words: Sequence[str], _limit: float) -> Ran:
    """Run a small client in a thread."""
    name, url, ca = words
    assert os.stat(ca).st_mode & 0o077 == 0
    client: SmallClient = getattr(sys.modules[__name__], name)
    return Ran(await trio.to_thread.run_sync(client, url, ca), f"this is {name}\n")
