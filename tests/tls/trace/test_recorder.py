"""A recording of a handshake, with the callback of the interpreter and without."""

from __future__ import annotations

import itertools
import os
import signal
import ssl
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.stream.tcp import TCPStream
from mtls_echo_tls.stream.tls import TLSStream
from mtls_echo_tls.trace import recorder as trace
from mtls_echo_tls.trace.cleartext import CleartextRecorder
from mtls_echo_tls.trace.recorder import Recorder
from tests.support import timing
from tests.support.tls import (
    ALICE,
    LOCALHOST,
    V12,
    V13,
    both_versions,
    client_side,
    connected,
    handshake,
    s_client,
    server_side,
    tls_pair,
)
from tests.tls.trace.recordings import HELLO, traced


def recorded(stream: TLSStream) -> list[tuple[str, str, bool]]:
    return [
        (message.direction, message.name, message.protected)
        for message in stream.evidence.recorder.messages
    ]


TLS12 = [
    ("sent", "ClientHello", False),
    ("received", "ServerHello", False),
    ("received", "Certificate", False),
    ("received", "ServerKeyExchange", False),
    ("received", "CertificateRequest", False),
    ("received", "ServerHelloDone", False),
    ("sent", "Certificate", False),
    ("sent", "ClientKeyExchange", False),
    ("sent", "CertificateVerify", False),
    ("sent", "ChangeCipherSpec", False),
    ("sent", "Finished", True),
    ("received", "ChangeCipherSpec", False),
    ("received", "Finished", True),
]

TLS13 = [
    ("sent", "ClientHello", False),
    ("received", "ServerHello", False),
    ("received", "ChangeCipherSpec", False),
    ("received", "EncryptedExtensions", True),
    ("received", "CertificateRequest", True),
    ("received", "Certificate", True),
    ("received", "CertificateVerify", True),
    ("received", "Finished", True),
    ("sent", "ChangeCipherSpec", False),
    ("sent", "Certificate", True),
    ("sent", "CertificateVerify", True),
    ("sent", "Finished", True),
]


@pytest.mark.parametrize(("version", "messages"), [(V12, TLS12), (V13, TLS13)], ids=["1.2", "1.3"])
async def test_a_client_tells_the_handshake_in_the_order_of_the_rfc(
    version: ssl.TLSVersion, messages: list[tuple[str, str, bool]]
) -> None:
    one, other = await traced(version)
    assert recorded(one) == messages
    mirrored = {"sent": "received", "received": "sent"}
    assert recorded(other) == [
        (mirrored[direction], name, protected) for direction, name, protected in messages
    ]
    for stream in (one, other):
        assert not stream.evidence.recorder.omitted
        assert all(message.size > 0 for message in stream.evidence.recorder.messages)
        await trio.aclose_forcefully(stream)


@both_versions
async def test_both_sides_tell_the_same_random_chains_and_name(version: ssl.TLSVersion) -> None:
    async with connected(version) as (one, other):
        client, server = one.evidence, other.evidence
        assert client.client_random == server.client_random
        assert client.client_random is not None
        assert len(client.client_random) == 64
        assert client.own_chain == server.peer_chain == tuple(ALICE.chain_der)
        assert server.own_chain == client.peer_chain == tuple(LOCALHOST.chain_der)
        assert client.server_name == server.server_name == "localhost"
        assert client.certificate_requested
        assert server.certificate_requested
        assert client.hello_answered
        assert server.hello_answered


async def test_a_hello_retry_request_is_shown_by_its_name() -> None:
    # The client's share is of a group that the server does not have.
    context = server_side(V13, clients=None)
    context.set_ecdh_curve("secp384r1")
    async with s_client("-groups", "X25519:P-384") as (sock, _):
        stream = TLSStream(TCPStream(sock), context, server_side=True, trace=True)
        await stream.do_handshake()
        await trio.aclose_forcefully(stream)
    names = [name for _, name, _ in recorded(stream) if name != "ChangeCipherSpec"]
    assert names[:4] == ["ClientHello", "HelloRetryRequest", "ClientHello", "ServerHello"]
    hellos = [m for m in stream.evidence.recorder.messages if m.name == "ClientHello"]
    assert {m.body[6:38].hex() for m in hellos} == {stream.evidence.client_random}


@both_versions
async def test_a_recording_ends_with_the_handshake_and_leaves_everything_else(
    version: ssl.TLSVersion,
) -> None:
    async with connected(version) as (one, other):
        await other.send_all(b"x")
        await one.receive_some()
        for stream in (one, other):
            connection = stream._records.connection
            assert stream.evidence.recorder.messages == []
            assert connection.getpeercert()
            assert connection.getpeercert(binary_form=True)
            assert connection.version() == stream.evidence.version
            assert connection.cipher()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.send_all, os.urandom(1_000_000))
            left = 1_000_000
            while left:
                left -= len(await other.receive_some())
        assert one.evidence.recorder.messages == other.evidence.recorder.messages == []


@both_versions
async def test_without_the_callback_the_wire_is_shown_as_far_as_it_is_clear(
    version: ssl.TLSVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = await traced(version)
    complete = recorded(one)
    monkeypatch.setattr(trace, "_callback_slot", None)
    alone, peer = await traced(version)
    seen = recorded(alone)
    clear = [entry for entry in complete if not entry[2]]
    assert [entry for entry in seen if not entry[2]] == clear
    hidden = [name for _, name, protected in seen if protected]
    if version == V12:
        assert hidden == ["encrypted handshake message"] * 2
    else:
        assert hidden
        assert set(hidden) == {"encrypted record"}
    assert alone.evidence.client_random == peer.evidence.client_random is not None
    assert peer.evidence.server_name == "localhost"
    # TLS 1.2 sends the certificates in the clear.
    assert bool(alone.evidence.recorder.find("received", "Certificate")) == (version == V12)
    for stream in (one, other, alone, peer):
        assert all(message.size > 0 for message in stream.evidence.recorder.messages)
        await trio.aclose_forcefully(stream)


async def test_without_the_callback_application_data_is_not_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trace, "_callback_slot", None)
    one, other = await traced(V12)
    before = recorded(one), recorded(other)
    await one.send_all(b"secret")
    assert await other.receive_some() == b"secret"
    await other.send_all(b"secret")
    assert await one.receive_some() == b"secret"
    assert (recorded(one), recorded(other)) == before
    for stream in (one, other):
        await trio.aclose_forcefully(stream)


@given(st.lists(st.tuples(st.booleans(), st.binary(max_size=60)), max_size=20))
def test_the_wire_takes_anything(pieces: list[tuple[bool, bytes]]) -> None:
    recorder = Recorder()
    wire = CleartextRecorder(recorder)
    for incoming, piece in pieces:
        # Half of it looks like records.
        framed = b"\x16\3\3" + len(piece).to_bytes(2) + piece if len(piece) % 2 else piece
        (wire.received if incoming else wire.sent)(framed)
    for message in recorder.messages:
        assert message.name
        assert message.size >= 0
    assert len(recorder.messages) <= 48


@given(st.data())
def test_the_wire_is_read_however_it_is_cut(data: st.DataObject) -> None:
    records = b"".join(
        b"\x16\3\1" + len(part).to_bytes(2) + part for part in (HELLO[:10], HELLO[10:], HELLO)
    )
    recorder = Recorder()
    wire = CleartextRecorder(recorder)
    cuts = data.draw(st.sets(st.integers(1, len(records) - 1), max_size=60))
    for begin, end in itertools.pairwise((0, *sorted(cuts), len(records))):
        wire.received(records[begin:end])
    assert [message.body for message in recorder.messages] == [HELLO, HELLO]


def test_the_wire_gives_up_on_what_is_not_tls_or_too_large() -> None:
    for nonsense in (
        b"HTTP/1.1 400 Bad Request",
        b"\x16\3\3\xff\xff" + bytes(10),
        b"\x16\3\3\0\4\x0b\xff\xff\xff",
    ):
        recorder = Recorder()
        wire = CleartextRecorder(recorder)
        wire.received(nonsense)
        wire.received(b"\x16\3\1" + len(HELLO).to_bytes(2) + HELLO)
        assert recorder.messages == []


@both_versions
async def test_without_the_callback_connections_work_and_failures_name_the_alert(
    version: ssl.TLSVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace, "_callback_slot", None)
    async with connected(version) as (one, other):
        await one.send_all(b"x")
        assert await other.receive_some() == b"x"
        assert str(other.peer) == "alice.test"
        assert one.evidence.client_random == other.evidence.client_random
    one, other = tls_pair(client_side(version), server_side(version), name="wrong.test")
    async with trio.open_nursery() as nursery:

        async def refused() -> None:
            with pytest.raises(TLSFailure) as caught:
                await other.do_handshake()
            report = caught.value.report
            assert report.alert is not None
            # In the clear in TLS 1.3 too: an OpenSSL client encrypts from its Finished on.
            assert (report.alert.name, report.alert.protected) == ("bad_certificate", False)
            assert report.rejected_by == "client"

        nursery.start_soon(refused)
        with pytest.raises(TLSFailure) as caught:
            await one.do_handshake()
    assert caught.value.report.causes[0] == "wrong-name"
    await one.aclose()
    await other.aclose()


def test_ctrl_c_in_the_middle_of_a_message_is_not_lost() -> None:
    class Interrupted(list[Any]):
        def append(self, call: Any) -> None:
            one.evidence.recorder.calls = []
            raised_in.append(call)
            signal.raise_signal(signal.SIGINT)

    raised_in: list[Any] = []
    one, other = tls_pair(client_side(), server_side())

    async def main() -> None:
        one.evidence.recorder.calls = Interrupted()
        async with one.transport, other.transport:
            await handshake(one, other)

    with pytest.raises((KeyboardInterrupt, BaseExceptionGroup)) as raised:
        timing.run(main)
    assert len(raised_in) == 1  # within OpenSSL's callback
    if isinstance(raised.value, BaseExceptionGroup):
        assert raised.value.subgroup(KeyboardInterrupt) is not None


def test_a_callback_that_other_code_has_set_stays() -> None:
    seen: list[object] = []
    context = client_side()
    theirs = "_msg_callback"
    setattr(context, theirs, lambda *arguments: seen.append(arguments))
    connection, recorder = trace.wrap(
        context, ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname="localhost"
    )
    with pytest.raises(ssl.SSLWantReadError):
        connection.do_handshake()
    assert seen
    assert recorder.messages == []
