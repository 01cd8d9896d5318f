"""Servers that a client may meet, good and bad, over real TCP, and the command as a process.

The servers are plain blocking `ssl` in threads, on purpose: another implementation than the one
under test, whose every misbehaviour is a few lines that can be read.
"""

from __future__ import annotations

import contextlib
import os
import socket
import ssl
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.trust import Trust
from tests.support.authorities import CLIENTS, SERVERS, UNTRUSTED_CA
from tests.support.timing import TIMEOUT

PROGRAM = "from mtls_echo.commands.connect import connect; connect(prog_name='mtls-echo connect')"
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

Behaviour = Callable[[socket.socket, ssl.SSLContext], None]


@dataclass(frozen=True)
class World:
    """Authorities, credentials, and the same as files: ``folder / "alice.crt"`` and so on."""

    servers: Authority
    clients: Authority
    server: Credential
    alice: Credential
    untrusted: Credential
    folder: Path

    @classmethod
    def create(cls, folder: Path) -> World:
        world = cls(
            servers=SERVERS,
            clients=CLIENTS,
            server=SERVERS.issue(Request.server("localhost", "127.0.0.1", "::1")),
            alice=CLIENTS.issue(Request.client("alice.test")),
            untrusted=UNTRUSTED_CA.issue(Request.client("untrusted.test")),
            folder=folder,
        )
        for name in ("alice", "untrusted", "server"):
            credential: Credential = getattr(world, name)
            (folder / f"{name}.crt").write_bytes(credential.certificate_pem)
            (folder / f"{name}.key").write_bytes(credential.key_pem)
        (folder / "servers.crt").write_bytes(SERVERS.trust.pem)
        (folder / "clients.crt").write_bytes(CLIENTS.trust.pem)
        return world

    def server_context(
        self,
        version: str = "1.3",
        *,
        trust: Trust | None = None,
        verify: ssl.VerifyMode = ssl.CERT_REQUIRED,
    ) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server.load_into(context)
        (trust or self.clients.trust).load_into(context)
        context.verify_mode = verify
        context.minimum_version = context.maximum_version = VERSIONS[version]
        return context

    @property
    def files(self) -> tuple[str, ...]:
        """The options that present alice and trust the server."""
        return (*self.trusting, *self.presenting("alice"))

    @property
    def trusting(self) -> tuple[str, ...]:
        return ("--ca", str(self.folder / "servers.crt"))

    def presenting(self, name: str) -> tuple[str, ...]:
        return (
            "--cert",
            str(self.folder / f"{name}.crt"),
            "--key",
            str(self.folder / f"{name}.key"),
        )


@contextlib.contextmanager
def serving(
    behaviour: Behaviour, context: ssl.SSLContext, *, host: str = "127.0.0.1"
) -> Iterator[int]:
    """Serve every connection in a thread of its own; yields the port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    threads: list[threading.Thread] = []

    def handle(connection: socket.socket) -> None:
        connection.settimeout(TIMEOUT)
        # What the client does to the connection is the test's business, not the server's.
        with connection, contextlib.suppress(OSError):
            behaviour(connection, context)

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=handle, args=(connection,), daemon=True)
            thread.start()
            threads.append(thread)

    with socket.create_server((host, 0), family=family) as listener:
        acceptor = threading.Thread(target=accept, daemon=True)
        acceptor.start()
        try:
            yield listener.getsockname()[1]
        finally:
            # Wakes accept(), which close() alone does not.
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            acceptor.join(TIMEOUT)
    for thread in threads:
        thread.join(TIMEOUT)
        assert not thread.is_alive(), "a client left its connection open"


# --- what a server may do ------------------------------------------------------------------------


def accepted(connection: socket.socket, context: ssl.SSLContext) -> ssl.SSLSocket:
    return context.wrap_socket(connection, server_side=True, suppress_ragged_eofs=False)


def transforming(change: Callable[[bytes], bytes]) -> Behaviour:
    """An echo server that applies ``change`` to each piece it received."""

    def behave(connection: socket.socket, context: ssl.SSLContext) -> None:
        with accepted(connection, context) as tls:
            while data := tls.recv(16_384):
                tls.sendall(change(data))
            tls.unwrap()

    return behave


def saying(*pieces: bytes, close: bool = True) -> Behaviour:
    """A server that says ``pieces``, one record each, whatever it hears, then close_notify."""

    def behave(connection: socket.socket, context: ssl.SSLContext) -> None:
        with accepted(connection, context) as tls:
            for piece in pieces:
                tls.sendall(piece)
            if close:
                say_goodbye(tls)
            else:
                drain(tls)

    return behave


def answering(*pieces: bytes) -> Behaviour:
    """A server that hears something first, then says ``pieces`` and close_notify."""

    def behave(connection: socket.socket, context: ssl.SSLContext) -> None:
        with accepted(connection, context) as tls:
            tls.recv(16_384)
            for piece in pieces:
                tls.sendall(piece)
            tls.unwrap()

    return behave


def speaking_plainly(words: bytes) -> Behaviour:
    """Not a TLS server: hears something, says ``words``, closes."""

    def behave(connection: socket.socket, _: ssl.SSLContext) -> None:
        connection.recv(16_384)
        connection.sendall(words)
        connection.shutdown(socket.SHUT_WR)
        drain(connection)

    return behave


echo = transforming(lambda data: data)


def echo_plainly(connection: socket.socket, _: ssl.SSLContext) -> None:
    while data := connection.recv(16_384):
        connection.sendall(data)


def say_nothing(connection: socket.socket, _: ssl.SSLContext) -> None:
    drain(connection)


def leaving_unanswered(heard: Callable[[], object], *, tls: bool) -> Behaviour:
    """Hear something, with TLS after its handshake, and say nothing."""

    def behave(connection: socket.socket, context: ssl.SSLContext) -> None:
        with accepted(connection, context) if tls else connection as end:
            end.recv(16_384)
            heard()
            drain(end)

    return behave


def close_at_once(connection: socket.socket, _: ssl.SSLContext) -> None:
    connection.recv(16_384)  # or the kernel would answer with RST


def reset_at_once(connection: socket.socket, _: ssl.SSLContext) -> None:
    connection.recv(1)
    reset(connection)


def truncate(connection: socket.socket, context: ssl.SSLContext) -> None:
    """Echo half, then FIN without close_notify, as any on-path attacker can do."""
    with accepted(connection, context) as tls:
        data = tls.recv(16_384)
        tls.sendall(data[: len(data) // 2])
        tls.shutdown(socket.SHUT_RDWR)


def refuse_and_reset(connection: socket.socket, context: ssl.SSLContext) -> None:
    """Send the alert of a refused handshake, then RST, as a server in a hurry does."""
    try:
        accepted(connection, context)
    except ssl.SSLError:
        reset(connection)


def stalling(amount: int, over: threading.Event, stalled: Callable[[], object]) -> Behaviour:
    """Echo ``amount`` bytes, say so, then neither read nor write until the test is over."""

    def behave(connection: socket.socket, context: ssl.SSLContext) -> None:
        tls = accepted(connection, context)
        echoed = 0
        while echoed < amount:
            data = tls.recv(16_384)
            tls.sendall(data)
            echoed += len(data)
        stalled()
        over.wait(TIMEOUT)
        tls.close()

    return behave


def read_slowly(connection: socket.socket, context: ssl.SSLContext) -> None:
    """Echo in odd little pieces through the smallest buffers, one record each."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
    with accepted(connection, context) as tls:
        while data := tls.recv(777):
            tls.sendall(data)
        tls.unwrap()


def say_goodbye(tls: ssl.SSLSocket) -> None:
    """Send close_notify, then read what was in flight: a reset would destroy what we sent."""
    with contextlib.suppress(OSError):
        # Ends with an error when data arrives in place of the peer's close_notify.
        tls.unwrap()
    tls.shutdown(socket.SHUT_WR)
    while os.read(tls.fileno(), 65_536):
        pass


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def drain(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while connection.recv(65_536):
            pass


# --- the command ---------------------------------------------------------------------------------


# Reports, when the process ends, the most memory it ever held (KiB). Not getrusage(): that
# includes what the parent held when it forked.
MEASURED = f"""
import atexit, pathlib, sys

def report():
    status = pathlib.Path("/proc/self/status").read_text()
    print(status.partition("VmHWM:")[2].split()[0], file=sys.stderr)

atexit.register(report)
{PROGRAM}
"""


def command(*arguments: str, program: str = PROGRAM) -> list[str]:
    return [sys.executable, "-W", "error", "-c", program, *arguments]


def run(
    *arguments: str,
    input: bytes = b"",
    pki: Path | None = None,
    program: str = PROGRAM,
) -> subprocess.CompletedProcess[bytes]:
    """Run the command to its end; no run may leave a traceback behind."""
    environment = os.environ | ({"MTLS_ECHO_PKI": str(pki)} if pki else {})
    done = subprocess.run(
        command(*arguments, program=program),
        input=input,
        capture_output=True,
        timeout=TIMEOUT,
        env=environment,
        check=False,
    )
    assert b"Traceback" not in done.stderr, done.stderr.decode()
    return done
