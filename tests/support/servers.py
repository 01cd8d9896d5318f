"""Servers in this process and in others, and clients that are not ours."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import trio

from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import Request
from mtls_echo_server.access import Access
from mtls_echo_server.connection import Limits
from mtls_echo_server.context import ClientAuth, server_context
from mtls_echo_server.events import Event
from mtls_echo_server.handlers import Handler
from mtls_echo_server.listeners import listen
from mtls_echo_server.service import Server, Stopped
from mtls_echo_tls.stream.tcp import TCPStream
from mtls_echo_tls.stream.tls import TLSStream
from tests.support.authorities import CLIENTS, SERVERS, UNTRUSTED_CA
from tests.support.timing import TIMEOUT

VERSIONS = [
    ("TLS 1.2", ssl.TLSVersion.TLSv1_2),
    ("TLS 1.3", ssl.TLSVersion.TLSv1_3),
]

SERVE = "from mtls_echo.commands.serve import serve; serve(prog_name='mtls-echo serve')"


class Authorities:
    """The authorities of the tests, a server's credential and clients'."""

    def __init__(self) -> None:
        self.servers = SERVERS
        self.clients = CLIENTS
        self.server = self.servers.issue(Request.server("localhost", "127.0.0.1"))
        self.alice = self.clients.issue(Request.client("alice.test", subject="alice"))
        self.untrusted = UNTRUSTED_CA.issue(Request.client("alice.test", subject="alice"))

    def server_context(self, client_auth: ClientAuth = ClientAuth.REQUIRED) -> ssl.SSLContext:
        trust = None if client_auth is ClientAuth.NONE else self.clients.trust
        return server_context(self.server, trust, client_auth=client_auth)

    def client_context(
        self,
        credential: Credential | None = None,
        version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
    ) -> ssl.SSLContext:
        """A client's context by nothing but the standard library's means."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = context.maximum_version = version
        self.servers.trust.load_into(context)
        if credential is not None:
            credential.load_into(context)
        return context

    def files(self, folder: Path) -> list[str]:
        """The server's material as files, as options of the command."""
        (folder / "s.crt").write_bytes(self.server.certificate_pem)
        (folder / "s.key").write_bytes(self.server.key_pem)
        (folder / "clients.crt").write_bytes(self.clients.trust.pem)
        return [
            *("--cert", str(folder / "s.crt"), "--key", str(folder / "s.key")),
            *("--client-ca", str(folder / "clients.crt")),
        ]


class Running:
    """A server in this process, and what it has told so far."""

    def __init__(self, server: Server, events: list[Event], arrived: trio.Event) -> None:
        self.server = server
        self.events = events
        self.port = 0
        self.stopped: Stopped | None = None
        self._arrived = arrived

    def tell(self, event: Event) -> None:
        self.events.append(event)
        self._arrived.set()
        self._arrived = trio.Event()

    async def event(self, name: str, number: int = 1) -> dict[str, Any]:
        """The fields of the ``number``-th event of that name, when it has happened."""
        while True:
            found = [event for event in self.events if event.name == name]
            if len(found) >= number:
                return dict(found[number - 1].fields)
            await self._arrived.wait()

    async def tcp(self) -> TCPStream:
        return await TCPStream.connect("127.0.0.1", self.port)

    async def connect(self, context: ssl.SSLContext) -> TLSStream:
        """A client that has completed its handshake, as far as it can know."""
        stream = TLSStream(await self.tcp(), context, server_name="localhost")
        try:
            await stream.do_handshake()
        except BaseException:
            await stream.aclose()
            raise
        return stream


@asynccontextmanager
async def running(
    context: Any, handler: Handler | None = None, **options: Any
) -> AsyncGenerator[Running, None]:
    """A server in this process; stopped, and whatever is left cut off, at the end."""
    events: list[Event] = []
    arrived = trio.Event()
    if handler is not None:
        options["handler"] = handler
    server = Server(context, events=lambda event: here.tell(event), **options)
    here = Running(server, events, arrived)

    async def run(task_status: trio.TaskStatus[Any]) -> None:
        here.stopped = await server.run(listen(["127.0.0.1:0"]), task_status=task_status)

    async with trio.open_nursery() as nursery:
        [(_, here.port)] = await nursery.start(run)
        yield here
        server.stop()
        server.stop()


async def echoed(stream: trio.abc.Stream, data: bytes = b"hello") -> bytes:
    """What comes back for ``data``."""
    await stream.send_all(data)
    received = b""
    while len(received) < len(data):
        chunk = await stream.receive_some()
        if not chunk:
            break
        received += chunk
    return received


async def everything(stream: trio.abc.ReceiveStream) -> bytes:
    """What arrives until the end."""
    received = b""
    while chunk := await stream.receive_some():
        received += chunk
    return received


class ServeProcess:
    """`mtls-echo serve` as a process of its own, with its events as dictionaries."""

    def __init__(
        self,
        *options: str,
        pki: Path | None = None,
        descriptors: int | None = None,
        listen: str | None = "127.0.0.1:0",
        unprivileged: bool = False,
        program: str = SERVE,
    ) -> None:
        command = [sys.executable, "-c", program, "--log-format", "json", *options]
        if listen is not None:
            command += ["--listen", listen]
        if pki is not None:
            command += ["--pki", str(pki)]

        def lower() -> None:
            if descriptors is not None:
                resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
            if unprivileged:
                without_privilege()

        self.process = subprocess.Popen(
            command,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lower,
        )
        self.events: list[dict[str, Any]] = []
        self.port = 0
        self._watchdog = threading.Timer(TIMEOUT, self.process.kill)

    def __enter__(self) -> ServeProcess:
        self._watchdog.start()
        try:
            self.port = int(self.event("listening")["port"])
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.process.kill()
        self.process.wait()
        self._watchdog.cancel()
        assert self.process.stderr is not None
        self.process.stderr.close()

    def event(self, name: str, number: int = 1) -> dict[str, Any]:
        """The ``number``-th event of that name, when it has happened."""
        assert self.process.stderr is not None
        while True:
            found = [event for event in self.events if event["event"] == name]
            if len(found) >= number:
                return found[number - 1]
            line = self.process.stderr.readline()
            assert line, f"the server ended without {name}; it said {self.events}"
            self.events.append(json.loads(line))

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Signal the server, and return its exit status when it has ended."""
        self.process.send_signal(number)
        self.event("stopped")
        return self.process.wait()

    def connect(self, context: ssl.SSLContext) -> ssl.SSLSocket:
        """A blocking client of the standard library, after its handshake."""
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT)
        try:
            return context.wrap_socket(sock, server_hostname="localhost")
        except BaseException:
            sock.close()
            raise

    def tcp(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT)


def without_privilege() -> None:
    """Have permissions stop root too, from the next exec on (Linux: capabilities(7))."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None, use_errno=True)
        for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
            if libc.prctl(24, capability, 0, 0, 0):  # PR_CAPBSET_DROP
                raise OSError(ctypes.get_errno(), "prctl")


def refused_start(*options: str, env: dict[str, str] | None = None) -> str:
    """What the command says when it refuses to start; asserts that it is a usage error."""
    done = run_command(*options, env=env)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    return done.stderr


def run_command(
    *options: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", SERVE, *options],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        env={**os.environ, **(env or {})},
        check=False,
    )


def visit(
    context: ssl.SSLContext, port: int, session: ssl.SSLSession | None
) -> tuple[bytes, bool | None, ssl.SSLSession | None]:
    """Say hello over a connection that resumes a session, as only the standard library does."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) as tcp,
        context.wrap_socket(tcp, server_hostname="localhost", session=session) as tls,
    ):
        tls.sendall(b"hello")
        received, session, reused = tls.recv(1000), tls.session, tls.session_reused
        with contextlib.suppress(OSError):
            tls.unwrap()
        return received, reused, session


def read_to_end(sock: socket.socket) -> bytes:
    received = b""
    while chunk := sock.recv(65536):
        received += chunk
    return received


def limits(**changed: Any) -> Limits:
    """Limits that no test meets by accident."""
    return Limits(**{"handshake_timeout": TIMEOUT, "idle_timeout": TIMEOUT, **changed})


def access(**rules: Sequence[str]) -> Access:
    return Access(**{kind: tuple(values) for kind, values in rules.items()})
