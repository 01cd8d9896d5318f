"""Peers that are not what they should be, and what they can make us do."""

from __future__ import annotations

import contextlib
import socket
import ssl

import pytest
import trio
import trio.testing

from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.stream.tcp import TCPStream
from mtls_echo_tls.stream.tls import TLSStream
from tests.support.tls import (
    V12,
    V13,
    against_raw,
    assert_damaged,
    both_versions,
    client_side,
    connected,
    reset,
    server_side,
    tcp_pair,
)

# --- peers that are not what they should be ------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "causes"),
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", "plaintext-client", id="HTTP"),
        pytest.param(b"CONNECT a:1 HTTP/1.1\r\n\r\n", "plaintext-client", id="HTTP proxy"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", "plaintext-client", id="SSH"),
        pytest.param(b"\x00" * 1_000_000, "plaintext-client", id="zeroes"),
        pytest.param(b"\xff" * 1_000_000, "plaintext-client", id="ones"),
        pytest.param(b"hi", "plaintext-client", id="two letters"),
        pytest.param(b"", "closed-without-alert", id="nothing"),
        pytest.param(b"\x16", "closed-without-alert", id="one byte of a record"),
        pytest.param(b"\x16\x03\x01\x02\x00", "closed-without-alert", id="half a record"),
        pytest.param(
            b"\x16\x03\x01\x50\x00" + bytes(0x5000), "tampered oversize", id="a long record"
        ),
    ],
)
async def test_a_server_tells_what_it_met_in_place_of_a_handshake(
    said: bytes, causes: str
) -> None:
    raw, ours = tcp_pair()
    stream = TLSStream(TCPStream(ours), server_side(), server_side=True)

    async def peer(connection: trio.SocketStream) -> None:
        with contextlib.suppress(trio.BrokenResourceError):
            await connection.send_all(said)
            await connection.send_eof()
            while await connection.receive_some():
                pass
        await connection.aclose()

    report = await against_raw(stream, raw, peer)
    # An honest peer knows how long a record may be: the length may have been altered.
    assert report.causes == causes.split()
    assert report.outcome == ("refused" if "oversize" in causes else "failed")


@pytest.mark.parametrize(
    ("answer", "cause"),
    [
        pytest.param(b"HTTP/1.0 400 Bad Request\r\n\r\n", "plaintext-peer", id="HTTP"),
        pytest.param(b"SSH-2.0-OpenSSH_9.2\r\n", "plaintext-peer", id="SSH"),
        pytest.param(b"220 mail.test ESMTP\r\n", "plaintext-peer", id="SMTP"),
        pytest.param(None, "plaintext-peer", id="a plaintext echo"),
        pytest.param(b"", "closed-without-alert", id="nothing"),
    ],
)
async def test_a_client_tells_what_it_met_in_place_of_a_server(
    answer: bytes | None, cause: str
) -> None:
    ours, raw = tcp_pair()
    stream = TLSStream(TCPStream(ours), client_side(), server_name="localhost")

    async def peer(connection: trio.SocketStream) -> None:
        hello = await connection.receive_some()
        await connection.send_all(hello if answer is None else answer)
        await connection.aclose()

    report = await against_raw(stream, raw, peer)
    assert (report.outcome, report.rejected_by, report.causes) == ("failed", None, [cause])


@both_versions
async def test_a_handshake_that_arrives_byte_by_byte_succeeds(version: ssl.TLSVersion) -> None:
    ours, raw = tcp_pair()
    stream = TLSStream(TCPStream(ours), server_side(version), server_side=True)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    theirs = client_side(version).wrap_bio(incoming, outgoing, server_hostname="localhost")

    async def peer(connection: trio.SocketStream) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        done = False
        while True:
            with contextlib.suppress(ssl.SSLWantReadError):
                theirs.do_handshake()
                if not done:
                    theirs.write(b"hello")
                done = True
            for byte in outgoing.read():
                await connection.send_all(bytes([byte]))
            if done:
                break
            incoming.write(await connection.receive_some())
        incoming.write(await connection.receive_some())
        assert theirs.read() == b"hello"
        await connection.aclose()

    assert (await against_raw(stream, raw, peer)).outcome == "echoed"


@both_versions
@pytest.mark.parametrize("how", ["eof", "reset"])
async def test_an_end_without_close_notify_is_never_a_clean_end(
    version: ssl.TLSVersion, how: str
) -> None:
    async with connected(version) as (one, other):
        await other.send_all(b"x")
        assert await one.receive_some() == b"x"
        assert isinstance(other.transport, TCPStream)
        if how == "eof":
            await other.transport.send_eof()
        else:
            reset(other.transport.socket)
        for _ in range(2):
            with pytest.raises(TLSFailure) as caught:
                await one.receive_some()
            assert caught.value.report.causes == ["truncated" if how == "eof" else "reset"]
            assert caught.value.report.alert is None


@both_versions
async def test_what_arrived_before_a_damaged_record_is_delivered_first(
    version: ssl.TLSVersion,
) -> None:
    async with connected(version) as (one, other):
        [good] = other._records.encrypt(b"authentic")
        [damaged] = other._records.encrypt(b"damaged")
        bad = bytearray(damaged)
        bad[-1] ^= 1
        await other.transport.send_all(good + bad)
        assert await one.receive_some() == b"authentic"
        with pytest.raises(TLSFailure) as caught:
            await one.receive_some()
        assert caught.value.report.side == "client"
        assert_damaged(caught.value.report)
        # The alert about it has left, and stands where close_notify would.
        with pytest.raises(TLSFailure) as refused:
            await other.receive_some()
        assert refused.value.report.alert is not None
        assert refused.value.report.alert.name == "bad_record_mac"


async def test_close_notify_in_the_middle_of_a_handshake_is_not_a_success() -> None:
    ours, raw = tcp_pair()
    stream = TLSStream(TCPStream(ours), client_side(), server_name="localhost")

    async def peer(connection: trio.SocketStream) -> None:
        await connection.receive_some()
        await connection.send_all(b"\x15\x03\x03\x00\x02\x01\x00")
        await connection.aclose()

    report = await against_raw(stream, raw, peer)
    assert (report.outcome, report.causes) == ("failed", ["closed-without-alert"])


@pytest.mark.parametrize("code", [115, 120, 47, 80, 199])
async def test_a_fatal_alert_in_place_of_a_server_hello_is_the_servers_refusal(code: int) -> None:
    ours, raw = tcp_pair()
    stream = TLSStream(TCPStream(ours), client_side(), server_name="localhost")

    async def peer(connection: trio.SocketStream) -> None:
        await connection.receive_some()
        await connection.send_all(b"\x15\x03\x03\x00\x02\x02" + bytes([code]))
        await connection.aclose()

    report = await against_raw(stream, raw, peer)
    assert (report.outcome, report.rejected_by) == ("refused", "server")
    assert report.alert is not None
    assert (report.alert.code, report.alert.direction) == (code, "received")
    # Anyone on the path could have written it, and the report says so.
    assert report.alert.protected is False
    assert any("in the clear" in fact.value for fact in report.evidence)


async def test_a_warning_in_tls_1_2_is_not_the_verdict() -> None:
    # unrecognized_name as a warning, and the handshake goes on (RFC 6066 §3).
    ours, raw = tcp_pair()
    stream = TLSStream(TCPStream(ours), client_side(V12), server_name="localhost")
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    theirs = server_side(V12).wrap_bio(incoming, outgoing, server_side=True)

    async def peer(connection: trio.SocketStream) -> None:
        warned = False
        while True:
            try:
                data = theirs.read()
            except ssl.SSLWantReadError:
                if flight := outgoing.read():
                    warning = b"" if warned else b"\x15\x03\x03\x00\x02\x01\x70"
                    warned = True
                    await connection.send_all(warning + flight)
                incoming.write(await connection.receive_some())
            else:
                theirs.write(data)
                await connection.send_all(outgoing.read())
                await connection.aclose()
                return

    report = await against_raw(stream, raw, peer)
    assert (report.outcome, report.alert) == ("echoed", None)


# --- what a refused peer can make us do ----------------------------------------------------------


class Endless(trio.abc.HalfCloseableStream):
    """A transport whose peer never stops sending, or never sends again."""

    def __init__(self, chunk: bytes) -> None:
        self.chunk = chunk
        self.discarded = 0
        self.closed = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def send_eof(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        if not self.chunk:
            await trio.sleep_forever()
        self.discarded += len(self.chunk)
        return self.chunk

    async def aclose(self) -> None:
        self.closed = True
        await trio.lowlevel.checkpoint()


async def test_a_peer_that_sends_for_ever_after_its_refusal_is_left_at_the_bound(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    monkeypatch.setattr("mtls_echo_tls.stream.delivery.LINGER_BYTES", 1_000_000)
    transport = Endless(b"\x16\x03\x01\x50\x00" + bytes(65_000))
    stream = TLSStream(transport, server_side(), server_side=True)
    with pytest.raises(TLSFailure):
        await stream.do_handshake()
    before = transport.discarded
    await stream.aclose()
    assert transport.closed
    assert 1_000_000 <= transport.discarded - before <= 1_000_000 + len(transport.chunk)


async def test_a_peer_that_falls_silent_after_its_refusal_is_left_after_the_linger(
    autojump_clock: trio.testing.MockClock,
) -> None:
    transport = Endless(b"\x16\x03\x01\x50\x00" + bytes(65_000))
    stream = TLSStream(transport, server_side(), server_side=True, linger=7)
    with pytest.raises(TLSFailure):
        await stream.do_handshake()
    transport.chunk = b""
    start = trio.current_time()
    await stream.aclose()
    assert transport.closed
    assert trio.current_time() - start == pytest.approx(7)


class Stuck(Endless):
    """A transport whose peer has closed its window."""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.sleep_forever()


async def test_a_peer_that_does_not_read_cannot_delay_its_refusal(
    autojump_clock: trio.testing.MockClock,
) -> None:
    transport = Stuck(b"\x16\x03\x01\x50\x00" + bytes(65_000))
    stream = TLSStream(transport, server_side(), server_side=True)
    start = trio.current_time()
    with pytest.raises(TLSFailure) as caught:
        await stream.do_handshake()
    await stream.aclose()
    assert trio.current_time() - start == pytest.approx(1)
    assert caught.value.report.causes == ["tampered", "oversize"]
    assert transport.closed


async def test_after_all_that_a_good_pair_still_talks() -> None:
    async with connected(V13) as (one, other):
        await one.send_all(b"hello")
        assert await other.receive_some() == b"hello"
        assert str(other.peer) == "alice.test"
