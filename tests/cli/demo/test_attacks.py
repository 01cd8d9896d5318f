"""The attacks of the lesson: they succeed without mutual TLS, and fail with it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import trio
from rich.text import Text

from mtls_echo.attacks.chapter import play
from mtls_echo.attacks.guessing import KEY_STEPS, years
from mtls_echo.attacks.lesson import SCENES
from mtls_echo.attacks.page import Claim, page, read_claims
from mtls_echo.demo.blocks import Section, Table, plain
from tests.support.command_line import run
from tests.support.lesson import is_in_the_page, misfits, words
from tests.support.timing import TIMEOUT

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "why-mtls.md").read_text("utf-8")

Played = list[Section]


@pytest.fixture(scope="module")
def played(told: list[str]) -> Played:
    return trio.run(play, told.append)


def attack(played: Played, number: int) -> str:
    """The sections about one attack, as a line of words."""
    return words(section for section in played if section.title.startswith(f"attack {number}:"))


def test_the_page_of_the_lesson_is_up_to_date(played: Played) -> None:
    assert is_in_the_page("attacks", played), "`make docs` writes docs/lesson.md anew"


def test_every_attack_succeeds_without_and_fails_with_mutual_tls(played: Played) -> None:
    text = words(played)

    assert text.count("the attack succeeds") == text.count("the attack fails") == len(SCENES)
    assert [section.mismatches for section in played if section.mismatches] == []


def outcomes(played: Played) -> list[Table]:
    """The table of each attack that ends with whether it succeeded."""
    tables = [each for section in played for each in section.blocks if isinstance(each, Table)]
    return [table for table in tables if not table.labels[-1]]


def test_a_success_of_the_attacker_is_bad_and_a_failure_good(played: Played) -> None:
    shown = [(cell.plain, cell.style) for table in outcomes(played) for cell in texts(table)]

    assert shown == len(SCENES) * [
        ("the attack succeeds", "bold red"),
        ("the attack fails", "bold green"),
    ]


def texts(table: Table) -> list[Text]:
    """The cells of the last row."""
    return [cell for cell in table.rows[-1] if isinstance(cell, Text)]


def test_what_is_being_played_is_told(played: Played, told: list[str]) -> None:
    assert len(played) == 1 + 2 * len(SCENES) + 2
    assert told == [f"attack {n} of 5: {scene.title}" for n, scene in enumerate(SCENES, start=1)]


def test_it_fits_terminals(played: Played) -> None:
    assert misfits(played) == []


def test_the_phisher_gets_a_password_that_works_and_a_signature_that_does_not(
    played: Played,
) -> None:
    phishing = attack(played, 2)

    assert "bank.test did: pay 900 to mallory" in phishing
    assert '"alice correct-horse-battery"' in phishing
    assert "accepted: an anonymous client" in phishing
    # The lines of the two columns are woven into each other.
    for part in ("decrypt_error (51)", "a signature by alice: valid in", "not valid in"):
        assert part in phishing
    assert "A private key is never sent" in phishing


def test_no_leaked_password_is_read_behind_mutual_tls(played: Played) -> None:
    leaked = attack(played, 3)

    assert "bank.test read: 4" in leaked
    assert "bank.test read: 0" in leaked
    assert "certificate_required (116)" in leaked


def test_the_time_for_a_key_is_computed(played: Played) -> None:
    needed = years(KEY_STEPS, 1e18)

    assert 1.0e13 < needed < 1.1e13
    assert f"{needed / 1e12:.0f} trillion years" in attack(played, 4)


def test_what_mutual_tls_does_not_prevent_is_said_too(played: Played) -> None:
    after = words(played[-2:])

    for limit in ("stolen private key", "compromised end", "authorisation", "passkeys"):
        assert limit in after


# --- docs/why-mtls.md ----------------------------------------------------------------------------


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


# --- deviations, and narrow terminals ------------------------------------------------------------


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
        "from mtls_echo.attacks import chapter\n"
        "scene = chapter.SCENES[2]\n"
        "async def swapped(parties): return (await scene.play(parties))[::-1]\n"
        f"chapter.SCENES = (replace(scene, {change}),)\n"
        "__main__.main(['demo', '--chapter', 'attacks'])\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=TIMEOUT
    )

    assert ran.returncode == 1
    assert "mtls-echo: error: not everything happened as announced" in ran.stderr
    assert f"a list of leaked passwords: {complaint}" in ran.stderr


def test_in_a_narrow_terminal_one_way_is_below_the_other(played: Played) -> None:
    for table in outcomes(played):
        lines = plain(table, 40)

        assert lines[0] == table.headings[0]
        assert lines.count(table.headings[1]) == 1
        assert lines.count("what mallory did:") == 2
        assert lines.index("the attack succeeds") < lines.index(table.headings[1])
        assert lines[-1] == "the attack fails"


def test_a_terminal_without_line_drawing_gets_ascii() -> None:
    ran = run("demo", "--chapter", "attacks", PYTHONIOENCODING="ascii")

    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.isascii()
    assert ran.stdout.count("the attack succeeds") == len(SCENES)
    assert max(map(len, ran.stdout.splitlines())) <= 80
