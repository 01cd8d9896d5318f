"""Measure this project's speed beside other servers, in one run.

    .venv/bin/python -m benchmarks.speed [--full] [--repeats N] [--json FILE] [--svg FILE]
        [--page FILE]

Absolute times say more about the machine than about the program: what counts are ratios, taken
within each repeat of an interleaved run, of the server's own CPU time. Only 127.0.0.1 is used.
Linux only: it reads other processes' clocks and memory.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import ssl
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cryptography
import trio

from benchmarks.speed.commands import measure_commands
from benchmarks.speed.latency import measure_latency
from benchmarks.speed.load import Generator
from benchmarks.speed.material import Workshop
from benchmarks.speed.memory import measure_memory
from benchmarks.speed.report.page import filled
from benchmarks.speed.report.picture import picture
from benchmarks.speed.report.table import table
from benchmarks.speed.rows import Plan, measure, now
from benchmarks.speed.sizing import measure_sizing

_CLEAR = "\r\x1b[K"


def main() -> None:
    """Measure, print the table, and write the results."""
    chosen = _options()
    result = json.loads(chosen.drawn.read_text("utf-8")) if chosen.drawn else _measured(chosen)
    print("\n".join(table(result)))
    if chosen.json:
        chosen.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    if chosen.svg:
        chosen.svg.write_text(picture(result), "utf-8")
    if chosen.page:
        chosen.page.write_text(filled(chosen.page.read_text("utf-8"), result), "utf-8")


def _measured(chosen: argparse.Namespace) -> Mapping[str, Any]:
    plan = Plan(
        repeats=chosen.repeats or 5,
        seconds=chosen.seconds or (0.2 if chosen.full else 0.1),
        full=chosen.full,
        only=chosen.only,
    )
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: end the servers
    try:
        with tempfile.TemporaryDirectory() as folder:
            result = run(plan, Path(folder), python_load=chosen.python_load)
    except KeyboardInterrupt:
        _say("")
        print("interrupted: every server is ended, nothing is written", file=sys.stderr)
        sys.exit(130)
    _say("")
    return result


def run(plan: Plan, folder: Path, *, python_load: bool = False) -> Mapping[str, Any]:
    """Everything that is measured, as it is written to the file."""
    missing: dict[str, str] = {}
    workshop = Workshop(folder)
    generator = Generator(workshop, python=python_load)
    if generator.fallback:
        missing["the load generator in C"] = (
            f"{generator.fallback}; the one in Python is the bottleneck of the faster servers"
        )
    sizing: Mapping[str, Any] = {}
    rows = measure(plan, workshop, generator, missing, _say)
    if not plan.only:
        rows += measure_memory(plan, workshop, generator, missing, _say)
        if plan.full:
            rows += measure_latency(plan, workshop, generator, missing, _say)
        rows += measure_commands(plan, workshop, missing, _say)
        if plan.full:
            sizing = measure_sizing(plan, workshop, generator, rows, missing, _say)
    facts = {
        "measured": now(),
        "Python": platform.python_version(),
        "OpenSSL": ssl.OPENSSL_VERSION.split()[1],
        "trio": trio.__version__,
        "cryptography": cryptography.__version__,
        "cores": len(os.sched_getaffinity(0)),
        "repeats": plan.repeats,
    }
    return {"facts": facts, "rows": rows, "sizing": sizing, "missing": missing}


def _options() -> argparse.Namespace:
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.speed", description=__doc__.splitlines()[0] if __doc__ else None
    )
    options.add_argument(
        "--full", action="store_true", help="every row and peer, which takes time"
    )
    options.add_argument("--repeats", type=int, metavar="N", help="[default: 5]")
    options.add_argument(
        "--seconds", type=float, metavar="S", help="of load at a time  [default: 0.1; full: 0.2]"
    )
    options.add_argument(
        "--only", default="", metavar="TEXT", help="only servers, and rows with this in their name"
    )
    options.add_argument("--python-load", action="store_true", help="as without a compiler")
    options.add_argument("--json", type=Path, metavar="FILE", help="write every figure")
    options.add_argument("--svg", type=Path, metavar="FILE", help="draw the results")
    options.add_argument(
        "--page", type=Path, metavar="FILE", help="put the figures into a page, between its marks"
    )
    options.add_argument(
        "--from",
        dest="drawn",
        type=Path,
        metavar="FILE",
        help="measure nothing: what --json wrote",
    )
    return options.parse_args()


def _say(text: str) -> None:
    """Show what is being done, where there is a terminal."""
    if sys.stderr.isatty():
        print(f"{_CLEAR}{text}", end="", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
