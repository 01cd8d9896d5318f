"""TLS clients that are not ours, and how each is run and read."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeAlias

from tests.interop.foreign_peers import (
    IN_FLIGHT,
    Program,
    alert_seen,
    java,
    node,
    own_files,
    payload,
    python_context,
    started,
    version_option,
)
from tests.support.timing import TIMEOUT


class Case(NamedTuple):
    """What a foreign client does: which version, as whom, how many bytes, how often."""

    version: str
    credential: str
    size: int = 0
    times: int = 1

    @property
    def spec(self) -> str:
        """As the peers under tests/interop/peers read it, and repeat it in each line."""
        return "/".join(map(str, self))


Observed = dict[Case, Counter[str]]


def _openssl_once(port: int, folder: Path, case: Case) -> str:
    command = [
        *("openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-quiet"),
        *("-servername", "localhost", "-verify_return_error"),
        *("-CAfile", str(folder / "servers.crt"), f"-{version_option(case.version)}"),
        *own_files(folder, case.credential, "-"),
    ]
    if case.credential == "client":
        # The end of its input ends it, once the echo is here.
        with started(*command, "-no_ign_eof") as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("hello\n")
            process.stdin.flush()
            for line in process.stdout:
                if line == "hello\n":
                    return f"echoed {len(line)}"
            return "end of file"
    source = folder / "in-flight" if case.size else Path(os.devnull)
    with source.open("rb") as stdin:
        done = subprocess.run(
            command, stdin=stdin, capture_output=True, timeout=TIMEOUT, check=False
        )
    return done.stderr.decode(errors="replace")


def _curl_once(port: int, folder: Path, case: Case) -> str:
    number = case.version.removeprefix("TLSv")
    command = [
        *("curl", "--disable", "--noproxy", "*", "--silent", "--show-error", "--verbose"),
        *("--resolve", f"localhost:{port}:127.0.0.1", f"--tlsv{number}", "--tls-max", number),
        *("--cacert", str(folder / "servers.crt"), *own_files(folder, case.credential, "--")),
        f"https://localhost:{port}/",
    ]
    if case.credential == "client":
        with started(*command) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if "HTTP/1.1 200 OK" in line:
                    return "answered"
            return "end of file"
    if case.size:
        # No Expect: curl would wait for a "100 Continue" before it sends anything.
        command += ["--data-binary", f"@{folder / 'in-flight'}", "--header", "Expect:"]
    done = subprocess.run(command, capture_output=True, timeout=TIMEOUT, check=False)
    return done.stderr.decode(errors="replace")


def _python_once(port: int, folder: Path, case: Case) -> str:
    context = python_context(folder, ssl.PROTOCOL_TLS_CLIENT, case.version, case.credential)
    with socket.create_connection(("127.0.0.1", port), TIMEOUT) as tcp:
        try:
            if case.size == IN_FLIGHT and case.version == "TLSv1.2":
                return _false_start(tcp, context, case.size)
            with context.wrap_socket(tcp, server_hostname="localhost") as tls:
                # Everything is written before anything is read: what most programs do, and what
                # a server that does not read on after its refusal would never let finish.
                tls.sendall(payload(case.size))
                echoed = 0
                while chunk := tls.recv(65536):
                    echoed += len(chunk)
                    if echoed >= case.size:
                        return f"echoed {echoed}"
                return "end of file"
        except OSError as error:
            return f"{type(error).__name__}: {error}"


def _false_start(tcp: socket.socket, context: ssl.SSLContext, size: int) -> str:
    """Send application data right behind our last flight, before the server has verified it."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    flights = 0
    while True:
        try:
            tls.do_handshake()
            return "accepted"
        except ssl.SSLWantReadError:
            if outgoing.pending:
                tcp.sendall(outgoing.read())
                flights += 1
                if flights == 2:  # ClientHello, then Certificate ... Finished
                    for _ in range(0, size, 16_384):
                        # A record as the network shows it; it is never decrypted.
                        tcp.sendall(b"\x17\x03\x03\x40\x00" + bytes(16_384))
            data = tcp.recv(65536)
            if not data:
                return "end of file"
            incoming.write(data)


_OneByOne: TypeAlias = Callable[[int, Path, Case], str]


def _each(once: _OneByOne, port: int, folder: Path, cases: Sequence[Case]) -> Observed:
    """One connection at a time each, two at once: each mostly waits for the other end."""
    tasks = [case for case in cases for _ in range(case.times)]
    observed = _nothing_yet(cases)
    with ThreadPoolExecutor(2) as pool:
        texts = pool.map(lambda case: once(port, folder, case), tasks)
        for case, text in zip(tasks, texts, strict=True):
            observed[case][alert_seen(text)] += 1
    return observed


def _batch(command: Sequence[str], port: int, folder: Path, cases: Sequence[Case]) -> Observed:
    """All connections in one process."""
    done = subprocess.run(
        [*command, "client", str(folder), str(port), *(case.spec for case in cases)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    by_spec = {case.spec: case for case in cases}
    observed = _nothing_yet(cases)
    for line in done.stdout.splitlines():
        _, spec, text = line.split("\t")
        observed[by_spec[spec]][alert_seen(text)] += 1
    return observed


def _nothing_yet(cases: Sequence[Case]) -> Observed:
    return {case: Counter() for case in cases}


def observe(peer: str, port: int, folder: Path, cases: Sequence[Case]) -> Observed:
    """Let one foreign client connect, as often as the cases say.

    Args:
        peer: A key of `CLIENTS`.
        port: Where the server listens, on 127.0.0.1.
        folder: From `write_material`.
        cases: What to do.

    Returns:
        For each case how often it saw which alert, ``echoed N``, or which other text.
    """
    return CLIENTS[peer].observe(port, folder, cases)


@dataclass(frozen=True)
class ForeignClient:
    """A program, and how to run it.

    Attributes:
        program: What must be installed.
        once: Runs it for one connection.
        program_for_many: Runs it for many; exclusive with ``once``.
    """

    program: str
    once: _OneByOne | None = None
    program_for_many: Program = tuple

    def observe(self, port: int, folder: Path, cases: Sequence[Case]) -> Observed:
        """See `observe`."""
        if self.once is None:
            return _batch(self.program_for_many(), port, folder, cases)
        return _each(self.once, port, folder, cases)


CLIENTS = {
    "openssl": ForeignClient("openssl", once=_openssl_once),
    "curl": ForeignClient("curl", once=_curl_once),
    "node": ForeignClient("node", program_for_many=partial(node, "refused")),
    "java": ForeignClient("java", program_for_many=partial(java, "Refused")),
    "python": ForeignClient(sys.executable, once=_python_once),
}
