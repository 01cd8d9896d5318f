"""Recordings of handshakes, and a real ClientHello."""

from __future__ import annotations

import ssl

import pytest

from mtls_echo_tls.stream.tcp import TCPStream
from mtls_echo_tls.stream.tls import TLSStream
from tests.support.tls import client_side, handshake, server_side, tcp_pair


async def traced(version: ssl.TLSVersion) -> tuple[TLSStream, TLSStream]:
    one, other = tcp_pair()
    pair = (
        TLSStream(TCPStream(one), client_side(version), server_name="localhost", trace=True),
        TLSStream(TCPStream(other), server_side(version), server_side=True, trace=True),
    )
    await handshake(*pair)
    return pair


def real_hello() -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    connection = client_side().wrap_bio(incoming, outgoing, server_hostname="sni.test")
    with pytest.raises(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read()[5:]


HELLO = real_hello()
