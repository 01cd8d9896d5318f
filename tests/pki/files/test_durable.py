"""What cannot be looked at is an error, and does not count as absent."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

import mtls_echo_pki
from mtls_echo_pki.checks.check import check
from mtls_echo_pki.directory.directory import Directory
from mtls_echo_pki.directory.store import Store
from mtls_echo_pki.files.durable import exists, is_folder, is_regular
from mtls_echo_pki.files.staging import DirectoryError
from tests.support.pki import unprivileged

LOOKS = [exists, is_folder, is_regular]


@pytest.fixture
def lenient_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Path` as it is from Python 3.14 on: False in place of every error."""

    def leniently(look: Callable[[Path], bool]) -> Callable[[Path], bool]:
        def answer(path: Path) -> bool:
            with suppress(OSError):
                return look(path)
            return False

        return answer

    for name in ("exists", "is_dir", "is_file"):
        monkeypatch.setattr(Path, name, leniently(getattr(Path, name)))


def test_each_kind_is_told_apart_with_links_followed(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    (tmp_path / "nowhere").symlink_to("absent")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")

    assert {
        name: [look(tmp_path / name) for look in LOOKS]
        for name in ("file", "folder", "link", "pipe", "nowhere", "loop", "absent", "file/in")
    } == {
        "file": [True, False, True],
        "folder": [True, True, False],
        "link": [True, True, False],
        "pipe": [True, False, False],
        **{name: [False] * 3 for name in ("nowhere", "loop", "absent", "file/in")},
    }


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.usefixtures("lenient_paths")
def test_what_is_out_of_reach_is_an_error(look: Callable[[Path], bool], tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    tmp_path.chmod(0o700)

    with unprivileged(), pytest.raises(PermissionError) as caught:
        look(tmp_path / "closed" / "file")

    assert caught.value.filename == str(tmp_path / "closed" / "file")


@pytest.mark.usefixtures("lenient_paths")
def test_a_pki_with_a_closed_folder_is_not_one_without_it() -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Directory.create(Path(folder, "pki")).path
        for opened in (Path(folder), path, path / "trust"):
            opened.chmod(0o755)
        store = Store(path)

        with unprivileged(), pytest.raises(DirectoryError, match="permission denied") as caught:
            check(store)

        assert "authorities" in str(caught.value)


def test_no_module_asks_a_path_itself() -> None:
    package = Path(mtls_echo_pki.__file__).parent
    asking = re.compile(r"\.(exists|is_dir|is_file)\(\)")

    assert [file for file in package.rglob("*.py") if asking.search(file.read_text("utf-8"))] == []
