"""What the tests of the tls component share: contexts, connections over loopback, peers."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path

import pytest
import trio

from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_tls.diagnosis.diagnose import diagnose
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.diagnosis.report import Report
from mtls_echo_tls.stream.tcp import TCPStream
from mtls_echo_tls.stream.tls import TLSStream
from tests.support.authorities import CLIENTS, SERVERS

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
VERSIONS = [pytest.param(V12, id="TLS 1.2"), pytest.param(V13, id="TLS 1.3")]
both_versions = pytest.mark.parametrize("version", VERSIONS)

LOCALHOST = SERVERS.issue(Request.server("localhost"))
ALICE = CLIENTS.issue(Request.client("alice.test"))

EXPIRED = {"lifetime": timedelta(days=-1), "backdate": timedelta(days=2)}
FUTURE = {"lifetime": timedelta(days=3), "backdate": timedelta(days=-1)}

# As the contexts of this project have it: SSL_OP_NO_TX_ and SSL_OP_NO_RX_CERTIFICATE_COMPRESSION.
NO_CERTIFICATE_COMPRESSION = 0b11 << 32 if ssl.OPENSSL_VERSION_INFO >= (3, 2) else 0

# Of a record that it cannot decrypt OpenSSL says the same since 3.2 as of any that is not allowed,
# and behind the handshake nothing tells which alert it sent (measured with 3.0, 3.5 and 3.6).
BLURS_DAMAGE = ssl.OPENSSL_VERSION_INFO >= (3, 2)


def assert_damaged(report: Report) -> None:
    """What the end says that has got an altered record behind the handshake, and refused it."""
    assert report.rejected_by == report.side
    if BLURS_DAMAGE and report.alert is None:
        assert report.causes == ["tampered", "protocol-violation"]
    else:
        assert report.causes == ["tampered"]
        assert report.alert is not None
        assert (report.alert.name, report.alert.direction) == ("bad_record_mac", "sent")


def server_side(
    version: ssl.TLSVersion | None = None,
    credential: Credential = LOCALHOST,
    clients: Trust | None = CLIENTS.trust,
) -> ssl.SSLContext:
    """A server's context; ``clients`` None: it asks for no certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    credential.load_into(context)
    if clients is not None:
        clients.load_into(context)
        context.verify_mode = ssl.CERT_REQUIRED
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET
    return _only(context, version)


def client_side(
    version: ssl.TLSVersion | None = None,
    credential: Credential | None = ALICE,
    servers: Trust = SERVERS.trust,
) -> ssl.SSLContext:
    """A client's context."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if credential is not None:
        credential.load_into(context)
    servers.load_into(context)
    return _only(context, version)


def _only(context: ssl.SSLContext, version: ssl.TLSVersion | None) -> ssl.SSLContext:
    context.options |= NO_CERTIFICATE_COMPRESSION
    if version is not None:
        context.minimum_version = context.maximum_version = version
    return context


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of a real TCP connection over loopback."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        one = socket.create_connection(listener.getsockname())
        other, _ = listener.accept()
    return one, other


def tls_pair(
    client_context: ssl.SSLContext, server_context: ssl.SSLContext, *, name: str = "localhost"
) -> tuple[TLSStream, TLSStream]:
    """Our client and our server on one TCP connection, not yet shaken hands."""
    one, other = tcp_pair()
    return (
        TLSStream(TCPStream(one), client_context, server_name=name),
        TLSStream(TCPStream(other), server_context, server_side=True),
    )


async def handshake(one: TLSStream, other: TLSStream) -> None:
    """Both sides at once."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.do_handshake)
        nursery.start_soon(other.do_handshake)


@contextlib.asynccontextmanager
async def connected(version: ssl.TLSVersion) -> AsyncIterator[tuple[TLSStream, TLSStream]]:
    """A client and a server that have accepted each other."""
    one, other = tls_pair(client_side(version), server_side(version))
    await handshake(one, other)
    try:
        yield one, other
    finally:
        with trio.CancelScope() as at_once:
            at_once.cancel()
            await one.aclose()
        with trio.CancelScope() as at_once:
            at_once.cancel()
            await other.aclose()


async def send_for_ever(stream: TLSStream) -> None:
    """Until it fails."""
    while True:
        await stream.send_all(bytes(1_000_000))


async def receive_for_ever(stream: TLSStream) -> None:
    """Until it fails."""
    while True:
        await stream.receive_some()


async def converse(stream: TLSStream) -> Report:
    """Shake hands and exchange a line each way; the report of what happened."""
    async with stream:
        try:
            await stream.do_handshake()
            if stream.evidence.side == "client":
                await stream.send_all(b"hello")
                await stream.receive_some()
            else:
                await stream.receive_some()
                await stream.send_all(b"hello")
        except TLSFailure as failure:
            return failure.report
        return diagnose(stream.evidence)


async def reports(one: TLSStream, other: TLSStream) -> tuple[Report, Report]:
    """Let both sides converse; both reports, the first stream's first."""
    found: dict[int, Report] = {}

    async def run(index: int, stream: TLSStream) -> None:
        found[index] = await converse(stream)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, 0, one)
        nursery.start_soon(run, 1, other)
    return found[0], found[1]


async def against_raw(
    stream: TLSStream, raw: socket.socket, peer: Callable[[trio.SocketStream], Awaitable[None]]
) -> Report:
    """The report of our stream whose peer is a hand-written one."""
    report: list[Report] = []

    async def ours() -> None:
        report.append(await converse(stream))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ours)
        raw.setblocking(False)
        await peer(trio.SocketStream(trio.socket.from_stdlib_socket(raw)))
    return report[0]


def reset(sock: socket.socket | trio.socket.SocketType) -> None:
    """Close with RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    sock.close()


def refusal(run: Callable[[], object]) -> str | None:
    """The reason of the `ssl.SSLError` that a blocking conversation ends with."""
    try:
        run()
    except ssl.SSLError as error:
        return error.reason
    return None


def write_pem(folder: str) -> None:
    """What an openssl command needs: alice.pem and server.pem with their keys, ca.pem."""
    Path(folder, "alice.pem").write_bytes(ALICE.certificate_pem + ALICE.key_pem)
    Path(folder, "server.pem").write_bytes(LOCALHOST.certificate_pem + LOCALHOST.key_pem)
    Path(folder, "ca.pem").write_bytes(SERVERS.trust.pem)


@contextlib.asynccontextmanager
async def openssl(command: str, *options: str) -> AsyncIterator[tuple[trio.Process, str]]:
    """An openssl process, in a folder of `write_pem`."""
    with tempfile.TemporaryDirectory() as folder:
        write_pem(folder)
        process = await trio.lowlevel.open_process(
            ["openssl", command, *options],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process, folder
        finally:
            process.kill()
            await process.wait()


@contextlib.asynccontextmanager
async def s_client(*options: str) -> AsyncIterator[tuple[socket.socket, trio.Process]]:
    """`openssl s_client`, and our end of its connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        async with openssl("s_client", "-connect", address, *options) as (process, _):
            sock, _ = await trio.to_thread.run_sync(listener.accept)
            with sock:
                yield sock, process


async def write(process: trio.Process, text: bytes) -> None:
    """Type something."""
    assert process.stdin is not None
    await process.stdin.send_all(text)


async def accepting(process: trio.Process) -> int:
    """The port of an ``openssl s_server -accept 127.0.0.1:0``, once it listens."""
    line = await printed(process, b"ACCEPT 127.0.0.1:")
    while not line.endswith(b"\n"):
        line += await printed(process, b"\n")
    return int(line.rpartition(b":")[2])


async def printed(process: trio.Process, text: bytes) -> bytes:
    """Read what a process prints until the text appears."""
    assert process.stdout is not None
    seen = b""
    while text not in seen:
        chunk = await process.stdout.receive_some()
        assert chunk, f"{text!r} not in {seen!r}"
        seen += chunk
    return seen
