"""Runs the real command in a real process: what the tests of every component share."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.support.timing import TIMEOUT

COMMAND = (sys.executable, "-m", "mtls_echo")


def environment(pki: Path | None = None, **more: str) -> dict[str, str]:
    """The environment of a user who has configured nothing; ``pki`` is the default PKI."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    if pki is not None:
        kept["MTLS_ECHO_PKI"] = str(pki)
    return {**kept, **more}


def run(
    *arguments: str, pki: Path | None = None, stdin: str | bytes = b"", **more: str
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        [*COMMAND, *arguments],
        input=stdin.decode() if isinstance(stdin, bytes) else stdin,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        env=environment(pki, **more),
    )


def run_in_terminal(
    *arguments: str,
    until: bytes | None = None,
    columns: int = 80,
    variables: Mapping[str, str] | None = None,
) -> tuple[str, int]:
    """What a command shows in a terminal, and its exit status.

    It is interrupted when ``until`` has been shown.
    """
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    with subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**environment(), "TERM": "xterm-256color", **(variables or {})},
    ) as process:
        os.close(slave)
        written = b""
        while True:
            try:
                written += os.read(master, 65536)
            except OSError:
                break  # the last writer has closed the terminal
            if until is not None and until in written:
                until = None
                process.send_signal(signal.SIGINT)
        status = process.wait(TIMEOUT)
    os.close(master)
    return written.decode(), status


@contextlib.contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A command that runs as long as the block does, or less."""
    with subprocess.Popen(
        [*COMMAND, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        try:
            yield process
        finally:
            process.kill()


class Serving:
    """A running `mtls-echo serve`, and its events as they come."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._events: list[dict[str, Any]] = []
        self._arrived = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            if not line.endswith("\n"):
                break  # cut off when the process was killed
            with self._arrived:
                self._events.append(json.loads(line))
                self._arrived.notify_all()

    def wait_for(self, event: str, number: int = 1, **fields: object) -> dict[str, Any]:
        """The ``number``-th event of this name whose fields have these values."""
        found: list[dict[str, Any]] = []

        def there() -> bool:
            found[:] = [
                e
                for e in self._events
                if e["event"] == event and all(e.get(k) == v for k, v in fields.items())
            ]
            return len(found) >= number

        with self._arrived:
            assert self._arrived.wait_for(there, TIMEOUT), self._events
        return found[number - 1]

    def count(self, event: str) -> int:
        """How many events of this name have come."""
        with self._arrived:
            return sum(each["event"] == event for each in self._events)

    def kill(self) -> None:
        """End it at once; a reader in the middle of a line is waited for."""
        self.process.kill()
        self.process.wait()
        self._reader.join()
        assert self.process.stderr is not None
        self.process.stderr.close()

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.wait_for("listening")["port"])

    def stop(self) -> int:
        """End it as an operator would; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(TIMEOUT)


@contextlib.contextmanager
def serving(*arguments: str, pki: Path | None = None, **more: str) -> Iterator[Serving]:
    """Run `mtls-echo serve` on a free port for as long as the block lasts."""
    process = subprocess.Popen(
        [*COMMAND, "serve", "--listen", "127.0.0.1:0", "--log-format", "json", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(pki, **more),
    )
    running = Serving(process)
    try:
        yield running
    finally:
        running.kill()
