"""Servers to probe, in this process: each does with its clients what a test says."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Container
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import trio

from mtls_echo.probing.issuer import IdentityFactory
from mtls_echo.probing.result import ProbeRow, Result
from mtls_echo.probing.run import run
from mtls_echo.probing.target import ProbeTarget
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import Request
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.stream.tls import TLSStream
from tests.support.authorities import CLIENTS, SERVERS

SERVER = SERVERS.issue(Request.server("localhost", "127.0.0.1"))
GOOD = CLIENTS.issue(Request.client("client.test", subject="client"))

# What is left out keeps a probe of both versions within some fifty connections.
FEW = ("none", "unknown-authority", "expired")

# Of a client: its name (None: it has no certificate), and how many came before it.
Serve = Callable[[TLSStream, str | None, int], Awaitable[None]]


def context(
    verify: ssl.VerifyMode = ssl.CERT_REQUIRED, *, credential: Credential = SERVER
) -> ssl.SSLContext:
    """A server's, by nothing but the standard library's means."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.num_tickets = 0
    credential.load_into(made)
    made.verify_mode = verify
    if verify != ssl.CERT_NONE:
        CLIENTS.trust.load_into(made)
    return made


def http(answer: Callable[[str, str | None, int], str]) -> Serve:
    """A server in HTTP; ``answer`` is given the head of the request."""

    async def serve(stream: TLSStream, name: str | None, number: int) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            data = await stream.receive_some()
            if not data:
                return
            head += data
        await stream.send_all(answer(head.decode(), name, number).encode())

    return serve


def page(text: str, status: str = "200 OK", *more: str) -> str:
    """A whole response."""
    head = "".join(f"{line}\r\n" for line in more)
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(text)}\r\n{head}\r\n{text}"


def hello(_: str, name: str | None, number: int) -> str:
    """The same to every client."""
    return page("hello")


@asynccontextmanager
async def serving(
    tls: ssl.SSLContext,
    serve: Serve,
    *,
    plaintext: bytes | None = None,
    turns_away: Container[int] = (),
) -> AsyncGenerator[int]:
    """The port of a server.

    Args:
        plaintext: What it says in place of TLS.
        turns_away: The numbers of the connections that it closes at once.
    """
    clients = 0

    async def handle(accepted: trio.SocketStream) -> None:
        nonlocal clients
        clients += 1
        number = clients
        if plaintext is not None or number in turns_away:
            await accepted.send_all(plaintext or b"")
            await accepted.aclose()
            return
        stream = TLSStream(accepted, tls, server_side=True)
        try:
            await stream.do_handshake()
            chain = stream.evidence.peer_chain
            name = stream.peer.common_name if chain and stream.peer is not None else None
            await serve(stream, name, number)
        except (TLSFailure, trio.BrokenResourceError):
            pass
        finally:
            await stream.aclose()

    async with listening(handle) as port:
        yield port


@asynccontextmanager
async def listening(handle: Callable[[trio.SocketStream], Awaitable[None]]) -> AsyncGenerator[int]:
    """The port of a server of any kind."""
    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, handle, 0, host="127.0.0.1"))
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def probed(port: int, *, only: tuple[str, ...] = FEW, **target: Any) -> Result:
    """The result for a server that our CA issued."""
    usual: dict[str, Any] = {"repeat": 2, "server_names": ("localhost",)}
    usual |= {"timeout": 60.0, "wait": 0.05}
    where = ProbeTarget(host="127.0.0.1", port=port, trust=SERVERS.trust, **(usual | target))
    issuer = IdentityFactory(good=GOOD, clients=CLIENTS, servers=SERVERS)
    return await run(where, issuer, only=only, pace=1000)


def verdicts(result: Result) -> dict[str, set[str]]:
    """The verdicts on each case, over all versions."""
    found: dict[str, set[str]] = {}
    for row in result.rows:
        found.setdefault(row.slug, set()).add(row.verdict)
    return found


def only_row(result: Result, slug: str) -> ProbeRow:
    """The first row of a case."""
    return next(row for row in result.rows if row.slug == slug)
