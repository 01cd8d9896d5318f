"""Servers that speak HTTP/2 only: they are asked in it, and their answers are verdicts."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import RequestReceived

from mtls_echo.probing.result import ALL_REFUSED, SOME_UNCLEAR, Result
from mtls_echo_tls.stream.tls import TLSStream
from tests.cli.probing.servers import FEW, Serve, context, probed, serving, verdicts

pytestmark = pytest.mark.real_time

# What a server does with a request.
Reply: TypeAlias = Callable[[H2Connection], None]


def page(connection: H2Connection, status: str, body: bytes, **header: str) -> None:
    connection.send_headers(1, [(":status", status), *header.items()])
    connection.send_data(1, body, end_stream=True)


HELLO = partial(page, status="200", body=b"hello")
FORBIDDEN = partial(page, status="403", body=b"no")
REQUEST = [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", "/")]
LOGIN = partial(page, status="302", body=b"", location="https://login.test/sign-in")


def reset(connection: H2Connection) -> None:
    connection.reset_stream(1, ErrorCodes.INTERNAL_ERROR)


def going_away(connection: H2Connection) -> None:
    connection.close_connection(ErrorCodes.NO_ERROR)


def at_another_time(connection: H2Connection) -> None:
    connection.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)


def http_2(
    said: Callable[[str | None], Reply], heard: list[dict[bytes, bytes]] | None = None
) -> tuple[ssl.SSLContext, Serve]:
    """A server of HTTP/2 only, that closes where no protocol is agreed on."""
    tls = context(ssl.CERT_OPTIONAL)
    tls.set_alpn_protocols(["h2"])

    async def serve(stream: TLSStream, name: str | None, number: int) -> None:
        if stream.evidence.alpn != "h2":
            return
        connection = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        connection.initiate_connection()
        connection.ping(b"are you?")
        while data := await stream.receive_some():
            for event in connection.receive_data(data):
                if isinstance(event, RequestReceived):
                    if heard is not None:
                        heard.append({bytes(k): bytes(v) for k, v in event.headers or ()})
                    said(name)(connection)
            await stream.send_all(connection.data_to_send())

    return tls, serve


async def asked(said: Callable[[str | None], Reply], *only: str) -> Result:
    async with serving(*http_2(said)) as port:
        return await probed(port, only=only or FEW)


async def test_it_is_asked_in_http_2_and_its_answer_is_the_verdict() -> None:
    to_all = await asked(lambda name: HELLO)
    right = await asked(lambda name: HELLO if name else FORBIDDEN)

    assert (to_all.mode, to_all.protocols) == ("http", ("h2", "http/1.1"))
    assert {each.how for each in to_all.baseline} == {"HTTP/2 200"}
    assert verdicts(to_all)["none"] == {"admitted"}
    assert verdicts(right)["none"] == {"refused late"}
    assert right.exit_status() == ALL_REFUSED


async def test_a_request_that_is_not_answered_is_no_verdict() -> None:
    ended = await asked(lambda name: HELLO if name else reset, "none")
    often = await asked(lambda name: HELLO if name else at_another_time, "none")

    leaving = await asked(lambda name: HELLO if name else going_away, "none")

    # Each of them a server may do to anyone.
    assert verdicts(ended)["none"] == verdicts(often)["none"] == {"unclear"}
    assert verdicts(leaving)["none"] == {"unclear"}


async def test_what_a_server_pushes_is_no_answer() -> None:
    def pushing(connection: H2Connection) -> None:
        """Offer a page of another stream first, although that was declined (RFC 9113 §8.4)."""
        connection.remote_settings.enable_push = 1
        connection.push_stream(1, 2, REQUEST)
        connection.send_headers(2, [(":status", "200")], end_stream=True)
        FORBIDDEN(connection)

    result = await asked(lambda name: HELLO if name else pushing, "none")

    assert verdicts(result)["none"] <= {"refused late", "unclear"}


async def test_a_status_that_is_none_is_no_verdict() -> None:
    odd = partial(page, status="2" * 5_000, body=b"")
    result = await asked(lambda name: HELLO if name else odd, "none")

    assert verdicts(result)["none"] == {"unclear"}


async def test_a_way_to_a_login_is_a_refusal_there_too() -> None:
    result = await asked(lambda name: HELLO if name else LOGIN, "none")

    assert verdicts(result)["none"] == {"refused late"}


@pytest.mark.parametrize(
    ("said", "verdict"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "refused late"),
        (b"\xff" * 100, "unclear"),
        (b"\0\0\0\4\0\0\0\0\0" + b"\xff" * 300_000, "unclear"),
    ],
)
async def test_what_is_not_http_2_is_said_for_what_it_is(said: bytes, verdict: str) -> None:
    tls, serve = http_2(lambda name: HELLO)

    async def broken(stream: TLSStream, name: str | None, number: int) -> None:
        if name is not None:
            await serve(stream, name, number)
        elif stream.evidence.alpn == "h2":
            await stream.send_all(said)
            while await stream.receive_some():
                pass

    async with serving(tls, broken) as port:
        result = await probed(port, only=("none",))

    assert verdicts(result)["none"] == {verdict}


async def test_where_it_answers_no_get_a_handshake_is_no_proof() -> None:
    """As a server of gRPC is, which refuses in its answer, if it does not in TLS."""
    result = await asked(lambda name: reset)

    assert result.mode == "handshake"
    assert verdicts(result) == {
        "none": {"unclear"},
        "unknown-authority": {"refused"},
        "expired": {"refused"},
    }
    assert result.exit_status() == SOME_UNCLEAR


async def test_the_request_has_the_host_as_its_authority() -> None:
    heard = list[dict[bytes, bytes]]()
    async with serving(*http_2(lambda name: HELLO, heard)) as port:
        await probed(port, only=("none",), versions=("1.3",))

    assert {request[b":authority"] for request in heard} == {f"localhost:{port}".encode()}
