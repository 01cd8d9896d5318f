"""A refused peer reads the alert, whichever side refuses and whatever is in flight."""

from __future__ import annotations

import contextlib
import socket
import ssl

import pytest
import trio
import trio.testing

from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import Request
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.slugs import Slug
from mtls_echo_tls.stream.tcp import TCPStream
from mtls_echo_tls.stream.tls import TLSStream
from tests.support.authorities import CLIENTS, UNTRUSTED_CA
from tests.support.ports import server_port
from tests.support.tls import (
    EXPIRED,
    V13,
    both_versions,
    client_side,
    converse,
    openssl,
    printed,
    refusal,
    s_client,
    send_for_ever,
    server_side,
    tcp_pair,
    tls_pair,
    write,
)

# How often a race must end well. 200 in the acceptance run; fewer keep the suite quick.
REPETITIONS = 15

IN_FLIGHT = 5_000_000

UNTRUSTED = UNTRUSTED_CA.issue(Request.client("untrusted.test"))

LATE = CLIENTS.issue(Request.client("late.test", **EXPIRED))  # type: ignore[arg-type]  # two timedeltas


@both_versions
@pytest.mark.parametrize(
    ("credential", "reasons"),
    [
        pytest.param(
            None,
            ("SSLV3_ALERT_HANDSHAKE_FAILURE", "TLSV13_ALERT_CERTIFICATE_REQUIRED"),
            id="no certificate",
        ),
        pytest.param(UNTRUSTED, ("TLSV1_ALERT_UNKNOWN_CA",) * 2, id="unknown authority"),
        pytest.param(LATE, ("SSLV3_ALERT_CERTIFICATE_EXPIRED",) * 2, id="expired"),
    ],
)
async def test_a_refused_blocking_client_reads_the_alert_with_megabytes_of_its_own_in_flight(
    version: ssl.TLSVersion, credential: Credential | None, reasons: tuple[str, str]
) -> None:
    theirs, ours = client_side(version, credential), server_side(version)

    def converse_blocking(sock: socket.socket) -> None:
        with theirs.wrap_socket(sock, server_hostname="localhost") as connection:
            # All of it is written before the first read: what plain clients do.
            connection.sendall(bytes(IN_FLIGHT))
            connection.recv(1)

    heard: list[str | None] = []

    async def client_thread(sock: socket.socket) -> None:
        heard.append(await trio.to_thread.run_sync(refusal, lambda: converse_blocking(sock)))

    for _ in range(REPETITIONS):
        one, other = tcp_pair()
        stream = TLSStream(TCPStream(other), ours, server_side=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client_thread, one)
            report = await converse(stream)
            assert report.rejected_by == "server"
    assert heard == [reasons[version == V13]] * REPETITIONS


@both_versions
async def test_a_refused_blocking_server_reads_the_alert(version: ssl.TLSVersion) -> None:
    theirs, ours = server_side(version), client_side(version)
    heard: list[str | None] = []

    def serve(sock: socket.socket) -> None:
        def accept() -> None:
            with theirs.wrap_socket(sock, server_side=True) as connection:
                connection.recv(1)

        heard.append(refusal(accept))

    for _ in range(REPETITIONS):
        one, other = tcp_pair()
        stream = TLSStream(TCPStream(one), ours, server_name="wrong.test")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, serve, other)
            assert (await converse(stream)).rejected_by == "client"
    assert heard == ["SSLV3_ALERT_BAD_CERTIFICATE"] * REPETITIONS


@both_versions
async def test_openssl_prints_the_alert_of_our_server(version: ssl.TLSVersion) -> None:
    option = "-tls1_3" if version == V13 else "-tls1_2"
    async with s_client(option, "-ign_eof") as (sock, process), trio.open_nursery() as nursery:
        await write(process, b"hello\n")
        stream = TLSStream(TCPStream(sock), server_side(version), server_side=True)
        nursery.start_soon(converse, stream)
        await printed(process, b"alert number 116" if version == V13 else b"alert number 40")


@both_versions
async def test_openssl_prints_the_alert_of_our_client(version: ssl.TLSVersion) -> None:
    port = server_port()
    options = (
        "-tls1_3" if version == V13 else "-tls1_2",
        "-accept",
        f"127.0.0.1:{port}",
        "-cert",
        "server.pem",
    )
    async with openssl("s_server", *options) as (process, _):
        await printed(process, b"ACCEPT")
        transport = await TCPStream.connect("127.0.0.1", port)
        context = client_side(version, servers=UNTRUSTED_CA.trust)
        report = await converse(TLSStream(transport, context, server_name="localhost"))
        assert report.causes == ["unknown-authority", "missing-intermediate"]
        await printed(process, b"alert number 48")


def refuse_abruptly(sock: socket.socket) -> None:
    """A server as most are: it writes its alert and closes with our bytes unread: a reset."""
    with contextlib.suppress(ssl.SSLError), sock:
        server_side(V13).wrap_socket(sock, server_side=True)


async def test_an_alert_is_found_behind_a_write_that_failed() -> None:
    for _ in range(REPETITIONS):
        one, raw = tcp_pair()
        stream = TLSStream(TCPStream(one), client_side(V13, None), server_name="localhost")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, refuse_abruptly, raw)
            await stream.do_handshake()
            with pytest.raises(TLSFailure) as caught:
                await send_for_ever(stream)
        await stream.aclose()
        assert caught.value.report.causes == ["no-client-certificate"]
        assert caught.value.report.rejected_by == "server"


async def test_a_receiver_and_a_sender_of_one_refused_client_report_the_same() -> None:
    for _ in range(REPETITIONS):
        one, raw = tcp_pair()
        stream = TLSStream(TCPStream(one), client_side(V13, None), server_name="localhost")
        causes: list[list[Slug]] = []

        async def send(stream: TLSStream = stream, causes: list[list[Slug]] = causes) -> None:
            with pytest.raises(TLSFailure) as caught:
                await send_for_ever(stream)
            causes.append(caught.value.report.causes)

        async def receive(stream: TLSStream = stream, causes: list[list[Slug]] = causes) -> None:
            with pytest.raises(TLSFailure) as caught:
                await stream.receive_some()
            causes.append(caught.value.report.causes)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, refuse_abruptly, raw)
            await stream.do_handshake()
            nursery.start_soon(send)
            nursery.start_soon(receive)
        await stream.aclose()
        assert causes == [["no-client-certificate"]] * 2


async def test_a_deadline_that_passes_during_the_refusal_does_not_hide_its_reason() -> None:
    one, other = tls_pair(client_side(V13, UNTRUSTED), server_side(V13))
    async with trio.open_nursery() as nursery:

        async def client_task() -> None:
            await one.do_handshake()

        nursery.start_soon(client_task)
        with pytest.raises(TLSFailure):
            await other.do_handshake()
    report = other.expire().report
    assert (report.outcome, report.rejected_by) == ("refused", "server")
    assert report.causes[0] == "unknown-authority"
    await trio.aclose_forcefully(one)
    await other.aclose()
