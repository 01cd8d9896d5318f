"""One request by a library: LIBRARY URL CA, or LIBRARY URL CA CERT KEY; 1 if it fails.

If CA has CRLs in it, revocation is checked.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from pathlib import Path
from urllib.parse import urlsplit


def context(ca: str, *own: str) -> ssl.SSLContext:
    """As Python's documentation says to make one."""
    made = ssl.create_default_context(cafile=ca)
    if own:
        made.load_cert_chain(*own)
    if "X509 CRL" in Path(ca).read_text():
        made.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN
    return made


def by_ssl(url: str, ca: str, *own: str) -> None:
    """Python's own TLS."""
    address = urlsplit(url)
    host, port = address.hostname or "", address.port or 443
    with (
        socket.create_connection((host, port), timeout=8) as tcp,
        context(ca, *own).wrap_socket(tcp, server_hostname=host) as connection,
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


def by_requests(url: str, ca: str, *own: str) -> None:
    """requests."""
    import requests

    cert = (own[0], own[1]) if own else None
    requests.get(url, verify=ca, cert=cert, timeout=8).raise_for_status()


def by_httpx(url: str, ca: str, *own: str) -> None:
    """httpx."""
    import httpx

    httpx.get(url, verify=context(ca, *own), timeout=8).raise_for_status()


def by_aiohttp(url: str, ca: str, *own: str) -> None:
    """aiohttp."""
    import aiohttp

    async def get() -> None:
        timeout = aiohttp.ClientTimeout(total=8)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.get(url, ssl=context(ca, *own), raise_for_status=True) as response,
        ):
            await response.read()

    asyncio.run(get())


if __name__ == "__main__":
    library, *arguments = sys.argv[1:]
    try:
        globals()[f"by_{library}"](*arguments)
    except Exception as error:
        sys.exit(f"{type(error).__name__}: {error}")
