"""One request by a library, named first, to a URL with a file of trust anchors; 1 if it fails."""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from urllib.parse import urlsplit


def by_ssl(url: str, ca: str) -> None:
    """Python's own TLS, as its documentation says to use it."""
    address = urlsplit(url)
    context = ssl.create_default_context(cafile=ca)
    host, port = address.hostname or "", address.port or 443
    with (
        socket.create_connection((host, port), timeout=8) as tcp,
        context.wrap_socket(tcp, server_hostname=host) as connection,
    ):
        connection.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while received := connection.recv(65536):
            answer += received
    head, _, body = answer.partition(b"\r\n\r\n")
    sizes = [
        line[15:] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")
    ]
    if not head.startswith(b"HTTP/1.1 2") or (sizes and int(sizes[0]) != len(body)):
        raise EOFError("no whole answer")


def by_requests(url: str, ca: str) -> None:
    """requests."""
    import requests

    requests.get(url, verify=ca, timeout=8).raise_for_status()


def by_httpx(url: str, ca: str) -> None:
    """httpx."""
    import httpx

    context = ssl.create_default_context(cafile=ca)
    httpx.get(url, verify=context, timeout=8).raise_for_status()


def by_aiohttp(url: str, ca: str) -> None:
    """aiohttp."""
    import aiohttp

    async def get() -> None:
        context = ssl.create_default_context(cafile=ca)
        timeout = aiohttp.ClientTimeout(total=8)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(url, ssl=context, raise_for_status=True) as response,
        ):
            await response.read()

    asyncio.run(get())


if __name__ == "__main__":
    library, url, ca = sys.argv[1:]
    try:
        globals()[f"by_{library}"](url, ca)
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}")
