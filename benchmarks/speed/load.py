"""Driving the load generator: one process per measurement, the same for every server.

Connections are made and warmed up before the clock starts, except where connecting is what is
measured. The C program needs less CPU per operation than any server here; without a compiler the
same is done in Python, which then is the bottleneck of the faster servers, and the results say so.
CPU time per operation needs a load that is alike, not one that is fast.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.speed.material import SOURCES, Material, Missing, Workshop
from benchmarks.speed.running import Server, end, on_core

MIB = 1 << 20


@dataclass(frozen=True)
class Work:
    """What clients do to a server.

    Attributes:
        kind: As `peers/load.c` has it: handshakes, resumed, echoes, once.
        connections: How many at once.
        size: Bytes per message.
        tls: The version of TLS.
    """

    kind: str
    connections: int
    size: int = 64
    tls: str = "1.3"


@dataclass(frozen=True)
class Spent:
    """What one measurement gave.

    Attributes:
        cpu: The server's CPU seconds for all operations.
        operations: How many there were.
        seconds: How long they took.
        load_cpu: CPU seconds of the load generator.
        resumed: How many of the sessions were resumed.
        p50: Seconds of the middle operation, as the client saw it.
        p99: Seconds that one in a hundred took longer than.
    """

    cpu: float
    operations: int
    seconds: float
    load_cpu: float
    resumed: int
    p50: float
    p99: float


class LoadError(Exception):
    """The load generator ended: with what it said."""


class Generator:
    """The load generator that can be had here.

    Attributes:
        fallback: Why it is not the C program, if it is not.
    """

    def __init__(self, workshop: Workshop, *, python: bool = False) -> None:
        self._command = [sys.executable, str(SOURCES / "python_load.py")]
        self.fallback = "asked for" if python else ""
        if not python:
            try:
                self._command = [str(workshop.compiled("load"))]
            except Missing as missing:
                self.fallback = str(missing)

    @contextmanager
    def connected(
        self, server: Server, material: Material, work: Work, seconds: float = 0
    ) -> Iterator[Load]:
        """A load whose connections are open, until the end of the block."""
        arguments = (server.port, *material.client, work.tls, work.kind, work.connections)
        with on_core(1):
            process = subprocess.Popen(
                [*self._command, *map(str, (*arguments, work.size, seconds))],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        try:
            load = Load(process, server)
            load.expect("ready")
            yield load
            process.communicate(timeout=60)  # closes its connections
        finally:
            end(process)

    def spent(
        self,
        server: Server,
        material: Material,
        work: Work,
        seconds: float,
        *,
        settled: bool = True,
    ) -> Spent:
        """Do this work for so long, and see what the server spends; if it is left alone, all."""
        with self.connected(server, material, work, seconds) as load:
            load.begin(settled=settled)
            return load.finish(settled=settled)


class Load:
    """A load generator with its connections open."""

    def __init__(self, process: subprocess.Popen[bytes], server: Server) -> None:
        self._process = process
        self._server = server
        self._before = 0.0

    def begin(self, *, settled: bool = True) -> None:
        """Let it work."""
        self._before = self._server.settled_cpu() if settled else self._server.cpu()
        assert self._process.stdin is not None
        self._process.stdin.write(b"go\n")
        self._process.stdin.flush()

    def finish(self, *, settled: bool = True) -> Spent:
        """Wait until it has, and for what the server still has to do then."""
        found = json.loads(self.expect("{"))
        found["load_cpu"] = found.pop("cpu")
        after = self._server.settled_cpu() if settled else self._server.cpu()
        return Spent(cpu=after - self._before, **found)

    def expect(self, beginning: str) -> str:
        """The next line, which begins so."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline().decode()
        if line.startswith(beginning):
            return line
        assert self._process.stderr is not None
        said = self._process.stderr.read().decode().strip().splitlines()
        raise LoadError(said[-1] if said else "the load generator ended without a word")
