"""Run commands in a pseudo terminal, and keep what they print there, colours included.

What differs from run to run (times, durations, ports of clients) is replaced by fixed values, so
that the same commands leave the same text until they print something else.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shlex
import socket
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Mapping
from pathlib import Path

COLUMNS, LINES = 80, 24
SECONDS = 20

_VARYING = (
    (r"\b\d\d:\d\d:\d\d\b", "12:00:00"),
    (r"(?<=127\.0\.0\.1:)[3-6]\d{4}\b", "50000"),
    (r"\b\d+(\.\d+)? ms\b", "2.0 ms"),
)


class Command:
    """A command of this project that runs in a terminal of its own, in the user's home.

    Args:
        line: As one types it.
        variables: Its environment.
        columns: How wide the terminal is.
    """

    def __init__(self, line: str, variables: Mapping[str, str], columns: int = COLUMNS) -> None:
        program, *arguments = shlex.split(line)
        assert program == "mtls-echo", line
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, columns, 0, 0))
        self._printed = b""
        self._more = threading.Condition()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mtls_echo", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=dict(variables),
            cwd=variables["HOME"],
            start_new_session=True,
        )
        os.close(theirs)
        self._reader = threading.Thread(target=self._read, args=(ours,))
        self._reader.start()

    def wait_for(self, words: str) -> None:
        """Wait until it has printed a line with these."""
        line = re.compile(rb".*%s.*\n" % re.escape(words.encode()))
        with self._more:
            found = self._more.wait_for(lambda: line.search(self._printed), SECONDS)
        assert found, f"{words!r} is not in {self._printed!r}"

    def end(self) -> int:
        """Wait until it has ended; its exit status."""
        status = self._process.wait(SECONDS)
        self._reader.join(SECONDS)
        return status

    def stop(self) -> None:
        """Have it stop, as Ctrl-C would."""
        self._process.terminate()
        self.end()

    @property
    def as_printed(self) -> str:
        """What is on its terminal."""
        return self._printed.decode()

    @property
    def printed(self) -> str:
        """The same with fixed values for what varies."""
        text = self.as_printed.replace("\r\n", "\n")
        for pattern, fixed in _VARYING:
            text = re.sub(pattern, fixed, text)
        return text

    def _read(self, terminal: int) -> None:
        while True:
            try:
                some = os.read(terminal, 65536)
            except OSError:  # what Linux says when the last program has closed it
                some = b""
            if not some:
                break
            with self._more:
                self._printed += some
                self._more.notify_all()
        os.close(terminal)


def environment(home: Path) -> dict[str, str]:
    """The environment of a user who has set nothing, at a terminal with colours."""
    return {
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "TERM": "xterm-256color",
    }


def free_port() -> int:
    """The port of the documentation; one of as many digits where it is taken."""
    for port in range(8443, 9000):
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")
