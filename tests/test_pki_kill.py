"""A command may be killed at any moment: what is left is the state before it, or the one after.

And never half of it: a reader sees one of the two, `pki check` finds nothing, no key is readable
by others, no serial number is issued twice, and who runs the command again gets what it was for.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .kill_points import SCENARIOS

ROOT = Path(__file__).parent.parent
_PATIENCE = 300.0

# Fewer changes to the disk than this, and the counting has stopped to count.
_LEAST = 20


@pytest.fixture
def quick() -> Iterator[Path]:
    """A folder in memory where there is one: thousands are made and removed in it."""
    memory = "/dev/shm"  # noqa: S108  a folder of its own is made in it
    with tempfile.TemporaryDirectory(dir=memory if os.path.isdir(memory) else None) as folder:
        yield Path(folder)


@pytest.mark.parametrize("name", SCENARIOS)
def test_killed_at_any_change_to_the_disk_a_command_is_done_or_not(name: str, quick: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.kill_points", name, quick],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=_PATIENCE,
    )

    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) >= _LEAST
