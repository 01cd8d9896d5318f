"""How long a client waits for its handshake while 16 others echo 1 MiB again and again.

The only row in time that passes, and not in CPU time: it shows how long a server is busy with one
client before it looks at another. The clients share a core, which adds the same for every server.
"""

from __future__ import annotations

import os
import random
from contextlib import ExitStack
from typing import Any

from benchmarks.speed.load import MIB, Generator, LoadError, Work
from benchmarks.speed.material import Workshop
from benchmarks.speed.rows import Plan, Say, start_all
from benchmarks.speed.servers import ORDINARY, OURS, PEERS, PROTOCOL, TRIO, C

_COMPARED = (OURS, ORDINARY, C, TRIO, PROTOCOL, "Go crypto/tls")

_BULK = Work("echoes", 16, MIB)
_HANDSHAKE = Work("handshakes", 1, 2)


def measure_latency(
    plan: Plan, workshop: Workshop, generator: Generator, missing: dict[str, str], say: Say
) -> list[dict[str, Any]]:
    """Two rows: what one in two, and one in a hundred, took longer than."""
    name = "handshake beside 16 that echo 1 MiB"
    seconds = 8 * plan.seconds  # or one in a hundred would be the slowest of a few
    loads = [os.getloadavg()[0]]
    middle: dict[str, list[float]] = {}
    late: dict[str, list[float]] = {}
    with ExitStack() as stack:
        peers = [peer for peer in PEERS if peer.name in _COMPARED]
        running = start_all(peers, workshop, stack, missing)
        for repeat in range(plan.repeats):
            for peer in random.sample([*running], len(running)):
                say(f"{name}, {repeat + 1}/{plan.repeats}: {peer.name}")
                material = peer.material(workshop)
                try:
                    with generator.connected(running[peer], material, _BULK, seconds) as bulk:
                        bulk.begin()
                        spent = generator.spent(
                            running[peer], material, _HANDSHAKE, seconds, settled=False
                        )
                        bulk.finish()
                except LoadError as error:
                    missing[f"{peer.name}: {name}"] = str(error)
                    continue
                middle.setdefault(peer.name, []).append(spent.p50 * 1000)
                late.setdefault(peer.name, []).append(spent.p99 * 1000)
    loads.append(os.getloadavg()[0])
    common = {"unit": "ms", "load": loads, "references": [C, TRIO]}
    return [
        {"name": f"{name}, median", "figures": middle, **common},
        {"name": f"{name}, 99th percentile", "figures": late, **common},
    ]
