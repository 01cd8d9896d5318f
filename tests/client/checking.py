"""A check of a server that behaves as a test says."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable

from mtls_echo_client.check import check
from mtls_echo_client.http import HTTPRequest
from mtls_echo_tls.diagnosis.report import Report
from tests.client.sessions import alice
from tests.support.clients import (
    Behaviour,
    World,
    accepted,
    drain,
    serving,
)
from tests.support.timing import TIMEOUT


async def report_of(
    world: World,
    behaviour: Behaviour,
    *,
    version: str = "1.3",
    verify: ssl.VerifyMode = ssl.CERT_REQUIRED,
    context: ssl.SSLContext | None = None,
    http: str | HTTPRequest | None = None,
    wait: float = TIMEOUT,
    timeout: float = TIMEOUT,  # noqa: ASYNC109  handed on to check()
) -> Report:
    context = context or alice(world)
    with serving(behaviour, world.server_context(version, verify=verify)) as port:
        return await check("localhost", port, context, http=http, wait=wait, timeout=timeout)


def facts(report: Report) -> dict[str, str]:
    return {fact.fact: fact.value for fact in report.evidence}


def silent(connection: socket.socket, context: ssl.SSLContext) -> None:
    with accepted(connection, context) as tls:
        drain(tls)


def falling_silent(
    time_flies: Callable[[], object], *said: bytes, asked: bool = False
) -> Behaviour:
    """A server that completes the handshake, says this, if ``asked`` in answer, and no more."""

    def behave(connection: socket.socket, context: ssl.SSLContext) -> None:
        with accepted(connection, context) as tls:
            if asked:
                tls.recv(16_384)
            for piece in said:
                tls.sendall(piece)
            time_flies()
            drain(tls)

    return behave


def page(status: str, text: str = "", *fields: str) -> bytes:
    body = f"<html><head><style>p {{}}</style></head><body><h1>{text}</h1></body></html>"
    header = [f"HTTP/1.1 {status}", *fields, f"Content-Length: {len(body)}", "", ""]
    return ("\r\n".join(header) + body).encode()
