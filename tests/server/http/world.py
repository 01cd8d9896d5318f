"""A server with a face for HTTP, and clients that speak it over TLS."""

from __future__ import annotations

import contextlib
import json
import ssl
from collections.abc import AsyncGenerator
from typing import Any

import pytest
import trio

from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_server.context import ClientAuth
from mtls_echo_server.http.face import Face, offer_http
from mtls_echo_tls.stream.tls import TLSStream
from tests.support.servers import Authorities, Running, limits, running


@pytest.fixture(scope="module")
def pki() -> Authorities:
    return Authorities()


@contextlib.asynccontextmanager
async def faced(
    pki: Authorities, client_auth: ClientAuth = ClientAuth.REQUIRED, **options: Any
) -> AsyncGenerator[Running, None]:
    """A server that answers HTTP beside its echo."""
    context, face = pki.server_context(client_auth), Face()
    offer_http(context)
    options.setdefault("limits", limits())
    async with running(
        context, face.handle, deny=face.deny, keep_recording=True, **options
    ) as here:
        yield here


def client(
    pki: Authorities,
    credential: Credential | None = None,
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    *,
    alpn: tuple[str, ...] = ("h2", "http/1.1"),
) -> ssl.SSLContext:
    context = pki.client_context(credential or pki.alice, version)
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


class Answer:
    """A response, taken apart."""

    def __init__(self, head: bytes, body: bytes) -> None:
        line, *fields = head.decode().split("\r\n")
        self.status = int(line.split()[1])
        self.headers = {name.lower(): value for name, value in (f.split(": ", 1) for f in fields)}
        self.body = body

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def request(target: str, *fields: str, method: str = "GET", body: bytes = b"") -> bytes:
    length = [f"Content-Length: {len(body)}"] if body else []
    head = [f"{method} {target} HTTP/1.1", "Host: localhost", *fields, *length]
    return "\r\n".join([*head, "", ""]).encode() + body


async def ask(stream: trio.abc.Stream, target: str, *fields: str, **more: Any) -> Answer:
    """One request, and its answer."""
    await stream.send_all(request(target, *fields, **more))
    return await answer(stream)


async def answer(stream: trio.abc.Stream) -> Answer:
    received = b""
    while b"\r\n\r\n" not in received:
        chunk = await stream.receive_some()
        assert chunk, received
        received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    found = Answer(head, b"")
    while len(body) < int(found.headers.get("content-length", "0")):
        chunk = await stream.receive_some()
        assert chunk, (head, body)
        body += chunk
    return Answer(head, bytes(body))


async def leave(stream: TLSStream) -> None:
    """Go without a close_notify, as many clients of HTTP do."""
    await stream.transport.aclose()
