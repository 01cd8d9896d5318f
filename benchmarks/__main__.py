"""Measure a server's CPU time per handshake, per round trip and per MiB, beside its peers.

    .venv/bin/python -m benchmarks [--repeats 7] [--json FILE]

Absolute times say more about the machine than about the program, so none is a result. Every server
runs in a process of its own; in each repeat all of them serve the same load from the same client,
in random order; what counts is the server's own CPU time (user and system), as a ratio to the
reference server *in the same repeat*. Printed is the median with the least and the greatest.

All servers get the same certificates, from two CAs, P-256, and send no session tickets.
Differences below a tenth mean nothing here; see the spread.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import cryptography
import trio

from benchmarks.load import LOADS, memory_per_connection
from mtls_echo_pki.directory.directory import Directory

HERE = Path(__file__).parent
REFERENCE = "trio.SSLStream"
SERVERS = ("mtls-echo", REFERENCE, "asyncio")


def main() -> None:
    """Run every load against every server and print the table."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--repeats", type=int, default=7)
    options.add_argument(
        "--scale", type=float, default=1.0, help="multiplies the size of each load"
    )
    options.add_argument("--json", type=Path)
    chosen = options.parse_args()

    with tempfile.TemporaryDirectory() as folder:
        directory = Directory.create(Path(folder) / "pki")
        results = _measure(directory, chosen.repeats, chosen.scale)
    facts = {
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
        "trio": trio.__version__,
        "cryptography": cryptography.__version__,
        "repeats": chosen.repeats,
    }
    _print(facts, results)
    if chosen.json:
        chosen.json.write_text(json.dumps({"facts": facts, "results": results}, indent=1))


def _measure(
    directory: Directory, repeats: int, scale: float
) -> dict[str, dict[str, list[float]]]:
    results: dict[str, dict[str, list[float]]] = {}
    for load in LOADS:
        results[load.name] = {name: [] for name in SERVERS}
        with _servers(directory) as servers:
            for repeat in range(repeats + 1):
                print(f"\r{load.name}: {repeat}/{repeats} ", end="", file=sys.stderr, flush=True)
                spent: dict[str, float] = {}
                for name in random.sample(SERVERS, len(SERVERS)):
                    process, port = servers[name]
                    spent[name] = _cpu(process, partial(load.run, directory, port, scale))
                if repeat:  # the first one warms up
                    for name in SERVERS:
                        results[load.name][name].append(spent[name] / spent[REFERENCE])
    with _servers(directory) as servers:
        results["KiB per idle connection"] = {
            name: [memory_per_connection(directory, port, process.pid)]
            for name, (process, port) in servers.items()
        }
    print("\r", end="", file=sys.stderr)
    return results


@contextmanager
def _servers(directory: Directory) -> Iterator[dict[str, tuple[subprocess.Popen[str], int]]]:
    running: dict[str, tuple[subprocess.Popen[str], int]] = {}
    try:
        for name in SERVERS:
            process = subprocess.Popen(
                [sys.executable, HERE / "servers.py", name, directory.path],
                stdout=subprocess.PIPE,
                text=True,
            )
            assert process.stdout is not None
            running[name] = process, int(process.stdout.readline())
        yield running
    finally:
        for process, _ in running.values():
            process.kill()
            process.wait()


def _cpu(process: subprocess.Popen[str], load: Callable[[], object]) -> float:
    """CPU seconds that a process spends while a load runs (Linux: another process's clock)."""
    clock = (~process.pid << 3) | 2
    before = time.clock_gettime(clock)
    load()
    return time.clock_gettime(clock) - before


def _print(facts: dict[str, object], results: dict[str, dict[str, list[float]]]) -> None:
    print("  ".join(f"{name} {value}" for name, value in facts.items()))
    print(f"\nserver CPU as a ratio to {REFERENCE}: median [least, greatest]\n")
    print(f"{'':26}" + "".join(f"{name:>22}" for name in SERVERS))
    for load, by_server in results.items():
        cells = []
        for name in SERVERS:
            values = by_server[name]
            middle = statistics.median(values)
            spread = f" [{min(values):.2f}, {max(values):.2f}]" if len(values) > 1 else ""
            cells.append(f"{middle:.2f}{spread}")
        print(f"{load:26}" + "".join(f"{cell:>22}" for cell in cells))


if __name__ == "__main__":
    main()
