"""Manual pages: made of the help, and understood by what formats them."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from tests.interop.foreign_peers import need
from tests.support.command_line import run


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the pages of all commands."""
    folder = tmp_path_factory.mktemp("man") / "new" / "man1"
    ran = run("man", "--write", str(folder))
    assert (ran.returncode, ran.stdout) == (0, "")
    return folder


def read(page: Path) -> str:
    """What a reader sees of it, in one line."""
    command = ["groff", "-man", "-Tutf8", "-P-cbou", "-rLL=200n", str(page)]
    formatted = subprocess.run(command, capture_output=True, text=True, check=True)
    return " ".join(formatted.stdout.replace("\N{HYPHEN}", "-").split())


def test_there_is_one_for_each_command(pages: Path) -> None:
    names = {page.stem for page in pages.iterdir()}

    assert names > {"mtls-echo", "mtls-echo-serve", "mtls-echo-pki", "mtls-echo-pki-init"}
    assert (pages / "mtls-echo-serve.1").read_text("utf-8") == run("man", "serve").stdout


def test_groff_finds_nothing_to_warn_of(pages: Path) -> None:
    need("groff")
    command = ["groff", "-man", "-Tutf8", "-ww", "-z", *map(str, pages.iterdir())]
    ran = subprocess.run(command, capture_output=True, text=True)

    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize("name", ["serve", "pki-revoke"])
def test_a_page_says_what_the_help_says(name: str, pages: Path) -> None:
    need("groff")
    shown = read(pages / f"mtls-echo-{name}.1")
    text = run(*name.split("-"), "--help", COLUMNS="400").stdout
    _, _, told = text.partition("\n\n")
    missing = [
        line
        for line in re.split(r"\n\s*|\s{2,}", told)
        if line and not line.endswith(":") and " ".join(line.split()) not in shown
    ]

    # What has another heading there.
    assert [line for line in missing if not line.startswith("exit status")] == []
    sections = ("NAME", "SYNOPSIS", "DESCRIPTION", "EXAMPLES", "EXIT STATUS", "SEE ALSO")
    assert [each for each in sections if each not in shown] == []


def test_a_page_of_no_command_and_a_folder_that_is_none_are_errors(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert 'there is no command "nonsense"' in run("man", "nonsense").stderr
    assert "file exists" in run("man", "--write", str(tmp_path / "file")).stderr
    assert "of all commands" in run("man", "serve", "--write", str(tmp_path)).stderr
