"""Servers that speak HTTP/2 only: they are asked in it, and their answers are verdicts."""

from __future__ import annotations

import ssl
from collections.abc import Callable

import pytest

from mtls_echo.probing.result import ALL_REFUSED, SOME_UNCLEAR, Result
from mtls_echo_client.http2 import read_status
from mtls_echo_tls.stream.tls import TLSStream
from tests.cli.probing.servers import FEW, Serve, context, probed, serving, verdicts

pytestmark = pytest.mark.real_time

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = bytes.fromhex("000000 04 00 00000000")
PING = bytes.fromhex("000008 06 00 00000000") + b"are you?"


def answer(block: str, body: bytes = b"") -> bytes:
    """A header in RFC 7541's form and a body, each of them in one frame of stream 1."""
    header = bytes.fromhex(block)
    return (
        len(header).to_bytes(3)
        + bytes.fromhex("01 04 00000001")
        + header
        + len(body).to_bytes(3)
        + bytes.fromhex("00 01 00000001")
        + body
    )


HELLO = answer("88", b"hello")
FORBIDDEN = answer("08 03 343033", b"no")
RESET = bytes.fromhex("000004 03 00 00000001 00000002")
AT_ANOTHER_TIME = bytes.fromhex("000008 07 00 00000000 00000000 0000000b")


def http_2(
    said: Callable[[str | None], bytes], heard: list[bytes] | None = None
) -> tuple[ssl.SSLContext, Serve]:
    """A server of HTTP/2 only, that closes where no protocol is agreed on."""
    tls = context(ssl.CERT_OPTIONAL)
    tls.set_alpn_protocols(["h2"])

    async def serve(stream: TLSStream, name: str | None, number: int) -> None:
        if stream.evidence.alpn != "h2":
            return
        received = b""
        while len(received) < len(PREFACE) + len(SETTINGS) + 9:
            received += await stream.receive_some()
        assert received.startswith(PREFACE + SETTINGS)
        if heard is not None:
            heard.append(received)
        await stream.send_all(SETTINGS + PING + said(name))
        while await stream.receive_some():
            pass

    return tls, serve


async def asked(said: Callable[[str | None], bytes], *only: str) -> Result:
    async with serving(*http_2(said)) as port:
        return await probed(port, only=only or FEW)


async def test_it_is_asked_in_http_2_and_its_answer_is_the_verdict() -> None:
    to_all = await asked(lambda name: HELLO)
    right = await asked(lambda name: HELLO if name else FORBIDDEN)

    assert to_all.mode == "http"
    assert {each.how for each in to_all.baseline} == {"HTTP/2 200"}
    assert verdicts(to_all)["none"] == {"admitted"}
    assert verdicts(right)["none"] == {"refused late"}
    assert right.exit_status() == ALL_REFUSED


async def test_a_request_that_is_reset_is_refused_and_one_of_too_many_is_not() -> None:
    reset = await asked(lambda name: HELLO if name else RESET, "none")
    often = await asked(lambda name: HELLO if name else AT_ANOTHER_TIME, "none")

    assert verdicts(reset)["none"] <= {"refused", "refused late"}
    assert verdicts(often)["none"] == {"unclear"}


async def test_where_it_answers_no_get_a_handshake_is_no_proof() -> None:
    """As a server of gRPC is, which refuses in its answer, if it does not in TLS."""
    result = await asked(lambda name: RESET)

    assert result.mode == "handshake"
    assert verdicts(result) == {
        "none": {"unclear"},
        "unknown-authority": {"refused"},
        "expired": {"refused"},
    }
    assert result.exit_status() == SOME_UNCLEAR


async def test_the_request_has_the_host_as_its_authority() -> None:
    heard = list[bytes]()
    async with serving(*http_2(lambda name: HELLO, heard)) as port:
        await probed(port, only=("none",), versions=("1.3",))

    named = f"localhost:{port}".encode()
    assert all(b"\0\x0a:authority" + bytes((len(named),)) + named in request for request in heard)


@pytest.mark.parametrize(
    ("block", "status"),
    [
        ("88", 200),
        ("8e 00 01 61", 500),
        ("3f e1 1f 20 8c", 400),  # the table's size is changed first, twice
        ("48 82 6402", 302),  # in Huffman's code
        ("08 83 680cff", 403),
        ("18 03 343239", 429),
        ("40 07 3a737461747573 03 323030", 599),  # as a name that is not in the table
        ("08 82 ffff", 599),
        ("", 599),
    ],
)
def test_a_status_is_read_in_every_form_that_it_has(block: str, status: int) -> None:
    assert read_status(bytes.fromhex(block)) == status
