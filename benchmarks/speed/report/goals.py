"""The goals of this project's speed, and whether a result reaches them.

A goal compares the median of the ratios within each repeat; it is reached where that is no more.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.speed.commands import EMPTY
from benchmarks.speed.report.table import median_and_spread, ratios
from benchmarks.speed.servers import ORDINARY, OURS, PROTOCOL, TRIO, TWO_WORKERS, C


@dataclass(frozen=True)
class Goal:
    """What a figure is to be at most.

    Attributes:
        title: What it is about.
        row: The name of the row.
        reference: What the figure is a ratio to; None: as it is.
        most: What it is to be at most.
        name: Whose figure it is.
    """

    title: str
    row: str
    reference: str | None
    most: float
    name: str = OURS

    def measured(self, rows: Mapping[str, Mapping[str, Any]]) -> list[float]:
        """The figure in each repeat; empty if it was not measured."""
        row = rows.get(self.row)
        if row is None:
            return []
        if self.reference is None:
            return list(row["figures"].get(self.name, ()))
        return ratios(row, self.name, self.reference)


_FULL = "handshake, TLS 1.3, 16 at once"
_SMALL = "64 bytes there and back, 16 connections"
_BULK = "GB in echoes of 1 MiB, 1 connection"
_START = "start-up"

GOALS = (
    Goal("handshake, TLS 1.3, to C epoll", _FULL, C, 0.84),
    Goal("… to trio.SSLStream", _FULL, TRIO, 0.60),
    Goal("… by two workers, to one process", _FULL, OURS, 1.12, TWO_WORKERS),
    Goal("handshake, TLS 1.2, to C epoll", "handshake, TLS 1.2, 16 at once", C, 1.00),
    Goal("64 bytes, 16 connections, to C epoll", _SMALL, C, 1.20),
    Goal("… to trio.SSLStream", _SMALL, TRIO, 0.30),
    Goal("… to asyncio.Protocol", _SMALL, PROTOCOL, 0.65),
    Goal("… ordinary handler, to trio.SSLStream", _SMALL, TRIO, 0.58, ORDINARY),
    Goal(
        "64 bytes, 1 connection, to trio.SSLStream",
        "64 bytes there and back, 1 connection",
        TRIO,
        0.75,
    ),
    Goal("echoes of 1 MiB, 1 connection, to C epoll", _BULK, C, 1.08),
    Goal("… to trio.SSLStream", _BULK, TRIO, 0.35),
    Goal("… 16 connections, to C epoll", "GB in echoes of 1 MiB, 16 connections", C, 1.15),
    Goal("KiB per idle connection, 1,000", "memory per connection, 1,000 idle", None, 28),
    Goal(
        "… after 1 MiB of echo on each", "memory per connection, 1,000 after 1 MiB each", None, 72
    ),
    Goal("CPU of `--help`, to `python -c pass`", _START, EMPTY, 4, "mtls-echo --help"),
    Goal("… of `pki issue`", _START, EMPTY, 11, "mtls-echo pki issue"),
    Goal("… of `serve` until it listens", _START, EMPTY, 17, "mtls-echo serve, to listening"),
)

# What no row of CPU time is to be more than, and the one exception.
_NEVER_DEARER = {TRIO: 1.0, PROTOCOL: 1.0}
_EXCEPTIONS = {(PROTOCOL, _BULK): 1.2}


def goals_table(result: Mapping[str, Any]) -> Iterator[str]:
    """The goals as a table in Markdown."""
    rows = {row["name"]: row for row in result["rows"]}
    yield "| | goal | measured | reached |"
    yield "|---|---|---|---|"
    for goal in GOALS:
        found = goal.measured(rows)
        if not found:
            yield f"| {goal.title} | {goal.most:g} | not measured | |"
            continue
        digits = 2 if goal.reference else 1
        reached = "yes" if round(statistics.median(found), digits) <= goal.most else "no"
        most = f"{goal.most:.2f}" if goal.most < 2 else f"{goal.most:g}"
        yield f"| {goal.title} | {most} | {median_and_spread(found, digits)} | {reached} |"
    for reference, limit in _NEVER_DEARER.items():
        dearer = [*_dearer(rows, reference, limit)]
        exception = ", but 1.2 with one bulk connection" if reference == PROTOCOL else ""
        told = "; ".join(dearer) if dearer else "no row is more"
        reached = "no" if dearer else "yes"
        yield f"| never dearer than {reference}{exception} | {limit:g} | {told} | {reached} |"


def _dearer(rows: Mapping[str, Mapping[str, Any]], reference: str, most: float) -> Iterator[str]:
    """The rows of CPU time in which ours costs more."""
    for name, row in rows.items():
        if row["unit"] not in ("µs", "s"):
            continue
        for ours in (one for one in row["figures"] if one.startswith("serve")):
            found = ratios(row, ours, reference)
            allowed = _EXCEPTIONS.get((reference, name), most)
            if found and statistics.median(found) > allowed:
                yield f"{name}: {ours} {median_and_spread(found, 2)}"
