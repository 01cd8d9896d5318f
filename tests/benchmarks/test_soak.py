"""`benchmarks.soak`, for some seconds: nothing is lost, nothing is left."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.support.timing import TIMEOUT

ROOT = Path(__file__).parents[2]


def test_good_clients_lose_nothing_among_bad_and_hostile_ones(tmp_path: Path) -> None:
    told = tmp_path / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.soak", "--seconds", "4", "--json", str(told)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(told.read_text())
    assert figures["lost"] == 0
    assert figures["served"] > 0
    assert figures["bad"] > 0
    assert figures["hostile"]["falls silent in a flood"] > 0
    assert figures["descriptors_after"] <= figures["descriptors_before"]
