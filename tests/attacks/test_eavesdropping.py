"""Claim: an eavesdropper on the path reads nothing of what client and server tell each other.

In TLS 1.2 and 1.3, in both directions, however long it listens: no part of a message is on the
wire. What it does see is said too: that these two hosts speak, when and how much; the name that
the client asks for; and in TLS 1.2 both certificates. Without TLS it reads everything.

Noticed by neither end: nothing is altered.
"""

from __future__ import annotations

import ssl
from functools import partial

import trio
from cryptography.hazmat.primitives.serialization import Encoding

from mtls_echo.attacks.relay import Relay
from tests.attacks.world import (
    ALICE,
    CANARY,
    LOCALHOST,
    V12,
    attacked,
    both_versions,
    client_of,
)

# Of a canary of 32 bytes, any 8 would be found; by chance they turn up once in 2**40 such runs.
PART = 8


def found_in(wire: bytes, secret: bytes) -> list[bytes]:
    parts = (secret[start : start + PART] for start in range(len(secret) - PART + 1))
    return [part for part in parts if part in wire]


@both_versions
async def test_with_tls_no_part_of_a_message_is_on_the_wire(version: ssl.TLSVersion) -> None:
    async with attacked(version) as path:
        connection = await path.converse(client_of(version), messages=[CANARY, CANARY * 100])

    assert connection.verdicts == ("echoed", "echoed")
    assert connection.echoed == 101 * len(CANARY)
    for side in ("client", "server"):
        sent = connection.tap.sent_by(side)
        assert sum(len(record.data) for record in sent) > 101 * len(CANARY)
        assert all(record.is_tls for record in sent)
    assert found_in(connection.tap.everything, CANARY) == []


async def test_without_tls_all_of_it_is_in_both_directions() -> None:
    async def echo(stream: trio.SocketStream) -> None:
        async for data in stream:
            await stream.send_all(data)

    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, echo, 0, host="127.0.0.1"))
        relay = Relay(listener.socket.getsockname()[1])
        await nursery.start(relay.run)
        async with await trio.open_tcp_stream("127.0.0.1", relay.port) as stream:
            await stream.send_all(CANARY)
            assert await stream.receive_some() == CANARY
        nursery.cancel_scope.cancel()

    assert [record.data for record in relay.taps[0].sent_by("client")] == [CANARY]
    assert [record.data for record in relay.taps[0].sent_by("server")] == [CANARY]


@both_versions
async def test_what_can_be_seen_is_who_connects_and_in_tls12_the_certificates(
    version: ssl.TLSVersion,
) -> None:
    async with attacked(version) as path:
        connection = await path.converse(client_of(version))
    wire = connection.tap.everything

    assert b"localhost" in wire
    for credential in (ALICE, LOCALHOST):
        shown = credential.certificate.public_bytes(Encoding.DER) in wire
        assert shown is (version is V12)
