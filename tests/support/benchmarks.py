"""Benchmarks of the project, run by a test for a short while."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.timing import TIMEOUT

_ROOT = Path(__file__).parents[2]


def figures_of(benchmark: str, folder: Path, *options: str) -> dict[str, Any]:
    """What ``python -m benchmarks.…`` counts; it has to succeed."""
    told = folder / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{benchmark}", "--json", str(told), *options],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(told.read_text())
    return found
