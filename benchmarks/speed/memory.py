"""Memory per connection: what a server's resident memory grows by, divided by how many there are.

One connection is there before, since the first one pays for what all share. The others have echoed
five small messages when memory is read, then 1 MiB each, then it is read again.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import Any

from benchmarks.speed.load import MIB, Generator, LoadError, Work
from benchmarks.speed.material import Missing, Workshop
from benchmarks.speed.rows import Plan, Say
from benchmarks.speed.running import StartError
from benchmarks.speed.servers import OURS, PEERS, TRIO, C, Peer, serve

# Of our own limits the one on connections is raised.
_ALLOWED = serve("--max-connections", "20000")


def measure_memory(
    plan: Plan,
    workshop: Workshop,
    generator: Generator,
    missing: dict[str, str],
    say: Say,
    *,
    count: int = 1000,
) -> list[dict[str, Any]]:
    """Two rows for each number of connections: before and after 1 MiB of echo on each."""
    peers = [peer for peer in PEERS if "idle" in peer.kinds and peer.at_once > count]
    if not plan.full:
        peers = [peer for peer in peers if peer.name in (OURS, C, TRIO)]
    found = _rows(count, peers, workshop, generator, missing, say)
    if plan.full:
        most = [peer for peer in peers if peer.name in (OURS, C, TRIO)]
        found += _rows(10 * count, most, workshop, generator, missing, say)
    return found


def _rows(
    count: int,
    peers: Sequence[Peer],
    workshop: Workshop,
    generator: Generator,
    missing: dict[str, str],
    say: Say,
) -> list[dict[str, Any]]:
    name = f"memory per connection, {count:,} idle"
    if not files_allowed(count + 100):
        missing[name] = "too few open files allowed (ulimit -Hn)"
        return []
    loads = [os.getloadavg()[0]]
    idle: dict[str, list[float]] = {}
    after: dict[str, list[float]] = {}
    for peer in peers:
        say(f"{name}: {peer.name}")
        try:
            before, later = _one(peer, count, workshop, generator)
        except (Missing, StartError):
            continue  # the table of servers has named it
        except LoadError as error:
            missing[f"{peer.name}: {name}"] = str(error)
            continue
        idle[peer.name] = [before]
        after[peer.name] = [later]
    loads.append(os.getloadavg()[0])
    common = {"unit": "KiB", "load": loads, "references": [C, TRIO]}
    return [
        {"name": name, "figures": idle, **common},
        {"name": f"memory per connection, {count:,} after 1 MiB each", "figures": after, **common},
    ]


def _one(peer: Peer, count: int, workshop: Workshop, generator: Generator) -> tuple[float, float]:
    if peer.name == OURS:
        peer = replace(peer, launch=_ALLOWED)
    material = peer.material(workshop)
    with ExitStack() as stack:
        server = peer.start(workshop)
        stack.callback(server.close)
        work = Work("once", 1, MIB)
        stack.enter_context(generator.connected(server, material, work))
        before = server.resident()
        load = stack.enter_context(
            generator.connected(server, material, replace(work, connections=count))
        )
        server.settled_cpu()
        idle = server.resident()
        load.begin()
        load.finish()
        return (idle - before) / count, (server.resident() - before) / count


def files_allowed(count: int) -> bool:
    """Whether this process and its children may open so many files: as many as are allowed."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most == resource.RLIM_INFINITY or most >= count
