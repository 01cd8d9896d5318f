"""A server process under measurement: its port, its CPU time, its memory, its end.

CPU time is user and system time of the process and its children, in nanoseconds: Linux lets one
process read the clock of another. Servers get one core and the load generator another, where there
are two.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

SECONDS = 30.0

_PORT = re.compile(rb'(?m)(?:"port":\s*|^|^ACCEPT .*:)(\d+)\b')


class StartError(Exception):
    """A server did not start: with what it said last."""


class Server:
    """A started server and what stands behind it.

    Args:
        processes: The server first; then a backend, say. All count.
        port: Where it listens, on 127.0.0.1.
    """

    def __init__(self, processes: Sequence[subprocess.Popen[bytes]], port: int) -> None:
        self.processes = tuple(processes)
        self.port = port

    def cpu(self) -> float:
        """CPU seconds so far."""
        return sum(map(cpu_of, self._pids()))

    def settled_cpu(self) -> float:
        """The same when nothing is left to do: two looks, 10 ms apart, that differ by less."""
        before = self.cpu()
        for _ in range(100):
            time.sleep(0.01)
            now = self.cpu()
            if now - before < 0.0005:
                return now
            before = now
        return before

    def resident(self) -> float:
        """KiB of memory in use."""
        return float(sum(map(_resident, self._pids())))

    def _pids(self) -> list[int]:
        return [pid for process in self.processes for pid in _tree(process.pid)]

    def close(self) -> None:
        """End it."""
        end(*self.processes)


def start(
    command: Sequence[str | Path], output: Path, *, cores: int = 1
) -> subprocess.Popen[bytes]:
    """Start a server with nothing of the caller's environment, on the first core.

    Args:
        command: Its program and arguments.
        output: The file for what it says.
        cores: How many it may use: those that there are, at the most.
    """
    with on_core(0, count=cores), output.open("wb") as file:
        return subprocess.Popen(
            [*map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            env=environment(output.parent),
            start_new_session=True,  # Ctrl-C is ours to handle
        )


def environment(home: Path) -> dict[str, str]:
    """What a program gets of the caller's: PYTHONDONTWRITEBYTECODE, say, would make it slower."""
    return {"PATH": os.environ.get("PATH", ""), "HOME": str(home)}


@contextmanager
def on_core(place: int, count: int = 1) -> Iterator[None]:
    """What is started within stays on one core: 0 is the servers', 1 the load generator's."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, (sorted(allowed) * 2)[place : place + count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def port_told(process: subprocess.Popen[bytes], output: Path) -> int:
    """The port in what it says: the first number at the end of a line, or in JSON."""
    patience = time.monotonic() + SECONDS
    while time.monotonic() < patience:
        if found := _PORT.search(output.read_bytes()):
            return int(found[1])
        if process.poll() is not None:
            break
        time.sleep(0.005)  # a file has no end to wait for
    raise _not_started(process, output)


def free_port() -> int:
    """A port for a server that cannot be asked which one it got."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_for(process: subprocess.Popen[bytes], output: Path, port: int) -> int:
    """Wait until something listens on this port, and return it."""
    patience = time.monotonic() + SECONDS
    while time.monotonic() < patience and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.01)  # a foreign server does not say when it listens
        else:
            return port
    raise _not_started(process, output)


def _not_started(process: subprocess.Popen[bytes], output: Path) -> StartError:
    end(process)
    said = output.read_text("utf-8", "replace").strip().splitlines()
    last = said[-1].replace(str(output.parents[1]), "…") if said else "without a word"
    return StartError(f"does not start: {last}")


def end(*processes: subprocess.Popen[bytes]) -> None:
    """Kill these processes with their children."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()
        for stream in filter(None, (process.stdin, process.stdout, process.stderr)):
            with suppress(BrokenPipeError):
                stream.close()


def cpu_of(pid: int) -> float:
    """CPU seconds of one process, all of its threads."""
    return time.clock_gettime((~pid << 3) | 2)


def _tree(pid: int) -> list[int]:
    found = [pid]
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(FileNotFoundError):  # the thread has ended meanwhile
            for child in children.read_text().split():
                found += _tree(int(child))
    return found


def _resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise RuntimeError("no VmRSS: this needs Linux")
