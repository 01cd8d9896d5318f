"""TLS servers that are not ours, and how each is run and read."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from functools import partial
from pathlib import Path
from typing import IO, TypeAlias

from tests.interop.foreign_peers import (
    Program,
    alert_seen,
    close_listener,
    java,
    node,
    own_files,
    python_context,
    started,
    version_option,
)
from tests.support.timing import TIMEOUT


class ForeignServer:
    """A running server that is not ours: a port for each case, and what it saw there."""

    def __init__(self) -> None:
        self._ports: dict[str, int] = {}
        self._saw: dict[str, list[str]] = {}
        self._news = threading.Condition()

    def opened(self, case: str, port: int) -> None:
        """It listens."""
        with self._news:
            self._ports[case] = port
            self._news.notify_all()

    def note(self, case: str, text: str) -> None:
        """A connection has ended."""
        with self._news:
            self._saw.setdefault(case, []).append(alert_seen(text))
            self._news.notify_all()

    def port(self, case: str) -> int:
        """Where the server of this case listens."""
        with self._news:
            assert self._news.wait_for(lambda: case in self._ports, TIMEOUT), self._ports
            return self._ports[case]

    def saw(self, case: str, number: int) -> Counter[str]:
        """What it saw of this case, once that is this many connections."""
        with self._news:
            seen = self._saw.setdefault(case, [])
            assert self._news.wait_for(lambda: len(seen) >= number, TIMEOUT), (case, seen)
            return Counter(seen)

    def read(self, output: IO[str]) -> None:
        """Take the lines of a program under tests/interop/peers, to the end."""
        for line in output:
            kind, case, text = line.rstrip("\n").split("\t")
            if kind == "port":
                self.opened(case, int(text))
            else:
                self.note(case, text)

    def read_s_server(self, case: str, output: IO[str]) -> None:
        """Take what ``openssl s_server`` says: nothing of a connection that went well."""
        for line in output:
            if match := re.match(r"ACCEPT .*:(\d+)", line):
                self.opened(case, int(match[1]))
            elif "error:" in line:
                self.note(case, line)


@contextlib.contextmanager
def program_server(
    program: Program, folder: Path, cases: Sequence[str]
) -> Generator[ForeignServer]:
    """A program under tests/interop/peers as the server of these cases."""
    here = ForeignServer()
    with (
        started(*program(), "server", str(folder), *cases) as process,
        _thread_of(here.read, process),
    ):
        yield here


@contextlib.contextmanager
def _s_server(folder: Path, cases: Sequence[str]) -> Generator[ForeignServer]:
    here = ForeignServer()
    with contextlib.ExitStack() as stack:
        for case in cases:
            version, credential = case.split("/")
            process = stack.enter_context(
                started(
                    *(
                        "openssl",
                        "s_server",
                        "-accept",
                        "127.0.0.1:0",
                        f"-{version_option(version)}",
                    ),
                    *own_files(folder, credential, "-"),
                    *("-CAfile", str(folder / "clients.crt"), "-Verify", "3"),
                    # Sends every line back to front: a palindrome is echoed.
                    *("-verify_return_error", "-rev"),
                )
            )
            stack.enter_context(_thread_of(partial(here.read_s_server, case), process))
        yield here


@contextlib.contextmanager
def _thread_of(read: Callable[[IO[str]], None], process: subprocess.Popen[str]) -> Generator[None]:
    """Read what a process says until it ends, which is when the block does."""
    assert process.stdout is not None
    thread = threading.Thread(target=read, args=(process.stdout,))
    thread.start()
    try:
        yield
    finally:
        process.kill()
        thread.join()


@contextlib.contextmanager
def _python_server(folder: Path, cases: Sequence[str]) -> Generator[ForeignServer]:
    here = ForeignServer()
    with contextlib.ExitStack() as stack:
        for case in cases:
            version, credential = case.split("/")
            context = python_context(folder, ssl.PROTOCOL_TLS_SERVER, version, credential)
            listener = socket.create_server(("127.0.0.1", 0))
            thread = threading.Thread(target=_python_serve, args=(here, case, context, listener))
            thread.start()
            stack.callback(thread.join)
            stack.callback(close_listener, listener)
            here.opened(case, listener.getsockname()[1])
        yield here


def _python_serve(
    here: ForeignServer, case: str, context: ssl.SSLContext, listener: socket.socket
) -> None:
    while True:
        try:
            tcp, _ = listener.accept()
        except OSError:
            return  # closed: the test is over
        tcp.settimeout(TIMEOUT)
        with tcp:
            try:
                with context.wrap_socket(tcp, server_side=True) as tls:
                    echoed = 0
                    while chunk := tls.recv(65536):
                        tls.sendall(chunk)
                        echoed += len(chunk)
                    here.note(case, f"echoed {echoed}")
            except OSError as error:
                here.note(case, f"{type(error).__name__}: {error}")


_StartServer: TypeAlias = Callable[
    [Path, Sequence[str]], contextlib.AbstractContextManager[ForeignServer]
]

# Program needed, and how to run it.
SERVERS: dict[str, tuple[str, _StartServer]] = {
    "openssl": ("openssl", _s_server),
    "node": ("node", partial(program_server, partial(node, "refused"))),
    "java": ("java", partial(program_server, partial(java, "Refused"))),
    "python": (sys.executable, _python_server),
}
