"""`mtls-echo connect --starttls`: TLS in the middle of a plaintext protocol."""

from __future__ import annotations

import socket
import ssl

from tests.cli.commands.connect.world import world as world
from tests.support.clients import Behaviour, World, echo, run, saying, serving


def postgres(answer: bytes, then: Behaviour) -> Behaviour:
    """A server that answers an SSLRequest."""

    def behave(connection: socket.socket, context: ssl.SSLContext) -> None:
        assert connection.recv(8, socket.MSG_WAITALL)[4:] == b"\x04\xd2\x16\x2f"
        connection.sendall(answer)
        then(connection, context)

    return behave


def test_it_implies_handshake(world: World) -> None:
    with serving(postgres(b"S", saying(b"hello")), world.server_context()) as port:
        done = run(f"localhost:{port}", "--starttls", "postgres", *world.files)

    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(b"the handshake is complete, and the server has said something")


def test_a_message_is_still_echoed(world: World) -> None:
    with serving(postgres(b"S", echo), world.server_context()) as port:
        done = run(f"localhost:{port}", "hello", "--starttls", "postgres", *world.files)

    assert (done.returncode, done.stdout) == (0, b"hello\n")


def test_a_server_that_has_no_tls_is_told_as_such(world: World) -> None:
    def leave(connection: socket.socket, _: ssl.SSLContext) -> None:
        connection.shutdown(socket.SHUT_WR)

    with serving(postgres(b"N", leave), world.server_context()) as port:
        done = run(f"localhost:{port}", "--starttls", "postgres", *world.files)

    first, second, *_, last = done.stderr.decode().splitlines()
    assert done.returncode == 8
    assert first == "mtls-echo: error: the server does not offer to start TLS here"
    assert second.split() == ["missing:", "SSLRequest", "(ssl", "=", "on)"]
    assert last.startswith("mtls-echo: hint: ") or "TLS" in last


def test_an_unknown_protocol_is_a_usage_error_that_names_the_known_ones(world: World) -> None:
    done = run("localhost:1", "--starttls", "ftp", *world.files)

    assert done.returncode == 2
    assert b"postgres" in done.stderr
