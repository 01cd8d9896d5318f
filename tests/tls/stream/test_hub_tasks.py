"""What a hub leaves to the task of a connection, and nothing else changes."""

from __future__ import annotations

import ssl

import pytest
import trio
import trio.testing
from msgspec.structs import replace

from mtls_echo_tls.diagnosis.context_info import context_info, describe_context
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.stream.answering import AnsweringStream
from mtls_echo_tls.stream.tcp import TCPStream
from mtls_echo_tls.stream.tls import TLSStream
from tests.support.tls import (
    V12,
    V13,
    assert_damaged,
    both_versions,
    client_side,
    handshake,
    printed,
    reset,
    s_client,
    server_side,
    tcp_pair,
    write,
)
from tests.tls.stream.resting import (
    MUCH,
    Side,
    amplified,
    answered,
    hub_of_a_test,
    put_to_rest,
    same,
    take,
    watched,
)


async def test_while_an_answer_is_being_sent_nothing_is_received() -> None:
    async with hub_of_a_test() as hub, answered(hub, amplified) as (client, side):
        await put_to_rest(client, side)
        sent = side.stream.sent
        await client.send_all(b"much")
        await trio.testing.wait_all_tasks_blocked()
        assert not side.at_rest
        assert not watched(hub, side.stream)
        received = side.stream.received
        assert side.stream.sent == sent  # it is half out
        await client.send_all(b"more")
        await trio.testing.wait_all_tasks_blocked()
        assert side.stream.received == received
        assert await take(client, MUCH + 4) == bytes(MUCH) + b"more"
        await trio.testing.wait_all_tasks_blocked()
        assert side.at_rest
        assert side.stream.received == received + len(b"more")
        assert side.stream.sent == sent + MUCH + len(b"more")


async def resting_with(
    process: trio.Process, stream: AnsweringStream, nursery: trio.Nursery
) -> Side:
    """The task of a connection with a client of OpenSSL, once it is at rest."""
    side = Side(stream, same)
    nursery.start_soon(side.run)
    while not side.at_rest:
        await write(process, b"first\n")
        await printed(process, b"first\n")
        await trio.testing.wait_all_tasks_blocked()
    return side


async def test_new_keys_are_taken_up_by_a_connection_at_rest() -> None:
    async with hub_of_a_test() as hub, s_client("-cert", "alice.pem") as (sock, process):
        stream = AnsweringStream(TCPStream(sock), server_side(V13), server_side=True, hub=hub)
        await stream.do_handshake()
        await printed(process, b"Verify return code")
        async with trio.open_nursery() as nursery:
            await resting_with(process, stream, nursery)
            for number in range(3):
                await write(process, b"K\n")  # and asks for ours (RFC 8446 §4.6.3)
                await printed(process, b"KEYUPDATE")
                await write(process, b"message %d\n" % number)
                await printed(process, b"message %d\n" % number)
            nursery.cancel_scope.cancel()
        await trio.aclose_forcefully(stream)


async def test_an_answer_that_tls_owes_wakes_the_task() -> None:
    context = server_side(V12)
    context.options |= ssl.OP_NO_RENEGOTIATION
    options = ("-tls1_2", "-cert", "alice.pem")
    async with hub_of_a_test() as hub, s_client(*options) as (sock, process):
        stream = AnsweringStream(TCPStream(sock), context, server_side=True, hub=hub)
        await stream.do_handshake()
        await printed(process, b"Verify return code")
        async with trio.open_nursery() as nursery:
            side = await resting_with(process, stream, nursery)
            await write(process, b"R\n")
            await printed(process, b"no renegotiation")
            await side.over.wait()
        assert isinstance(side.raised, TLSFailure)
        await trio.aclose_forcefully(stream)


async def test_a_client_without_a_protocol_in_common_is_not_answered() -> None:
    async with hub_of_a_test() as hub:
        ours, theirs = tcp_pair()
        offering, insisting = client_side(), server_side()
        offering.set_alpn_protocols(["other"])
        describe_context(insisting, replace(context_info(insisting), alpn=("echo",)))
        client = TLSStream(TCPStream(ours), offering, server_name="localhost")
        server = AnsweringStream(TCPStream(theirs), insisting, server_side=True, hub=hub)
        await handshake(client, server)
        await client.send_all(b"hello")
        with pytest.raises(TLSFailure):
            await server.answer_all(same)
        assert await client.receive_some() == b""
        await trio.aclose_forcefully(client)
        await trio.aclose_forcefully(server)


@both_versions
async def test_the_clients_close_notify_ends_it_cleanly(version: ssl.TLSVersion) -> None:
    async with hub_of_a_test() as hub, answered(hub, version=version) as (client, side):
        await put_to_rest(client, side)
        # In one segment with the last message, which is answered all the same.
        [last] = client._records.encrypt(b"last")
        client._records.close_notify()
        await client.transport.send_all(last + client._records.output())
        assert await client.receive_some() == b"last"
        await side.over.wait()
        assert side.raised is None
        assert side.stream.evidence.close_notify
        assert not watched(hub, side.stream)


async def test_an_end_without_close_notify_is_an_end_of_file() -> None:
    async with hub_of_a_test() as hub, answered(hub) as (client, side):
        await put_to_rest(client, side)
        await client.transport.aclose()
        await side.over.wait()
        assert isinstance(side.raised, TLSFailure)
        assert side.stream.evidence.transport_end == "eof"
        assert side.raised.report.causes == ["truncated"]


async def test_a_reset_is_a_reset() -> None:
    async with hub_of_a_test() as hub, answered(hub) as (client, side):
        await put_to_rest(client, side)
        assert isinstance(client.transport, TCPStream)
        reset(client.transport.socket)
        await side.over.wait()
        assert isinstance(side.raised, TLSFailure)
        assert isinstance(side.raised.__cause__, trio.BrokenResourceError)
        assert side.stream.evidence.transport_end == "reset"


@both_versions
async def test_a_damaged_record_is_refused_with_an_alert(version: ssl.TLSVersion) -> None:
    async with hub_of_a_test() as hub, answered(hub, version=version) as (client, side):
        await put_to_rest(client, side)
        [good] = client._records.encrypt(b"authentic")
        [damaged] = client._records.encrypt(b"damaged")
        bad = bytearray(damaged)
        bad[-1] ^= 1
        received = side.stream.received
        await client.transport.send_all(good + bad)
        # What came before it is answered, as if it had come alone.
        assert await client.receive_some() == b"authentic"
        with pytest.raises(TLSFailure) as caught:
            await client.receive_some()
        assert caught.value.evidence.alert is not None
        assert not caught.value.evidence.alert.sent
        assert caught.value.report.causes == ["tampered"]
        await side.over.wait()
        assert isinstance(side.raised, TLSFailure)
        assert_damaged(side.raised.report)
        assert side.stream.received == received + len(b"authentic")
