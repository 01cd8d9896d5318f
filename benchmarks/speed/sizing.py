"""The formula for sizing, checked at points that it was not fitted on.

CPU seconds per second = handshakes x h + messages x r + bytes x b, and memory = base + connections
x k. The four constants are those of rows of the same run; what is checked is a mixture: new
connections, messages of another size on others, and thousands that do nothing, all at once.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from benchmarks.speed.load import MIB, Generator, LoadError, Work
from benchmarks.speed.material import Material, Workshop
from benchmarks.speed.memory import files_allowed
from benchmarks.speed.rows import Plan, Say
from benchmarks.speed.running import Server
from benchmarks.speed.servers import OURS, TWO_WORKERS, serve

_SIZE = 1024
_IDLE = 2500

# Clients of each kind, and the rows that the constants come from, with their numbers of clients.
_POINTS = {
    "busy": (4, 8, "16 at once", "16 connections"),
    "quiet": (1, 1, "1 at once", "1 connection"),
}

CONSTANTS = {
    "h": ("handshake, TLS 1.3, 16 at once", OURS),
    "h, two workers": ("handshake, TLS 1.3, 16 at once", TWO_WORKERS),
    "r": ("64 bytes there and back, 16 connections", OURS),
    "b": ("GB in echoes of 1 MiB, 16 connections", OURS),
    "k": ("memory per connection, 1,000 idle", OURS),
}


def measure_sizing(
    plan: Plan,
    workshop: Workshop,
    generator: Generator,
    rows: Sequence[Mapping[str, Any]],
    missing: dict[str, str],
    say: Say,
) -> dict[str, Any]:
    """What the formula says of each mixture, and what it took, repeat by repeat."""
    known = {row["name"]: row for row in rows}
    if not files_allowed(_IDLE + 200):
        missing["sizing"] = "too few open files allowed (ulimit -Hn)"
        return {}
    found: dict[str, Any] = {}
    material = workshop.material("two")
    try:
        with ExitStack() as stack:
            server = serve("--max-connections", "20000")(workshop, material)
            stack.callback(server.close)
            work = Work("once", 1, _SIZE)
            stack.enter_context(generator.connected(server, material, work))
            base = server.resident()
            idle = Work("once", _IDLE, _SIZE)
            stack.enter_context(generator.connected(server, material, idle))
            server.settled_cpu()
            each = _figure(known, "memory per connection, 1,000 idle")
            found["constants"] = {
                name: statistics.median(known[row]["figures"][peer])
                for name, (row, peer) in CONSTANTS.items()
                if known[row]["figures"].get(peer)
            }
            found["memory"] = {
                "base": base,
                "formula": [base + _IDLE * each],
                "measured": [server.resident()],
            }
            for point, (new, open_, handshakes, messages) in _POINTS.items():
                h = _figure(known, f"handshake, TLS 1.3, {handshakes}") / 1e6
                r = _figure(known, f"64 bytes there and back, {messages}") / 1e6
                b = _figure(known, f"GB in echoes of 1 MiB, {messages}") / 1e9
                formula: list[float] = []
                measured: list[float] = []
                for repeat in range(plan.repeats):
                    say(f"sizing, {point}, {repeat + 1}/{plan.repeats}")
                    cpu, made, echoed = _mixture(
                        server, material, generator, 4 * plan.seconds, new, open_
                    )
                    formula.append(made * h + echoed * (r + (_SIZE - 64) * b))
                    measured.append(cpu)
                found[point] = {"formula": formula, "measured": measured}
    except LoadError as error:
        missing["sizing"] = str(error)
    return found


def _figure(rows: Mapping[str, Mapping[str, Any]], name: str) -> float:
    return float(statistics.median(rows[name]["figures"][OURS]))


def _mixture(
    server: Server,
    material: Material,
    generator: Generator,
    seconds: float,
    new: int,
    open_: int,
) -> tuple[float, int, int]:
    """CPU seconds, connections made, and messages echoed."""
    handshakes = Work("handshakes", new, 2)
    echoes = Work("echoes", open_, _SIZE)
    with (
        generator.connected(server, material, handshakes, seconds) as making,
        generator.connected(server, material, echoes, seconds) as echoing,
    ):
        before = server.settled_cpu()
        making.begin(settled=False)
        echoing.begin(settled=False)
        made = making.finish(settled=False)
        echoed = echoing.finish()
        return server.cpu() - before, made.operations, echoed.operations


def _told(name: str, value: float) -> str:
    if name == "k":
        return f"{value:.1f} KiB"
    if name == "b":
        return f"{value:.2f} s per GB: {1 / value:.2f} GB per second and core"
    return f"{value:,.0f} µs: {1e6 / value:,.0f} per second and core"


def sizing_table(result: Mapping[str, Any]) -> Iterator[str]:
    """What the formula said beside what it took, as a table in Markdown."""
    found = result.get("sizing") or {}
    yield "| | |"
    yield "|---|---|"
    for name, value in found.get("constants", {}).items():
        yield f"| {name} | {_told(name, value)} |"
    if "memory" in found:
        yield f"| base | {found['memory']['base'] / 1024:.0f} MiB for one process |"
    yield ""
    yield "| | formula | measured | difference |"
    yield "|---|---|---|---|"
    for name, title, unit, per in (
        ("busy", "CPU, 4 clients that connect anew and 8 that echo 1 KiB", "s", 1.0),
        ("quiet", "CPU, 1 of each", "s", 1.0),
        ("memory", f"memory, {_IDLE:,} idle connections", "MiB", MIB / 1024),
    ):
        if name not in found:
            continue
        formula, measured = found[name]["formula"], found[name]["measured"]
        apart = [100 * (it / real - 1) for it, real in zip(formula, measured, strict=True)]
        spread = f" [{min(apart):+.0f}, {max(apart):+.0f}]" if len(apart) > 1 else ""
        yield (
            f"| {title} | {statistics.median(formula) / per:.3g} {unit} |"
            f" {statistics.median(measured) / per:.3g} {unit} |"
            f" {statistics.median(apart):+.0f} %{spread} |"
        )
