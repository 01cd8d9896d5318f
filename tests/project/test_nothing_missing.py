"""On a machine where nothing may be missing, no test stops testing silently."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.timing import TIMEOUT

ROOT = Path(__file__).parents[2]

TESTS = """
import pytest

def test_that_passes(): pass

@pytest.mark.skipif(True, reason="no java here")
def test_marked(): pass

def test_that_skips_itself(): pytest.skip("no node here")

@pytest.mark.xfail(strict=True)
def test_expected_to_fail(): assert False
"""

MODULE = """
import pytest

pytest.skip("no curl here", allow_module_level=True)
"""


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_skip_fails_there_with_its_reason(tmp_path: Path, workers: str) -> None:
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "test_none.py").write_text(MODULE)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")

    def run(**environment: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rs"]
        return subprocess.run(
            [*command, "-n", workers, "--continue-on-collection-errors", str(tmp_path)],
            cwd=ROOT,
            env={**os.environ, "PYTEST_ADDOPTS": "", **environment},
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
        )

    there = run(PYTEST_ADDOPTS="-p tests.support.plugins.nothing_missing")

    assert there.returncode == 1, there.stdout
    assert "1 failed, 1 passed, 1 xfailed, 2 errors" in there.stdout
    for reason in ("no java here", "no node here", "no curl here"):
        assert f"skipped where nothing may be missing: {reason}" in re.sub(
            r"Skipped: ", "", there.stdout
        )


def test_continuous_integration_is_such_a_machine() -> None:
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    exported, commands = script.split("make demo")

    assert 'export CI=true PYTEST_ADDOPTS="-p tests.support.plugins.nothing_missing"' in exported
    assert "pytest" not in commands
