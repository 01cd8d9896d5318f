"""What a peer can make a recorder keep is bounded, and hostile input is read."""

from __future__ import annotations

import itertools
import ssl
from types import SimpleNamespace

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from mtls_echo_tls.diagnosis.evidence import Evidence
from mtls_echo_tls.trace import recorder as trace
from mtls_echo_tls.trace.messages import (
    ALERT,
    APPLICATION_DATA,
    HANDSHAKE,
    Message,
    certificates_in,
    hello_extensions,
    read_hello,
)
from mtls_echo_tls.trace.recorder import Recorder
from tests.support.tls import V12, V13, both_versions
from tests.tls.trace.recordings import HELLO, traced


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


def test_the_server_name_is_the_one_that_was_asked_for() -> None:
    assert read_hello(HELLO).server_name == "sni.test"


@given(st.integers(0, len(HELLO)), st.binary(min_size=1, max_size=8), st.booleans())
def test_a_malformed_hello_names_no_host_or_something_short(
    at: int, noise: bytes, cut: bool
) -> None:
    body = HELLO[:at] + noise + (b"" if cut else HELLO[at + len(noise) :])
    found = read_hello(body)
    assert found.server_name is None or len(found.server_name) <= 255
    listed = list(hello_extensions(body))
    offered = [
        data[at : at + 2] for kind, data in listed if kind == 43 for at in range(1, len(data), 2)
    ]
    assert found.alpn is any(kind == 16 for kind, _ in listed)
    assert found.tls13 is (b"\3\4" in offered)


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
