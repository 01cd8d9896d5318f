"""A short piece of `benchmarks.rotation`, bounded by count: nothing is lost, nobody slips in."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("tickets", [[], ["--tickets"]], ids=["no tickets", "tickets"])
def test_a_crowd_loses_nothing_while_everything_rotates(
    tmp_path: Path, tickets: list[str]
) -> None:
    counted = tmp_path / "tally.json"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "benchmarks.rotation", "--json", str(counted), *tickets),
            *("--steps", "60", "--clients", "8", "--leavers", "2", "--seconds", "300"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    tally = json.loads(counted.read_text())
    assert [tally[name] for name in ("failed", "lost", "admitted", "not_ok")] == [0, 0, 0, 0]
    assert tally["steps"] >= 60
    assert tally["sessions"] > 8
    assert tally["generations"] > 2
    assert tally["attempts"] == 2 * 4  # two leavers, two versions, with and without a session
