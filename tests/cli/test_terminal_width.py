"""In a terminal: lines of whole words, as wide as it is, and colour unless it is unwanted."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Mapping

import pytest

from tests.support.command_line import COMMAND, environment, run
from tests.support.timing import TIMEOUT

NO_COLOUR = {"NO_COLOR": "1"}
COMMANDS = (
    "demo --tls 1.3",
    "observe expired --fast",
    "explain unknown ca",
    "explain --side client SSL alert number 42",
    "explain nothing that is known",
    "connect localhost:1 hello",
    "connect localhost:8443 hello --cert x",
    "pki issue ./nowhere alice",
    "nonsense",
    "--help",
    "serve --help",
    "connect --help",
    "endpoints --help",
    "pki renew --help",
)


def in_terminal(command: str, columns: int, variables: Mapping[str, str] = NO_COLOUR) -> str:
    """What a command shows in a terminal of so many columns."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    with subprocess.Popen(
        [*COMMAND, *command.split()],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**environment(), "TERM": "xterm-256color", **variables},
    ) as process:
        os.close(slave)
        written = b""
        while True:
            try:
                written += os.read(master, 65536)
            except OSError:
                break  # the last writer has closed the terminal
        process.wait(TIMEOUT)
    os.close(master)
    return written.decode().replace("\r\n", "\n")


def _words(text: str) -> set[str]:
    """The words, without what differs from run to run and what diagrams are made of."""
    return {re.sub(r"\d+", "0", word) for word in text.split() if re.search(r"\w", word)}


@pytest.mark.parametrize("columns", [60, 80])
@pytest.mark.parametrize("command", COMMANDS)
def test_lines_are_as_wide_as_the_terminal_and_words_are_whole(command: str, columns: int) -> None:
    shown, wide = in_terminal(command, columns), in_terminal(command, 120)

    assert max(map(len, shown.splitlines())) <= columns
    assert _words(shown) == _words(wide)


def test_a_table_that_does_not_fit_has_each_failure_on_a_line_of_its_own() -> None:
    shown = in_terminal("observe not-an-authority-no-basic-constraints --fast", 80)

    assert max(map(len, shown.splitlines())) <= 80
    assert "\nnot-an-authority-no-basic-constraints\n  1.2 1.3  sure" in shown


@pytest.mark.parametrize("command", COMMANDS[:8])
@pytest.mark.parametrize("variables", [NO_COLOUR, {"TERM": "dumb"}], ids=str)
def test_colour_is_left_out_where_it_is_unwanted(command: str, variables: dict[str, str]) -> None:
    assert "\x1b" not in in_terminal(command, 80, variables)


@pytest.mark.parametrize("command", ["demo --tls 1.3", "observe expired --fast", "nonsense"])
def test_a_terminal_gets_colour_and_a_pipe_does_not(command: str) -> None:
    piped = run(*command.split())

    assert "\x1b[" in in_terminal(command, 80, {})
    assert "\x1b" not in piped.stdout + piped.stderr
