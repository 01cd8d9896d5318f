"""A TLS stream: what it sends and receives, in both directions at once."""

from __future__ import annotations

import contextlib
import os
import ssl

import pytest
import trio
import trio.testing

from mtls_echo_tls.denial import denial_line
from mtls_echo_tls.diagnosis.diagnose import diagnose
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.stream.tcp import TCPStream
from mtls_echo_tls.stream.tls import TLSStream
from tests.support.tls import (
    V12,
    V13,
    assert_damaged,
    both_versions,
    client_side,
    connected,
    handshake,
    printed,
    receive_for_ever,
    reports,
    reset,
    s_client,
    send_for_ever,
    server_side,
    tcp_pair,
    tls_pair,
    write,
)


@both_versions
async def test_it_is_a_trio_stream_in_every_respect_that_trio_checks(
    version: ssl.TLSVersion, patient_clock: trio.testing.MockClock
) -> None:
    # trio's checks close each side while the other does nothing, or sends and sends: it is waited
    # for in vain, and not for long. What there is to say at the end has all the time there is.
    patient_clock.rate, linger = 0.001, 0.00005

    async def over_tcp() -> tuple[TLSStream, TLSStream]:
        one, other = tls_pair(client_side(version), server_side(version))
        one._linger = other._linger = linger
        await handshake(one, other)
        return one, other

    async def clogged() -> tuple[TLSStream, TLSStream]:
        # A lockstep stream holds nothing: a sender waits until the other side receives.
        first, second = trio.testing.lockstep_stream_pair()
        one = TLSStream(first, client_side(version), server_name="localhost", linger=linger)
        other = TLSStream(second, server_side(version), server_side=True, linger=linger)
        await handshake(one, other)
        return one, other

    await trio.testing.check_two_way_stream(over_tcp, clogged)


@both_versions
async def test_large_transfers_run_both_ways_at_once(version: ssl.TLSVersion) -> None:
    payload = os.urandom(8 * 1024 * 1024 + 1)

    async def receive(stream: TLSStream) -> None:
        received = bytearray()
        while len(received) < len(payload):
            received += await stream.receive_some()
        assert received == payload

    async with connected(version) as (one, other), trio.open_nursery() as nursery:
        for stream in (one, other):
            nursery.start_soon(stream.send_all, payload)
            nursery.start_soon(receive, stream)


@both_versions
async def test_max_bytes_limits_each_receive_and_loses_nothing(version: ssl.TLSVersion) -> None:
    payload = os.urandom(50_000)
    async with connected(version) as (one, other), trio.open_nursery() as nursery:
        nursery.start_soon(one.send_all, payload)
        received = bytearray()
        for size in (1, 7, 16_384, 20_000, 1):
            part = await other.receive_some(size)
            assert 0 < len(part) <= size
            received += part
        while len(received) < len(payload):
            received += await other.receive_some()
        assert received == payload
        with pytest.raises(ValueError, match="at least 1"):
            await other.receive_some(0)


async def test_what_is_sent_may_be_any_buffer_and_may_be_empty() -> None:
    async with connected(V13) as (one, other):
        await one.send_all(b"")
        await one.send_all(bytearray(b"ab"))
        await one.send_all(memoryview(b"-cd-")[1:3])
        received = bytearray()
        while len(received) < 4:
            received += await other.receive_some()
        assert received == b"abcd"


@both_versions
async def test_no_buffer_stays_grown_after_a_large_transfer(version: ssl.TLSVersion) -> None:
    async with connected(version) as (one, other):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.send_all, bytes(4 * 1024 * 1024))
            left = 4 * 1024 * 1024
            while left:
                left -= len(await other.receive_some())
        for stream in (one, other):
            records = stream._records
            assert not records._received
            assert records._received.obj == b""
            assert not records._incoming.pending
            assert not records.pending


@both_versions
async def test_a_key_log_on_a_full_disk_refuses_no_peer(version: ssl.TLSVersion) -> None:
    contexts = client_side(version), server_side(version)
    for context in contexts:
        context.keylog_filename = "/dev/full"  # Linux
    one, other = tls_pair(*contexts)
    assert [report.outcome for report in await reports(one, other)] == ["echoed", "echoed"]


@both_versions
async def test_early_application_data_arrives_in_order(version: ssl.TLSVersion) -> None:
    # The server's last handshake read finds the client's Finished and 60 KB of data behind it.
    one, other = tls_pair(client_side(version), server_side(version))
    payload = os.urandom(60_000)

    async def client() -> None:
        await one.do_handshake()
        await one.send_all(payload)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(client)
        await other.do_handshake()
    received = bytearray()
    while len(received) < len(payload):
        received += await other.receive_some()
    assert received == payload
    await trio.aclose_forcefully(one)
    await trio.aclose_forcefully(other)


async def test_new_keys_may_be_asked_for_in_the_middle_of_a_transfer() -> None:
    total = 3_000_000
    async with s_client("-cert", "alice.pem") as (sock, process):
        stream = TLSStream(TCPStream(sock), server_side(V13), server_side=True)
        await stream.do_handshake()
        await printed(process, b"Verify return code")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, b"~" * total)
            nursery.start_soon(receive_for_ever, stream)
            assert process.stdout is not None
            count, asked, updated = 0, 0, 0
            while count < total:
                if count >= asked * total // 10:
                    # K asks for new keys both ways, k renews one side's (RFC 8446 §4.6.3).
                    await write(process, b"k\n" if asked % 2 else b"K\n")
                    asked += 1
                chunk = await process.stdout.receive_some()
                count += chunk.count(b"~")
                updated += chunk.count(b"KEYUPDATE")
            assert count == total
            assert updated
            nursery.cancel_scope.cancel()
        await trio.aclose_forcefully(stream)


class Blocked(trio.abc.HalfCloseableStream):
    """A transport that takes nothing more to send, and has something to receive."""

    def __init__(self, inner: TCPStream) -> None:
        self.inner = inner
        self.room = trio.Event()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.room.wait()
        await self.inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.room.wait()

    async def send_eof(self) -> None:
        await self.inner.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return await self.inner.receive_some(max_bytes)

    async def aclose(self) -> None:
        await self.inner.aclose()


async def test_what_a_receiver_owes_the_peer_is_left_to_a_sender_that_is_stuck() -> None:
    async with connected(V13) as (one, other), trio.open_nursery() as nursery:
        assert isinstance(one.transport, TCPStream)
        blocked = one.transport = Blocked(one.transport)
        one._tcp = None
        nursery.start_soon(one.send_all, b"first")
        await trio.testing.wait_all_tasks_blocked()
        # Stands for what OpenSSL writes while it reads: a record of its own.
        one._records.connection.write(b"owed")
        nursery.start_soon(other.send_all, b"hello")
        assert await one.receive_some() == b"hello"
        nursery.start_soon(one.receive_some)
        await trio.testing.wait_all_tasks_blocked()
        blocked.room.set()
        received = b""
        while len(received) < 9:
            received += await other.receive_some()
        assert received == b"firstowed"
        nursery.cancel_scope.cancel()


async def test_what_a_receiver_owes_behind_a_stuck_sender_is_bounded() -> None:
    async with connected(V13) as (one, other), trio.open_nursery() as nursery:
        assert isinstance(one.transport, TCPStream)
        one.transport = Blocked(one.transport)
        one._tcp = None
        nursery.start_soon(one.send_all, b"first")
        await trio.testing.wait_all_tasks_blocked()
        one._records.connection.write(bytes(16_384))
        nursery.start_soon(one.receive_some)
        await trio.testing.wait_all_tasks_blocked()
        # The receiver waits for the sender now, and reads nothing that could make it owe more.
        assert one._records.pending > 16_384
        assert isinstance(one.transport, Blocked)
        assert not one.transport.inner._receiving.held
        await other.send_all(b"more")
        await trio.testing.wait_all_tasks_blocked()
        assert not one.transport.inner._receiving.held
        nursery.cancel_scope.cancel()


async def test_a_receiver_does_not_wait_for_a_sender_that_waits_for_the_peer() -> None:
    total = 20_000_000
    async with s_client("-cert", "alice.pem") as (sock, process):
        stream = TLSStream(TCPStream(sock), server_side(V13), server_side=True)
        await stream.do_handshake()
        await printed(process, b"Verify return code")
        await write(process, b"K\n")
        await printed(process, b"KEYUPDATE")
        await write(process, b"hello\n")
        async with trio.open_nursery() as nursery:
            # What s_client prints is not read: it blocks, stops reading, and so we block.
            nursery.start_soon(stream.send_all, b"~" * total)
            assert await stream.receive_some() == b"hello\n"
            assert process.stdout is not None
            count = 0
            while count < total:
                count += (await process.stdout.receive_some()).count(b"~")
        await stream.send_all(b"world\n")
        await printed(process, b"world")
        await trio.aclose_forcefully(stream)


@both_versions
async def test_after_close_notify_the_other_direction_still_works(version: ssl.TLSVersion) -> None:
    async with connected(version) as (one, other), trio.open_nursery() as nursery:
        nursery.start_soon(one.aclose)
        assert await other.receive_some() == b""
        await other.send_all(b"too late, but legal")
        await other.aclose()


async def test_a_client_that_checks_names_cannot_be_made_without_one() -> None:
    one, other = tcp_pair()
    with one, other:
        for name in (None, ""):
            with pytest.raises(ValueError, match="server_name"):
                TLSStream(TCPStream(one), client_side(), server_name=name)


async def test_a_line_left_behind_a_reset_is_found_after_the_write_that_failed() -> None:
    # The server says why a client is not authorised, and its kernel resets: the line is in the
    # client's receive queue, and the client is writing.
    one, raw = tcp_pair()
    stream = TLSStream(TCPStream(one), client_side(V13), server_name="localhost")

    def serve() -> None:
        with server_side(V13).wrap_socket(raw, server_side=True) as connection:
            connection.send(denial_line("no client is admitted"))
            with contextlib.suppress(OSError):
                connection.unwrap()
            reset(connection)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.to_thread.run_sync, serve)
        await stream.do_handshake()
        with pytest.raises(TLSFailure) as caught:
            await send_for_ever(stream)
    await stream.aclose()
    report = caught.value.report
    assert (report.outcome, report.causes) == ("denied", ["not-authorised"])
    assert any("no client is admitted" in fact.value for fact in report.evidence)


async def test_what_was_proved_is_known_only_after_the_first_byte_in_tls_1_3() -> None:
    async with connected(V13) as (one, other):
        assert (one.evidence.stage, other.evidence.stage) == ("first-read", "established")
        assert diagnose(one.evidence).outcome == "failed"
        await other.send_all(b"x")
        await one.receive_some()
        assert one.evidence.stage == "established"
        assert diagnose(one.evidence).outcome == "echoed"
    async with connected(V12) as (one, other):
        assert (one.evidence.stage, other.evidence.stage) == ("established", "established")


async def test_a_clean_close_in_place_of_the_first_byte_is_not_a_success() -> None:
    async with connected(V13) as (one, other), trio.open_nursery() as nursery:
        nursery.start_soon(other.aclose)
        assert await one.receive_some() == b""
        report = diagnose(one.evidence)
        assert (report.outcome, report.causes) == ("failed", ["closed-without-alert"])
        await one.aclose()


@both_versions
async def test_an_alert_after_the_handshake_is_in_the_report(version: ssl.TLSVersion) -> None:
    async with connected(version) as (one, other):
        # A record that was made without the keys.
        await one.transport.send_all(bytes.fromhex("17 0303 0020") + bytes(32))
        with pytest.raises(TLSFailure) as failure:
            await other.receive_some()
        with pytest.raises(TLSFailure) as answered:
            await one.receive_some()

    assert_damaged(failure.value.report)
    assert answered.value.report.alert is not None
    assert answered.value.report.alert.name == "bad_record_mac"
