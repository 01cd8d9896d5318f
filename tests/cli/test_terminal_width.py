"""In a terminal: lines of whole words, as wide as it is, and colour unless it is unwanted."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.command_line import run, run_in_terminal

NO_COLOUR = {"NO_COLOR": "1"}
COMMANDS = (
    "demo --tour",
    "observe expired --fast",
    "explain unknown ca",
    "explain --side client SSL alert number 42",
    "explain nothing that is known",
    "connect localhost:1 hello",
    "connect localhost:8443 hello --cert x",
    "pki issue ./nowhere alice",
    "nonsense",
    "--help",
    "serve --help",
    "connect --help",
    "endpoints --help",
    "pki renew --help",
    "pki issue --help",
    "pki rollover --help",
    "pki flaws",
)


def in_terminal(command: str, columns: int, variables: Mapping[str, str] = NO_COLOUR) -> str:
    """What a command shows in a terminal of so many columns."""
    shown, _ = run_in_terminal(*command.split(), columns=columns, variables=variables)
    return shown.replace("\r\n", "\n")


def _words(text: str) -> set[str]:
    """The words, without what differs from run to run and what diagrams are made of."""
    return {re.sub(r"\d+", "0", word) for word in text.split() if re.search(r"\w", word)}


@functools.cache
def _in_wide_terminal(command: str, home: Path) -> str:
    return in_terminal(command, 120, _with(home))


def _with(home: Path) -> dict[str, str]:
    return {**NO_COLOUR, "HOME": str(home)}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home where test certificates exist: the command that makes them says so, others do not."""
    folder = tmp_path_factory.mktemp("home")
    assert "made test certificates" in in_terminal("connect localhost:1 hello", 120, _with(folder))
    return folder


@pytest.mark.parametrize("columns", [60, 80])
@pytest.mark.parametrize("command", COMMANDS)
def test_lines_are_as_wide_as_the_terminal_and_words_are_whole(
    command: str, columns: int, home: Path
) -> None:
    shown, wide = in_terminal(command, columns, _with(home)), _in_wide_terminal(command, home)

    assert max(map(len, shown.splitlines())) <= columns
    assert _words(shown) == _words(wide)


@pytest.mark.parametrize("command", COMMANDS)
def test_words_are_whole_in_a_very_narrow_terminal(command: str, home: Path) -> None:
    shown = in_terminal(command, 40, _with(home))

    assert [line for line in shown.splitlines() if not _fits(line, 40)] == []
    assert _words(shown) == _words(_in_wide_terminal(command, home))


def _fits(line: str, columns: int) -> bool:
    """Whether it does, or is one word that may not be broken: a path or a fingerprint."""
    return len(line) <= columns or len(line.removesuffix(" \\").split()) == 1


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PKI in the middle of a replacement, with a revoked certificate."""
    folder = tmp_path_factory.mktemp("pki") / "pki"
    for command in (
        "init {} --intermediate",
        "revoke {} client --present",
        "rollover {} introduce",
    ):
        assert run("pki", *command.format(folder).split()).returncode == 0
    return folder


@pytest.mark.parametrize("columns", [40, 72])
@pytest.mark.parametrize(
    "command",
    [
        "show {}",
        "show {}/server",
        "rollover {} introduce",
        "revoke {} client",
        "crl {}",
        "check {}",
    ],
)
def test_what_a_pki_has_is_shown_in_lines_of_whole_words(
    pki: Path, command: str, columns: int
) -> None:
    in_full = f"pki {command.format(os.path.relpath(pki))}"
    shown, piped = in_terminal(in_full, columns), run(*in_full.split()).stdout

    assert [line for line in shown.splitlines() if not _fits(line, columns)] == []
    assert _words(shown) == _words(piped)


def test_a_value_that_is_too_wide_goes_on_below_itself(pki: Path) -> None:
    shown = in_terminal(f"pki show {pki}/server", 60)

    assert re.search(r"\n  validity     20.* to 20\S* \S*\n {15}UTC, expires in 30 days\n", shown)
    assert re.search(r"\n  fingerprint\n    [0-9a-f]{64}\n", shown)


def test_a_pipe_gets_lines_as_they_are(pki: Path) -> None:
    assert re.search(
        r"\n  validity     20.* UTC, expires in 30 days\n", run("pki", "show", str(pki)).stdout
    )


def test_a_table_that_does_not_fit_has_each_failure_on_a_line_of_its_own() -> None:
    shown = in_terminal("observe not-an-authority-no-basic-constraints --fast", 80)

    assert max(map(len, shown.splitlines())) <= 80
    assert "\nnot-an-authority-no-basic-constraints\n  1.2 1.3  sure" in shown


def test_reports_are_side_by_side_or_one_below_the_other() -> None:
    wide, narrow = (
        in_terminal("observe expired --fast", 60),
        in_terminal("observe expired --fast", 59),
    )

    assert re.search(r"\n what the client saw +what the server saw +\n", wide)
    assert re.search(r"\n  what the client saw +\n  we refused the server", narrow)


@pytest.mark.parametrize("command", COMMANDS[:8])
@pytest.mark.parametrize("variables", [NO_COLOUR, {"TERM": "dumb"}], ids=str)
def test_colour_is_left_out_where_it_is_unwanted(command: str, variables: dict[str, str]) -> None:
    assert "\x1b" not in in_terminal(command, 80, variables)


@pytest.mark.parametrize("command", ["demo --tour", "observe expired --fast", "nonsense"])
def test_a_terminal_gets_colour_and_a_pipe_does_not(command: str) -> None:
    piped = run(*command.split())

    assert "\x1b[" in in_terminal(command, 80, {})
    assert "\x1b" not in piped.stdout + piped.stderr
