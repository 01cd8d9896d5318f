"""A command may be killed at any moment: what is left is the state before it, or the one after.

And never half of it: a reader sees one of the two, `pki check` finds nothing, no key is readable
by others, no serial number is issued twice, and who runs the command again gets what it was for.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mtls_echo_pki.checks.check import check
from mtls_echo_pki.directory.directory import Directory
from tests.pki.directory.kill_points import SCENARIOS, whole
from tests.support.timing import TIMEOUT

ROOT = Path(__file__).parents[3]
# Fewer changes to the disk than this, and the counting has stopped to count.
_LEAST = 20

# How often a command is killed at a random moment. By hand, and in issue 4: 500.
KILLS = int(os.environ.get("MTLS_ECHO_KILLS", "8"))


@pytest.fixture
def quick() -> Iterator[Path]:
    """A folder in memory where there is one: thousands are made and removed in it."""
    memory = "/dev/shm"  # noqa: S108  a folder of its own is made in it
    with tempfile.TemporaryDirectory(dir=memory if os.path.isdir(memory) else None) as folder:
        yield Path(folder)


@pytest.mark.parametrize("name", SCENARIOS)
def test_killed_at_any_change_to_the_disk_a_command_is_done_or_not(name: str, quick: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.pki.directory.kill_points", name, quick],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )

    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) >= _LEAST


# The whole life of a directory, over and over.
LIFE = (
    ("renew", "pki", "client", "--new-key"),
    ("revoke", "pki", "client", "--reason", "keyCompromise"),
    ("issue", "pki", "{fresh}", "a.test", "--client"),
    ("crl", "pki"),
    ("rollover", "pki", "introduce"),
    ("rollover", "pki", "switch"),
    ("renew", "pki", "--all", "--same-key"),
    ("rollover", "pki", "retire"),
)

# Most of the time of a command goes into imports, in which there is nothing to be interrupted.
PREPARED = """
import sys
import mtls_echo_pki.checks.check, mtls_echo_pki.directory.directory, mtls_echo_pki.checks.status
from mtls_echo.commands.pki.group import pki
print("ready", flush=True)
pki(prog_name="mtls-echo pki")
"""


def play(arguments: list[str], cwd: Path, timeout: float) -> tuple[int, str]:
    """Run a command, and kill it after that many seconds; its status and its complaint."""
    process = subprocess.Popen(
        [sys.executable, "-c", PREPARED, *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
    _, complaint = process.communicate(timeout=TIMEOUT)
    return process.returncode, complaint


def test_killed_at_random_moments_a_directory_stays_whole_and_its_life_goes_on(
    quick: Path,
) -> None:
    directory = Directory.create(quick / "pki", intermediate=True)
    directory.renew("client", rekey=True)  # so that no revocation takes the only key
    seed = int.from_bytes(os.urandom(4))
    chance = random.Random(seed)  # noqa: S311  a moment is not secret
    killed, done = 0, 0
    for attempt in range(KILLS + len(LIFE)):
        arguments = [each.format(fresh=f"n{done}") for each in LIFE[done % len(LIFE)]]
        timeout = chance.uniform(0.0, 0.08) if attempt < KILLS else TIMEOUT
        status, complaint = play(arguments, quick, timeout)

        story = f"seed {seed}, attempt {attempt}, {arguments}: {complaint}"
        assert check(directory) == [], story
        whole(directory, in_order=True)
        # What was killed is run again. It does what is left, or is told that nothing is.
        made = status == 0 or "there is already something named" in complaint
        assert made or status == -signal.SIGKILL, story
        done += made
        killed += not made
    print(f"killed {killed} times; {done // len(LIFE)} authorities retired")
