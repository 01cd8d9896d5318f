"""The attacks of the demonstration: they succeed without mutual TLS, and fail with it."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from rich.console import Console

from mtls_echo.attacks.guessing import KEY_STEPS, years
from mtls_echo.attacks.lesson import SCENES
from mtls_echo.attacks.page import Claim, Played, page, play_scenes, read_claims
from mtls_echo.attacks.run import show_attacks
from tests.support.command_line import run
from tests.support.timing import TIMEOUT

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "why-mtls.md").read_text("utf-8")


@pytest.fixture(scope="module")
def shown() -> str:
    ran = run("demo", "--attacks")

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stderr == ""
    return ran.stdout


def scene(shown: str, number: int) -> str:
    """One scene as a line of words."""
    return " ".join(re.split(r"─ \d\. ", shown)[number].split())


def test_every_attack_succeeds_without_and_fails_with_mutual_tls(shown: str) -> None:
    assert shown.count("the attack succeeds") == shown.count("the attack fails") == len(SCENES)
    assert f"{len(SCENES)} attacks, all as announced" in shown


def test_it_fits_a_terminal_of_the_usual_width(shown: str) -> None:
    assert max(map(len, shown.splitlines())) <= 80


def test_the_phisher_gets_a_password_that_works_and_a_signature_that_does_not(shown: str) -> None:
    phishing = scene(shown, 2)

    assert "bank.test did: pay 900 to mallory" in phishing
    assert '"alice correct-horse-battery"' in phishing
    assert "accepted: an anonymous client" in phishing
    # The lines of the two columns are woven into each other.
    for part in ("decrypt_error (51)", "a signature by alice: valid in", "not valid in"):
        assert part in phishing
    assert "A private key is never sent" in phishing


def test_no_leaked_password_is_read_behind_mutual_tls(shown: str) -> None:
    assert "bank.test read: 4" in scene(shown, 3)
    assert "bank.test read: 0" in scene(shown, 3)
    assert "certificate_required (116)" in scene(shown, 3)


def test_the_time_for_a_key_is_computed(shown: str) -> None:
    needed = years(KEY_STEPS, 1e18)

    assert 1.0e13 < needed < 1.1e13
    assert f"{needed / 1e12:.0f} trillion years" in scene(shown, 4)


def test_what_mutual_tls_does_not_prevent_is_said_too(shown: str) -> None:
    after = " ".join(shown.partition("all as announced")[2].split())

    for limit in ("stolen private key", "compromised end", "authorisation", "passkeys"):
        assert limit in after


# --- docs/why-mtls.md ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def played() -> Played:
    return trio.run(play_scenes)


def test_the_page_is_up_to_date(played: Played) -> None:
    written = page(played, read_claims(ROOT / "tests" / "attacks"))

    assert written == PAGE, "`make docs` writes docs/why-mtls.md anew"


def test_nothing_in_it_differs_from_run_to_run() -> None:
    assert not re.search(r"\d{4}-\d\d-\d\d|\d\d:\d\d:\d\d", PAGE)  # dates and times
    assert not re.search(r"(?:localhost|127\.0\.0\.1):\d", PAGE)  # ports
    assert not re.search(r"\d ms", PAGE)
    assert "… ms" in PAGE


def test_every_claim_has_a_line(played: Played) -> None:
    modules = [path.stem for path in (ROOT / "tests" / "attacks").glob("test_*.py")]

    assert len(modules) >= 13
    for module in modules:
        assert re.search(rf"^\| [A-Z].+ \| \w.+ \| `{module}` \|$", PAGE, re.MULTILINE)
    assert page(played, {"test_other": Claim("Another claim.", "neither end")}) != PAGE


# --- deviations, and other terminals -------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("cause='expired'", "the bank does not name expired"),
        ("play=swapped", "with mutual TLS the attack succeeded"),
    ],
)
def test_what_does_not_happen_as_announced_is_reported_and_exits_1(
    change: str, complaint: str
) -> None:
    program = (
        "from dataclasses import replace\n"
        "from mtls_echo import __main__\n"
        "from mtls_echo.attacks import run\n"
        "scene = run.SCENES[2]\n"
        "async def swapped(parties): return (await scene.play(parties))[::-1]\n"
        f"run.SCENES = (replace(scene, {change}),)\n"
        "__main__.main(['demo', '--attacks'])\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=TIMEOUT
    )

    assert ran.returncode == 1
    assert "mtls-echo: error: not everything happened as announced" in ran.stderr
    assert complaint in ran.stderr


@pytest.mark.real_time
async def test_in_a_narrow_terminal_one_way_is_below_the_other() -> None:
    written = io.StringIO()

    assert await show_attacks(Console(file=written, width=40)) == []

    lines = [line.rstrip() for line in written.getvalue().splitlines()]
    assert max(map(len, lines)) <= 40
    assert lines.count("with a password") == lines.count("with mutual TLS") == len(SCENES) - 1
    assert lines.index("the attack succeeds") < lines.index("the attack fails")


def test_a_terminal_without_line_drawing_gets_ascii() -> None:
    ran = run("demo", "--attacks", PYTHONIOENCODING="ascii")

    assert ran.returncode == 0
    assert ran.stdout.isascii()
