"""Is a person at a terminal told the truth, at once, and let go when they wish?"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from mtls_echo_tls.denial import denial_line
from tests.cli.commands.connect.world import versions
from tests.cli.commands.connect.world import world as world
from tests.support.clients import (
    PROGRAM,
    Behaviour,
    World,
    close_at_once,
    command,
    echo,
    saying,
    serving,
)
from tests.support.timing import HOUR, TELLING, TIMEOUT


@dataclass
class Terminal:
    """The command with a terminal for its standard input, and pipes for the rest."""

    process: subprocess.Popen[bytes]
    keyboard: int
    said: bytes = b""

    def type(self, keys: bytes) -> None:
        os.write(self.keyboard, keys)

    def await_echo(self, line: bytes) -> None:
        assert self.process.stdout
        assert self.process.stdout.readline() == line

    def await_word(self, word: bytes) -> None:
        """Wait until ``word`` is said on standard error."""
        while word not in self.said:
            self.hear()

    def hear(self) -> None:
        """Wait until anything is said."""
        assert self.process.stderr
        readable, _, _ = select.select([self.process.stderr], [], [], TIMEOUT)
        assert readable, self.said
        data = os.read(self.process.stderr.fileno(), 4096)
        assert data, self.said
        self.said += data

    def think_for_an_hour(self) -> None:
        """By the command's clock, which is a `TELLING` one."""
        heard = self.said.count(HOUR)
        self.process.send_signal(signal.SIGUSR1)
        while self.said.count(HOUR) == heard:
            self.hear()

    def end(self) -> tuple[int, bytes, bytes]:
        """Wait for the end; the exit status, the rest of the output, and all that was said."""
        output, errors = self.process.communicate(timeout=TIMEOUT)
        return self.process.returncode, output, self.said + errors


@contextlib.contextmanager
def at_a_terminal(
    world: World,
    behaviour: Behaviour,
    context: ssl.SSLContext,
    *options: str,
    program: str = PROGRAM,
) -> Iterator[Terminal]:
    keyboard, standard_input = os.openpty()
    with (
        serving(behaviour, context) as port,
        subprocess.Popen(
            command(f"localhost:{port}", *(options or world.files), program=program),
            stdin=standard_input,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process,
    ):
        os.close(standard_input)
        try:
            yield Terminal(process, keyboard)
        finally:
            process.kill()
    os.close(keyboard)


@versions
def test_each_line_is_echoed_and_ctrl_d_ends(world: World, version: str) -> None:
    with at_a_terminal(world, echo, world.server_context(version)) as terminal:
        terminal.await_word(b"type a line")
        assert b"connected" not in terminal.said  # nothing is proved yet
        terminal.type(b"hello\n")
        terminal.await_echo(b"hello\n")
        terminal.await_word(b"connected to localhost:")
        terminal.type(b"again\n")
        terminal.await_echo(b"again\n")
        terminal.type(b"\x04")
        status, output, said = terminal.end()

    assert (status, output) == (0, b"")
    assert said.count(b"\n") == 2


@versions
@pytest.mark.parametrize(
    ("behaviour", "refused", "status", "word"),
    [
        pytest.param(echo, True, 5, b"refused us", id="refused"),
        pytest.param(saying(denial_line("only bob")), False, 9, b"only bob", id="denied"),
        pytest.param(saying(), False, 6, b"closed", id="closed"),
        pytest.param(close_at_once, False, 6, b"closed", id="no TLS server"),
    ],
)
def test_a_refusal_is_shown_without_waiting_for_a_line(
    world: World, version: str, behaviour: Behaviour, refused: bool, status: int, word: bytes
) -> None:
    options = world.trusting if refused else world.files
    with at_a_terminal(world, behaviour, world.server_context(version), *options) as terminal:
        # Nothing is typed.
        ended, output, said = terminal.end()

    assert (ended, output) == (status, b"")
    assert word in said
    assert b"connected" not in said
    assert b"Traceback" not in said


def test_a_refusal_after_some_lines_is_shown_while_a_line_is_being_typed(world: World) -> None:
    def tire(connection: socket.socket, context: ssl.SSLContext) -> None:
        with context.wrap_socket(connection, server_side=True) as tls:
            tls.sendall(tls.recv(100))
            tls.unwrap()

    with at_a_terminal(world, tire, world.server_context()) as terminal:
        terminal.type(b"hello\n")
        terminal.await_echo(b"hello\n")
        terminal.type(b"half a li")
        status, _, said = terminal.end()

    assert status == 6
    assert b"the server closed the connection after every byte had come back (6)" in said


@versions
@pytest.mark.parametrize("after", ["the handshake", "an echo"])
def test_ctrl_c_is_clean(world: World, version: str, after: str) -> None:
    with at_a_terminal(world, echo, world.server_context(version)) as terminal:
        terminal.await_word(b"type a line")
        if after == "an echo":
            terminal.type(b"hello\n")
            terminal.await_echo(b"hello\n")
        terminal.process.send_signal(signal.SIGINT)
        status, _, said = terminal.end()

    assert status == 130
    assert b"Traceback" not in said
    assert b"error" not in said


def test_a_person_who_thinks_longer_than_the_timeout_is_not_late(world: World) -> None:
    with at_a_terminal(world, echo, world.server_context(), program=TELLING + PROGRAM) as terminal:
        terminal.await_word(b"type a line")
        terminal.think_for_an_hour()
        terminal.type(b"hello\n")
        terminal.await_echo(b"hello\n")
        terminal.think_for_an_hour()
        terminal.type(b"again\n")
        terminal.await_echo(b"again\n")
        terminal.type(b"\x04")
        assert terminal.end()[0] == 0


def test_a_report_is_all_that_a_terminal_session_prints_with_json(world: World) -> None:
    options = (*world.files, "--json")
    with at_a_terminal(world, echo, world.server_context(), *options) as terminal:
        terminal.type(b"hello\n\x04")
        status, output, said = terminal.end()

    assert (status, said) == (0, b"")
    assert output.startswith(b'{"side":"client","outcome":"echoed"')
    assert output.count(b"\n") == 1
