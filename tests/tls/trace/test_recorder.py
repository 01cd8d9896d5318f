"""Recording a handshake: every message, in order, bounded, and silent afterwards."""

from __future__ import annotations

import itertools
import os
import signal
import ssl
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from mtls_echo_tls.diagnosis.evidence import Evidence
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.stream.tcp import TCPStream
from mtls_echo_tls.stream.tls import TLSStream
from mtls_echo_tls.trace import recorder as trace
from mtls_echo_tls.trace.cleartext import CleartextRecorder
from mtls_echo_tls.trace.messages import (
    ALERT,
    APPLICATION_DATA,
    HANDSHAKE,
    Message,
    certificates_in,
    read_hello,
)
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
    tcp_pair,
    tls_pair,
)


async def traced(version: ssl.TLSVersion) -> tuple[TLSStream, TLSStream]:
    one, other = tcp_pair()
    pair = (
        TLSStream(TCPStream(one), client_side(version), server_name="localhost", trace=True),
        TLSStream(TCPStream(other), server_side(version), server_side=True, trace=True),
    )
    await handshake(*pair)
    return pair


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


# --- bounds and hostile input --------------------------------------------------------------------


def test_what_a_peer_can_make_us_keep_is_bounded() -> None:
    many, large = Recorder(), Recorder()
    for _ in range(1000):
        many.record("read", V13, HANDSHAKE, b"\x18\0\0\1\0")
        large.record("read", V13, HANDSHAKE, b"\x0b" + bytes(100_000))
    assert len(many.messages) == 40
    assert sum(message.size for message in large.messages) <= 256 * 1024
    assert many.omitted
    assert large.omitted


def tell(recorder: Recorder, way: str, version: int, content_type: int, data: bytes) -> None:
    """As OpenSSL does, whose callback interprets nothing."""
    connection = SimpleNamespace(recorder=recorder)
    trace._on_message(connection, way, version, content_type, 0, data)


def test_what_has_not_been_read_is_bounded_too() -> None:
    many, large, mixed = Recorder(), Recorder(), Recorder()
    for number in range(1, 201):
        tell(many, "read", V13, HANDSHAKE, b"\x18\0\0\1\0")
        assert len(many.calls) == number % 65
        tell(large, "read", V13, HANDSHAKE, b"\x0b" + bytes(4096))
        assert large.calls == []
        tell(mixed, "read", V13, HANDSHAKE, b"\x0b" + bytes(4095))
        assert sum(len(data) for *_, data in mixed.calls) <= 256 * 1024
    assert len(many.messages) == 40
    assert many.omitted["received"].messages == 160
    assert sum(message.size for message in large.messages) <= 256 * 1024
    assert sum(message.size for message in mixed.messages) <= 256 * 1024
    mixed.forget()
    assert mixed.messages == []
    assert mixed.calls == []


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["read", "write"]),
            st.sampled_from([V12, V13]),
            st.sampled_from([20, 21, 22, 23, 256]),
            st.binary(max_size=40) | st.just(bytes(4097)) | st.just(b"\x14\3\3\0\1"),
        ),
        max_size=150,
    ),
    st.sets(st.integers(0, 150)),
)
def test_it_makes_no_difference_when_a_recording_is_read(
    calls: list[tuple[str, int, int, bytes]], read_after: set[int]
) -> None:
    recordings: list[tuple[object, ...]] = []
    for moments in (set(range(150)), read_after):
        ticks = itertools.count()
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("time.perf_counter", lambda ticks=ticks: float(next(ticks)))
            recorder = Recorder()
            for number, call in enumerate(calls):
                tell(recorder, *call)
                if number in moments:
                    assert recorder.omitted is not None
        recordings.append((recorder.messages, recorder.omitted, recorder.fatal_alert))
    assert recordings[0] == recordings[1]


@both_versions
async def test_the_evidence_is_the_same_from_what_was_read_and_what_was_not(
    version: ssl.TLSVersion,
) -> None:
    streams = await traced(version)
    for stream in streams:
        recorder = Recorder()
        unread = Evidence(stream.evidence.side, started=0.0, recorder=recorder)
        read = Evidence(stream.evidence.side, started=0.0, recorder=recorder)
        for message in stream.evidence.recorder.messages:
            way = "read" if message.direction == "received" else "write"
            tell(recorder, way, message.version, message.content_type, message.body)
        unread._read_recording()
        assert recorder.calls
        assert recorder.messages
        read._read_recording()
        assert unread == read
        assert read.peer_chain
        assert read.client_random == stream.evidence.client_random is not None
        assert read.server_name == (None if read.side == "client" else "localhost")
        await trio.aclose_forcefully(stream)


def test_a_peer_cannot_fill_the_recording_with_cipher_changes_or_hide_its_alert() -> None:
    recorder = Recorder()
    for _ in range(32):
        recorder.record("read", V13, 256, b"\x14\3\3\0\1")
    assert [message.name for message in recorder.messages] == ["ChangeCipherSpec"] * 2
    for _ in range(100):
        recorder.record("read", V13, HANDSHAKE, b"\x18\0\0\1\0")
    recorder.record("read", V13, ALERT, b"\2\x30")
    assert recorder.fatal_alert is recorder.messages[-1]
    for _ in range(100):
        recorder.record("read", V13, ALERT, b"\1\x5a")
    assert len(recorder.messages) == 48
    omission = recorder.omitted["received"]
    assert omission.messages == 30 + 62 + 93


def test_a_cipher_change_that_openssl_tells_twice_is_kept_once() -> None:
    recorder = Recorder()
    recorder.record("read", V13, 256, b"\x14\3\3\0\1")
    recorder.record("read", V13, 20, b"\1")
    assert len(recorder.messages) == 1


def test_records_of_application_data_and_headers_are_not_kept() -> None:
    recorder = Recorder()
    recorder.record("read", V13, 256, b"\x17\3\3\0\x10")
    recorder.record("read", V13, 257, b"\x17")
    recorder.record("read", V13, APPLICATION_DATA, b"secret")
    assert recorder.messages == []


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["read", "write"]),
            st.sampled_from([0x0301, 0x0303, 0x0304, 0, 0x10000]),
            st.sampled_from([20, 21, 22, 23, 256, 257, 24, 99]),
            st.binary(max_size=80),
        ),
        max_size=60,
    )
)
def test_a_recorder_takes_anything(calls: list[tuple[str, int, int, bytes]]) -> None:
    recorder = Recorder()
    for way, version, kind, data in calls:
        recorder.record(way, version, kind, data)
    for message in recorder.messages:
        assert message.name
        assert isinstance(message.is_fatal_alert, bool)
    evidence = Evidence("server", recorder=recorder).concluded()
    assert evidence.server_name is None or len(evidence.server_name) <= 255
    assert evidence.client_random is None or len(evidence.client_random) == 64
    assert recorder.fatal_alert is None or recorder.fatal_alert in recorder.messages


def _message(body: bytes, kind: int = HANDSHAKE) -> Message:
    return Message(0.0, "received", kind, body, protected=False)


def _real_hello() -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    connection = client_side().wrap_bio(incoming, outgoing, server_hostname="sni.test")
    with pytest.raises(ssl.SSLWantReadError):
        connection.do_handshake()
    return outgoing.read()[5:]


HELLO = _real_hello()


def test_the_server_name_is_the_one_that_was_asked_for() -> None:
    assert read_hello(HELLO).server_name == "sni.test"


@given(st.integers(0, len(HELLO)), st.binary(min_size=1, max_size=8), st.booleans())
def test_a_malformed_hello_names_no_host_or_something_short(
    at: int, noise: bytes, cut: bool
) -> None:
    body = HELLO[:at] + noise + (b"" if cut else HELLO[at + len(noise) :])
    name = read_hello(body).server_name
    assert name is None or len(name) <= 255


@given(st.binary(max_size=200), st.sampled_from([b"", b"\x0b\0\0\0", b"\x0b\0\0\x40\0"]))
def test_a_malformed_certificate_message_is_read_without_an_error(
    body: bytes, header: bytes
) -> None:
    for certificate in certificates_in(_message(header + body)):
        assert certificate in body


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=5), st.booleans())
def test_the_certificates_of_a_message_are_those_that_were_put_there(
    certificates: list[bytes], tls13: bool
) -> None:
    entries = b"".join(
        len(one).to_bytes(3) + one + (b"\0\0" if tls13 else b"") for one in certificates
    )
    body = (b"\0" if tls13 else b"") + len(entries).to_bytes(3) + entries
    message = _message(b"\x0b" + len(body).to_bytes(3) + body)
    assert certificates_in(message) == tuple(certificates)


@pytest.mark.parametrize(
    ("body", "version", "fatal"),
    [
        pytest.param(b"\2\x30", V12, True, id="1.2 fatal"),
        pytest.param(b"\1\x70", V12, False, id="1.2 warning"),
        pytest.param(b"\1\x30", V13, True, id="1.3 ignores the level"),
        pytest.param(b"\2\x5a", V13, False, id="1.3 user_canceled"),
        pytest.param(b"\1\0", V13, False, id="close_notify"),
        pytest.param(b"\2", V13, False, id="half an alert"),
        pytest.param(b"", V13, False, id="none of an alert"),
    ],
)
def test_what_ends_a_connection_depends_on_the_version(
    body: bytes, version: int, fatal: bool
) -> None:
    message = Message(0.0, "sent", ALERT, body, protected=False, version=version)
    assert message.is_fatal_alert is fatal
    assert message.name.startswith("Alert")


def test_of_two_alerts_the_first_is_the_verdict() -> None:
    recorder = Recorder()
    recorder.record("write", V13, ALERT, b"\2\x2a")
    recorder.record("read", V13, ALERT, b"\2\x50")
    assert recorder.fatal_alert is recorder.messages[0]
