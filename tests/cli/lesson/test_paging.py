"""The lesson on a terminal: a page at a time, and a terminal that is as it was afterwards."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
from collections.abc import Generator, Mapping
from contextlib import contextmanager

import pytest

from tests.support.command_line import COMMAND, environment
from tests.support.timing import TIMEOUT

PROMPT = re.compile(
    r"(?<=m)(\d\. [a-z]+), page (\d+) of (\d+)   space: (?:on|end)   b: back   q: quit"
)


class Lesson:
    """`mtls-echo demo` in a terminal of its own."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process = process
        self.master = master
        self.prompt = ""

    def page(self) -> tuple[str, str]:
        """What was written up to the next prompt, and the prompt: a chapter and its page."""
        written = b""
        while not (found := PROMPT.search(written.decode(errors="ignore"))):
            written += os.read(self.master, 65536)
        self.prompt = found[0]
        return written.decode()[: found.start()], f"{found[1]} {found[2]}/{found[3]}"

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def press(self, key: bytes) -> None:
        os.write(self.master, key)

    def rest(self) -> str:
        """What is written until it ends."""
        written = b""
        while True:
            try:
                chunk = os.read(self.master, 65536)
            except OSError:
                return written.decode()  # the last writer has closed the terminal
            if not chunk:
                return written.decode()
            written += chunk


@contextmanager
def lesson(
    *arguments: str, rows: int = 24, variables: Mapping[str, str] = {}
) -> Generator[Lesson]:
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, 80, 0, 0))
    with subprocess.Popen(
        [*COMMAND, "demo", *arguments],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**environment(), "TERM": "xterm-256color", **variables},
        start_new_session=True,
        # Ctrl-C goes to the processes whose terminal it is.
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0) and None,
    ) as process:
        os.close(slave)
        try:
            yield Lesson(process, master)
        finally:
            process.kill()
            os.close(master)


def test_space_goes_on_b_goes_back_and_q_quits() -> None:
    with lesson("--chapter", "tls", "--chapter", "certificate") as it:
        first, place = it.page()
        assert place == "1. tls 1/2"
        assert "1. tls: what TLS is for" in first
        it.press(b" ")
        assert it.page()[1] == "1. tls 2/2"
        it.press(b"\r")
        assert it.page()[1] == "2. certificate 1/3"
        it.press(b"b")
        assert it.page()[1] == "1. tls 2/2"
        it.press(b"\x1b[D")
        assert it.page()[1] == "1. tls 1/2"
        it.press(b"b")
        assert it.page()[1] == "1. tls 1/2"
        it.press(b"q")
        it.rest()
        assert it.process.wait(TIMEOUT) == 0


def test_a_page_fills_the_screen_to_its_last_line() -> None:
    with lesson("--chapter", "tls", rows=30) as it:
        shown, _ = it.page()
        it.press(b"q")

    assert shown.count("\n") == 29


def test_in_a_low_terminal_a_section_has_several_pages() -> None:
    with lesson("--chapter", "tls", rows=14) as it:
        first, place = it.page()
        it.press(b" ")
        second, _ = it.page()
        it.press(b"q")

    assert int(place.partition("/")[2]) > 2
    assert first.count("\n") == second.count("\n") == 13
    assert "1. tls: what TLS is for, continued" in second


def test_after_a_change_of_the_terminals_size_the_next_page_fits_it() -> None:
    with lesson("--chapter", "tls", "--chapter", "certificate") as it:
        it.page()
        it.press(b" ")
        assert it.page()[1] == "1. tls 2/2"
        it.resize(20, 60)
        it.press(b" ")
        narrow, place = it.page()
        it.resize(30, 80)
        it.press(b" ")
        assert it.page()[1] == "2. certificate 1/3"
        it.press(b"b")
        wide, _ = it.page()
        it.press(b"q")

    assert place == "1. tls 4/4"
    assert narrow.count("\n") == 19
    assert "promises, and what it does not,\r\ncontinued" in re.sub(r"\x1b\[[\d;]*m", "", narrow)
    assert wide.count("\n") == 29
    assert "continued" not in wide


def test_keys_pressed_while_a_chapter_is_played_turn_no_page() -> None:
    with lesson("--chapter", "mutual", "--chapter", "attacks") as it:
        it.page()
        it.press(b" ")
        it.page()
        it.press(b" ")
        while b"\r" not in os.read(it.master, 1):
            continue  # the prompt is there until the key is read
        it.press(b" ")
        _, place = it.page()
        assert place == "7. attacks 1/13"
        it.press(b"b")
        assert it.page()[1] == "4. mutual 2/2"
        it.press(b"q")


def test_on_the_last_page_space_ends_it() -> None:
    with lesson("--chapter", "tls") as it:
        it.page()
        it.press(b" ")
        it.page()
        assert "space: end" in it.prompt
        it.press(b" ")
        it.rest()

        assert it.process.wait(TIMEOUT) == 0


def test_ctrl_c_ends_it_and_the_terminal_is_as_it_was() -> None:
    with lesson("--chapter", "tls") as it:
        before = termios.tcgetattr(it.master)
        it.page()
        assert termios.tcgetattr(it.master)[3] != before[3]
        it.press(b"\x03")
        shown = it.rest()

        assert it.process.wait(TIMEOUT) == 128 + signal.SIGINT
    assert "Traceback" not in shown


@pytest.mark.parametrize("variables", [{"TERM": "dumb"}, {"NO_COLOR": "1"}], ids=str)
def test_without_colour_there_is_no_escape_sequence(variables: dict[str, str]) -> None:
    with lesson("--chapter", "certificate", "--no-pause", variables=variables) as it:
        shown = it.rest()

    assert "what a client verifies" in shown
    assert "\x1b" not in shown


def test_what_is_accepted_refused_and_encrypted_has_a_colour() -> None:
    with lesson("--tour") as it:
        shown = it.rest()

    assert re.search(r"\x1b\[32m[^\x1b]*: accepted", shown)
    assert re.search(r"\x1b\[1;31m[^\x1b]*the server refuses", shown)
    assert re.search(r"\x1b\[36m[^\x1b]*══ Certificate of alice", shown)
