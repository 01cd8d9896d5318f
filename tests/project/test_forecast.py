"""The number of tests that is said at the start is the number that is run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.plugins.forecast import LAST_RUNS
from tests.support.timing import TIMEOUT

ROOT = Path(__file__).parents[2]

CONFTEST = """
from tests.support.plugins.forecast import Forecast

def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Forecast(config))
"""

TESTS = """
import pytest

@pytest.mark.parametrize("number", range(1200))
def test_quick(number): pass
"""


@pytest.mark.parametrize("workers", ["0", "2"])
def test_the_tests_are_counted_and_the_last_run_tells_how_long(
    tmp_path: Path, workers: str
) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_many.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")

    def begins(*choice: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-n", workers, *choice, str(tmp_path)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )
        assert done.returncode == 0, done.stdout
        [line] = [each for each in done.stdout.splitlines() if " tests, about " in each]
        return line

    assert begins().startswith(f"1,200 tests, about {2 if workers == '2' else 4} minutes on ")
    assert begins("-k", "119").startswith("12 tests, about 10 seconds on ")

    remembered = tmp_path / ".pytest_cache" / "v" / LAST_RUNS
    [(choice, (tests, seconds, by))] = json.loads(remembered.read_text()).items()
    assert (tests, by) == (1200, int(workers) or 1)
    assert seconds > 0
    remembered.write_text(json.dumps({choice: [tests // 2, 150.0, by]}))
    assert begins().startswith("1,200 tests, about 5 minutes on ")
