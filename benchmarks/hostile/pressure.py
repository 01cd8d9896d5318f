"""Measure what many connections cost a server: handshakes that stall, and clients that are idle.

    .venv/bin/python -m benchmarks.hostile.pressure [--stalled 2000] [--idle 10000]

A server process by itself; its clients are blocking sockets in this process. Handshakes stall
silent, in the middle of a ClientHello, or after the server's answer. While they are opened, wait
and expire, a good client connects again and again; its slowest echo is what others have to wait.
The bounds of unfinished handshakes are lifted to as many as stall; by default 1,000 are kept, 500
of one network. Memory is resident, of the whole process (Linux).
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mtls_echo_client.context import client_context
from mtls_echo_pki.directory.directory import Directory

_SERVE = "from mtls_echo.commands.serve import serve; serve()"
_TIMEOUT = 10.0


class Serving:
    """The server process, and what it takes."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.port = port

    def mebibytes(self, most: bool = False) -> float:
        """Of resident memory, now or ever."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:" if most else "VmRSS:")[2].split()[0]) / 1024

    def descriptors(self) -> int:
        """How many are open."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def cpu(self) -> float:
        """Seconds so far."""
        return time.clock_gettime((~self.process.pid << 3) | 2)


@contextmanager
def _serving(directory: Directory, *options: str) -> Iterator[Serving]:
    command = [
        *(sys.executable, "-c", _SERVE, "--pki", str(directory.path), "--log-format", "json"),
        *("--listen", "127.0.0.1:0", "--handshake-timeout", str(_TIMEOUT), *options),
    ]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stderr=log)
        try:
            port = 0
            while not port:
                time.sleep(0.05)  # a file has no end to wait for
                log.seek(0)
                events = [json.loads(line) for line in log]
                port = next((each["port"] for each in events if each["event"] == "listening"), 0)
            yield Serving(process, port)
        finally:
            process.kill()
            process.wait()


class GoodClient(threading.Thread):
    """Has one byte echoed again and again, and keeps how long each time took."""

    def __init__(self, context: ssl.SSLContext, port: int) -> None:
        super().__init__()
        self.seconds: list[float] = []
        self.failed = 0
        self.over = threading.Event()
        self._context, self._port = context, port

    def run(self) -> None:
        """Until it is over."""
        while not self.over.wait(0.02):
            start = time.monotonic()
            try:
                echo(self._context, self._port).close()
            except OSError:
                self.failed += 1
            self.seconds.append(time.monotonic() - start)


def echo(context: ssl.SSLContext, port: int) -> ssl.SSLSocket:
    """A client that has had a byte echoed."""
    plain = socket.create_connection(("127.0.0.1", port), timeout=30)
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    tls = context.wrap_socket(plain, server_hostname="localhost")
    tls.sendall(b"x")
    if tls.recv(1) != b"x":
        raise ConnectionError("another echo")
    return tls


def _stalled(directory: Directory, context: ssl.SSLContext, said: bytes, count: int) -> list[str]:
    bounds = ("--max-handshakes", str(count * 2), "--max-handshakes-per-network", str(count * 2))
    with _serving(directory, *bounds) as server:
        echo(context, server.port).close()
        before, cpu = server.mebibytes(), server.cpu()
        good = GoodClient(context, server.port)
        good.start()
        clients: list[socket.socket] = []
        for number in range(count):
            client = socket.socket()
            client.bind((f"127.0.{1 + number % 4}.1", 0))
            client.connect(("127.0.0.1", server.port))
            client.sendall(said)
            clients.append(client)
        opened = time.monotonic()
        time.sleep(1)  # what it costs to hold them, not to take them
        held, cpu = server.mebibytes(), server.cpu()
        for client in clients:
            client.settimeout(3 * _TIMEOUT)
            while client.recv(65_536):
                pass
            client.close()
        gone = time.monotonic() - opened - _TIMEOUT
        expiring = server.cpu() - cpu
        good.over.set()
        good.join()
        return [
            f"{held:.0f}", f"{(held - before) * 1024 / count:.1f}",
            f"{server.mebibytes(most=True):.0f}", f"{gone:+.2f}",
            f"{expiring / count * 1000:.2f}", f"{max(good.seconds) * 1000:.0f}",
            f"{good.failed}",
        ]  # fmt: skip


def _idle(directory: Directory, context: ssl.SSLContext, count: int) -> None:
    with _serving(directory, "--max-connections", str(count + 1)) as server:
        clients = [echo(context, server.port)]
        before = server.mebibytes()
        clients += [echo(context, server.port) for _ in range(count - 1)]
        held = server.mebibytes()
        start, cpu = time.monotonic(), server.cpu()
        echo(context, server.port).close()
        new = time.monotonic() - start
        time.sleep(2)  # the time that is measured
        rest = server.cpu() - cpu
        start, cpu = time.monotonic(), server.cpu()
        for client in clients:
            client.sendall(b"y")
            client.recv(1)
        trips = server.cpu() - cpu
        print(
            f"\n{count} idle connections: {held:.0f} MiB, {(held - before) * 1024 / count:.1f} KiB"
            f" each, {server.descriptors()} descriptors; a new client is served in"
            f" {new * 1000:.0f} ms; {rest / 2:.3f} s of CPU per second; a round trip of each:"
            f" {trips / count * 1000:.3f} ms of CPU"
        )


def _hello(context: ssl.SSLContext) -> bytes:
    sent = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), sent, server_hostname="localhost")
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return sent.read()


def main() -> None:
    """Measure, and print a table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--stalled", type=int, default=2_000)
    options.add_argument("--idle", type=int, default=10_000)
    chosen = options.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory() as folder:
        directory = Directory.create(Path(folder) / "pki")
        context = client_context(directory.trust("servers"), directory.credential("client"))
        hello = _hello(context)
        print(
            f"{chosen.stalled} stalled handshakes; MiB while they wait, KiB each, MiB at most,"
            f" s after the deadline ({_TIMEOUT:.0f} s from the last one's opening) when all are"
            " gone,"
            " ms of CPU for each from then on, ms of the slowest good client, good clients lost"
        )
        stalls = {
            "silent": b"",
            "half a ClientHello": hello[: len(hello) // 2],
            "answered": hello,
        }
        for name, said in stalls.items():
            cells = _stalled(directory, context, said, chosen.stalled)
            print(f"{name:20}" + "".join(f"{cell:>9}" for cell in cells), flush=True)
        _idle(directory, context, chosen.idle)


if __name__ == "__main__":
    main()
