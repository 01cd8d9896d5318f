"""`mtls-echo pki remove` removes what the other commands have made, and nothing else."""

from __future__ import annotations

import os
import pty
import subprocess
from pathlib import Path

import pytest

from mtls_echo.commands.pki import remove
from mtls_echo_pki.directory.directory import Directory
from tests.cli.commands.pki.invoking import invoke, refused
from tests.cli.commands.pki.invoking import made as made
from tests.support.command_line import COMMAND, environment
from tests.support.pki import tree


def test_everything_that_was_made_is_removed(tmp_path: Path) -> None:
    made = Directory.create(tmp_path / "pki", intermediate=True)
    made.renew("client", rekey=True)
    made.revoke("client")
    made.introduce()
    made.switch()
    result = invoke("remove", made.path, "--yes")

    assert (result.exit_code, result.output) == (0, f"removed {made.path}\n")
    assert list(tmp_path.iterdir()) == []


def test_so_is_one_with_a_single_ca(tmp_path: Path) -> None:
    made = Directory.create(tmp_path / "pki", single_authority=True)
    flawed = ("late", "a.test", "--server", "--flaw", "crl-expired")
    assert invoke("issue", made.path, *flawed).exit_code == 0

    assert invoke("remove", made.path, "--yes").exit_code == 0
    assert list(tmp_path.iterdir()) == []


def test_what_others_put_there_stays_and_is_listed(tmp_path: Path, made: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "tls.key").touch()
    strange = [made / "notes.txt", made / "client" / "me.p12", made / "trust" / "clients" / "x"]
    for path in strange:
        path.touch()
    (made / "folder").mkdir()
    (made / "folder" / "tls.key").touch()
    (made / "link").symlink_to(outside)
    (made / "server" / "..2026-link").symlink_to(outside)
    (made / "authorities" / "mine").symlink_to(outside)
    result = invoke("remove", made, "--yes")

    kept = {*strange, made / "folder", made / "link", made / "authorities" / "mine"}
    assert result.exit_code == 0
    assert {Path(line.strip()) for line in result.output.splitlines()[1:]} == kept
    assert {path for path in made.rglob("*") if not path.is_dir() or path.is_symlink()} == {
        *strange,
        made / "folder" / "tls.key",
        made / "link",
        made / "authorities" / "mine",
    }
    assert (outside / "tls.key").exists()


@pytest.mark.parametrize("kind", ["link", "folder", "file", "copy", "nothing", "secret"])
def test_what_is_no_pki_of_ours_is_refused_and_untouched(
    kind: str, tmp_path: Path, made: Path
) -> None:
    place = tmp_path / "place"
    errors = {
        "link": "is a link, which is not followed",
        "folder": "is not a PKI directory",
        "file": "is not a PKI directory",
        "copy": "has no CAs",
        "nothing": "does not exist",
        "secret": "is not a PKI directory",
    }
    match kind:
        case "link":
            place.symlink_to(made)
        case "folder":
            place.mkdir()
        case "file":
            place.write_bytes(b"a file")
        case "copy":
            made.rename(place)
            (place / "authorities").rename(tmp_path / "taken away")
        case "secret":
            (made / "client").rename(place)
        case _:
            pass
    before = tree(tmp_path)

    refused(invoke("remove", place, "--yes"), error=errors[kind])

    assert tree(tmp_path) == before


def test_without_a_terminal_it_has_to_be_told(made: Path) -> None:
    before = tree(made)

    refused(invoke("remove", made), error="there is no terminal to ask on", hint="--yes")

    assert tree(made) == before


@pytest.mark.parametrize(("answer", "removed"), [(b"y\n", True), (b"n\n", False), (b"\n", False)])
def test_a_terminal_is_asked(answer: bytes, removed: bool, tmp_path: Path) -> None:
    shared = tmp_path / "state" / "pki"
    Directory.create(shared)
    ours, its = pty.openpty()
    os.write(ours, answer)
    ran = subprocess.run(
        [*COMMAND, "pki", "remove"], stdin=its, capture_output=True, text=True,
        env=environment(shared),
    )  # fmt: skip
    os.close(ours)
    os.close(its)

    assert f"Remove {shared}, its CAs with their keys, and the credentials client" in ran.stderr
    assert (ran.returncode == 0) is removed
    assert shared.exists() is not removed
    assert shared.parent.exists()


def test_every_file_that_a_ca_can_have_is_known() -> None:
    from mtls_echo_pki.directory.ca_state import FILES

    assert [name for name in FILES if not remove._FILE.fullmatch(name)] == []
