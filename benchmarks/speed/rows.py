"""What is measured per operation: the rows of the first table, and the loop that fills them.

In each repeat every server does the same work for the same time, in random order, so that a
machine that gets slower gets slower for all; ratios are taken within one repeat. Before that each
does it once without being counted.
"""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from benchmarks.speed.load import MIB, Generator, LoadError, Work
from benchmarks.speed.material import Missing, Workshop
from benchmarks.speed.running import Server, StartError
from benchmarks.speed.servers import OURS, PEERS, SETTINGS, TRIO, C, Peer

Say = Callable[[str], None]


@dataclass(frozen=True)
class Row:
    """A measurement.

    Attributes:
        name: What one operation is.
        work: What the clients do.
        unit: The unit of the figure.
        per_second: How many of that unit are one CPU second per operation.
        full: Whether it is left out of a short run.
        kind: The kind of work, for the choice of servers, if it is not that of the work.
    """

    name: str
    work: Work
    unit: str = "µs"
    per_second: float = 1e6
    full: bool = False
    kind: str = ""

    def takes(self, peer: Peer) -> bool:
        """Whether a server can take part."""
        work = self.work
        return (
            (self.kind or work.kind) in peer.kinds
            and work.connections <= peer.at_once
            and work.size <= peer.largest
        )


# CPU seconds per MiB, as seconds per GB.
_PER_GB = 1e9 / MIB

ROWS = (
    Row("handshake, TLS 1.3, 16 at once", Work("handshakes", 16, 2)),
    Row("handshake, TLS 1.3, 1 at once", Work("handshakes", 1, 2), full=True),
    Row("handshake, TLS 1.2, 16 at once", Work("handshakes", 16, 2, "1.2")),
    Row("resumed, TLS 1.3, 16 at once", Work("resumed", 16, 2)),
    Row("resumed, TLS 1.2, 16 at once", Work("resumed", 16, 2, "1.2"), full=True),
    Row("64 bytes there and back, 1 connection", Work("echoes", 1)),
    Row("64 bytes there and back, 16 connections", Work("echoes", 16)),
    Row("64 bytes there and back, 64 connections", Work("echoes", 64)),
    Row("GB in echoes of 1 MiB, 1 connection", Work("echoes", 1, MIB), "s", _PER_GB),
    Row("GB in echoes of 1 MiB, 16 connections", Work("echoes", 16, MIB), "s", _PER_GB),
    Row("handshake of serve, by setting", Work("handshakes", 16, 2), full=True, kind=SETTINGS),
)


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        repeats: How many times.
        seconds: For how long each time.
        full: Whether with every row and peer.
        only: Of the rows' names, a part that must occur.
    """

    repeats: int
    seconds: float
    full: bool = False
    only: str = ""

    def peers(self) -> list[Peer]:
        """Those that take part, if they are installed."""
        return [peer for peer in PEERS if self.full or not peer.full]

    def rows(self) -> list[Row]:
        """Those that are measured."""
        return [row for row in ROWS if self.only in row.name and (self.full or not row.full)]


def start_all(
    peers: Sequence[Peer], workshop: Workshop, stack: ExitStack, missing: dict[str, str]
) -> dict[Peer, Server]:
    """Start what is installed, until the stack is closed; what is not is named in `missing`."""
    running: dict[Peer, Server] = {}
    for peer in peers:
        try:
            running[peer] = peer.start(workshop)
        except (Missing, StartError) as error:
            missing[peer.name] = str(error)
        else:
            stack.callback(running[peer].close)
    return running


def measure(
    plan: Plan, workshop: Workshop, generator: Generator, missing: dict[str, str], say: Say
) -> list[dict[str, Any]]:
    """Every row, with each server's figures in the order of the repeats.

    Beside them stands how busy the load generator was: of its core, so much was in use.
    """
    found: list[dict[str, Any]] = []
    rows = plan.rows()
    with ExitStack() as stack:
        peers = [peer for peer in plan.peers() if any(row.takes(peer) for row in rows)]
        say("starting the servers")
        running = start_all(peers, workshop, stack, missing)
        for number, row in enumerate(rows, 1):
            taking = [peer for peer in running if row.takes(peer)]
            figures: dict[str, list[float]] = {peer.name: [] for peer in taking}
            busy: dict[str, list[float]] = {peer.name: [] for peer in taking}
            loads = [os.getloadavg()[0]]
            for repeat in range(plan.repeats + 1):
                for peer in random.sample(taking, len(taking)):
                    say(f"{number}/{len(rows)} {row.name}, {repeat}/{plan.repeats}: {peer.name}")
                    seconds = plan.seconds if repeat else min(plan.seconds, 0.05)
                    try:
                        spent = generator.spent(
                            running[peer], peer.material(workshop), row.work, seconds
                        )
                        if row.work.kind == "resumed" and 2 * spent.resumed < spent.operations:
                            raise LoadError(f"{spent.resumed} of {spent.operations} resumed")
                    except LoadError as error:
                        missing[f"{peer.name}: {row.name}"] = str(error)
                        figures.pop(peer.name)
                        taking.remove(peer)
                        continue
                    if repeat:
                        figures[peer.name].append(spent.cpu / spent.operations * row.per_second)
                        busy[peer.name].append(spent.load_cpu / spent.seconds)
            loads.append(os.getloadavg()[0])
            found.append(
                {
                    "name": row.name,
                    "unit": row.unit,
                    "figures": figures,
                    "load": loads,
                    "references": [OURS] if row.kind == SETTINGS else [C, TRIO],
                    "load generator": {
                        name: round(statistics.median(shares), 2)
                        for name, shares in busy.items()
                        if shares
                    },
                }
            )
    return found


def now() -> str:
    """The time, for the results."""
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime())
