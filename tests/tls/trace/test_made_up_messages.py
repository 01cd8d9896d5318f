"""Messages that no real peer sends are decoded without an error."""

from __future__ import annotations

import json
import ssl
import zlib
from functools import partial

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtls_echo_tls.stream.tcp import TCPStream
from mtls_echo_tls.stream.tls import TLSStream
from mtls_echo_tls.trace.decoding import Decoder, decoded, entries
from mtls_echo_tls.trace.messages import (
    ALERT,
    HANDSHAKE,
    Message,
    certificates_in,
    decompressed,
    selects_tls13,
)
from mtls_echo_tls.trace.recorder import Recorder
from tests.support import timing
from tests.support.tls import LOCALHOST, V12, V13, client_side, reports, server_side, tcp_pair


def message(body: bytes, kind: int = HANDSHAKE, version: int = V13) -> Message:
    return Message(0.0, "received", kind, body, protected=False, version=version)


def handshake(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + len(body).to_bytes(3) + body


def compressed(body: bytes, *, algorithm: int = 1, announced: int | None = None) -> Message:
    data = zlib.compress(body)
    size = len(body) if announced is None else announced
    head = algorithm.to_bytes(2) + size.to_bytes(3) + len(data).to_bytes(3)
    return message(handshake(25, head + data))


DER = LOCALHOST.chain_der[0]

ENTRY = len(DER).to_bytes(3) + DER + b"\0\0"

CERTIFICATE = b"\0" + len(ENTRY).to_bytes(3) + ENTRY


def test_a_compressed_certificate_is_inflated() -> None:
    certificate = compressed(CERTIFICATE)
    assert certificates_in(certificate) == (DER,)
    [entry] = decoded([certificate])
    assert entry.name == "CompressedCertificate"
    assert entry.fields["compression"] == "zlib"
    assert entry.fields["certificates"][0]["names"] == ["localhost"]


@pytest.mark.parametrize(
    "hostile",
    [
        pytest.param(compressed(bytes(200_000), announced=10), id="more than announced"),
        pytest.param(compressed(bytes(10), announced=200_000), id="less than announced"),
        pytest.param(compressed(bytes(10_000_000)), id="more than a peer may send"),
        pytest.param(compressed(CERTIFICATE, algorithm=2), id="brotli"),
        pytest.param(message(handshake(25, b"\0\1\0\0\5\0\0\3abc")), id="not zlib"),
        pytest.param(message(handshake(25, b"\0")), id="cut off"),
    ],
)
def test_a_compressed_certificate_is_inflated_within_bounds(hostile: Message) -> None:
    assert decompressed(hostile.body) == b""
    assert "certificates" not in decoded([hostile])[0].fields


def test_a_certificate_that_cannot_be_read_is_shown_by_its_size() -> None:
    entry = b"\0\0\3abc\0\0"
    [shown] = decoded([message(handshake(11, b"\0" + len(entry).to_bytes(3) + entry))])
    assert shown.fields == {"certificates": [{"unreadable": 3}]}


def test_a_finite_field_group_is_shown_by_its_size() -> None:
    hello = b"\3\3" + bytes(32) + b"\0" + b"\x00\x9e" + b"\0"
    exchange = b"\1\0" + b"\xff" * 256 + b"\0\1\2" + b"\1\0" + bytes(256) + b"\4\1"
    _, shown = decoded(
        [message(handshake(2, hello), version=V12), message(handshake(12, exchange), version=V12)]
    )
    assert shown.fields["group"] == "Diffie-Hellman, 2048 bits"
    assert shown.fields["signature_algorithm"] == "rsa_pkcs1_sha256"


def test_a_list_is_cut_and_says_how_much() -> None:
    suites = b"\x13\x01" * 1000
    hello = b"\3\3" + bytes(32) + b"\0" + len(suites).to_bytes(2) + suites + b"\1\0"
    [shown] = decoded([message(handshake(1, hello))])
    assert len(shown.fields["cipher_suites"]) == 64
    assert shown.fields["cipher_suites"][-1] == "and 937 more"


def test_what_ends_too_early_says_so_and_keeps_the_rest() -> None:
    [shown] = decoded([message(handshake(4, b"\0\0\x1c\x20\0"))])
    assert shown.fields == {"lifetime": 7200, "malformed": True}


async def _collect(version: ssl.TLSVersion) -> list[Message]:
    one, other = tcp_pair()
    client, server = client_side(version), server_side(version)
    client.set_alpn_protocols(["h2"])
    server.set_alpn_protocols(["h2"])
    stream = TLSStream(TCPStream(one), client, server_name="localhost", trace=True)
    await reports(stream, TLSStream(TCPStream(other), server, server_side=True, trace=True))
    return stream.evidence.recorder.messages


REAL = [m for version in (V12, V13) for m in timing.run(partial(_collect, version))]
REAL += [compressed(CERTIFICATE), message(handshake(4, bytes(20))), message(b"\2\x30", ALERT)]


@given(
    st.sampled_from(REAL),
    st.integers(0, 600),
    st.binary(max_size=8),
    st.booleans(),
    st.sampled_from([V12, V13]),
)
def test_a_real_message_that_was_tampered_with_is_decoded_without_an_error(
    real: Message, at: int, noise: bytes, cut: bool, version: int
) -> None:
    body = real.body[:at] + noise + (b"" if cut else real.body[at + len(noise) :])
    shown = decoded([*REAL, message(body, real.content_type, version)])[-1]
    assert len(json.dumps(shown.fields)) < 100_000
    assert isinstance(msgspec.json.encode(shown), bytes)


@given(st.integers(0, 255), st.binary(max_size=300), st.sampled_from([V12, V13]))
def test_any_bytes_are_decoded_without_an_error(kind: int, body: bytes, version: int) -> None:
    decoder = Decoder()
    for hello in REAL[:2]:
        decoder.fields(hello)
    assert isinstance(decoder.fields(message(handshake(kind, body), version=version)), dict)
    assert isinstance(decoder.fields(message(body, ALERT)), dict)
    assert isinstance(selects_tls13(body), bool)


def test_what_was_left_out_is_counted_where_it_began() -> None:
    recorder = Recorder()
    for _ in range(50):
        recorder.record("read", V13, HANDSHAKE, b"\x18\0\0\1\1")
    recorder.record("write", V13, ALERT, b"\2\x0a")
    shown = entries(recorder)
    assert [entry.name for entry in shown[-2:]] == ["left out", "Alert"]
    assert shown[-2].fields == {"messages": 10}
    assert shown[-2].size == 50
