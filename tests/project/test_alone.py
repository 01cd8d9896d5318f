"""Run alone, a test that needs another one is found, in whatever order they come."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.timing import TIMEOUT

ROOT = Path(__file__).parents[2]

TESTS = """
import os
import pytest

seen = []

@pytest.fixture(scope="module")
def made():
    seen.append("made")
    yield "made"
    print("undone")

def test_leaving(): seen.append("left")
def test_needing(): assert seen == ["left"]
def test_with_a_fixture(made): assert seen == [made]
def test_killed(): os._exit(3)
@pytest.mark.skip(reason="no need")
def test_skipped(): pass
"""


@pytest.mark.parametrize("workers", ["0", "2"])
def test_each_test_has_a_process_of_its_own(tmp_path: Path, workers: str) -> None:
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "tests.support.plugins.alone",
        "-rA",
        "-n",
        workers,
    ]
    done = subprocess.run(
        [*command, str(tmp_path)],
        cwd=ROOT,
        env={**os.environ, "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )

    assert "2 failed, 2 passed, 1 skipped" in done.stdout
    assert "the process ended with status 3" in done.stdout
    assert "assert [] == ['left']" in done.stdout
    assert "undone" in done.stdout
