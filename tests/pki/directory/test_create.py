"""A PKI on disk is made completely or not at all."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.directory.directory import Directory
from mtls_echo_pki.files.staging import DirectoryError
from tests.pki.directory.handshakes import shake_hands
from tests.support.pki import on_a_small_disk, tree, unprivileged
from tests.support.timing import TIMEOUT


@pytest.mark.parametrize("content", ["file", "hidden", "folder"])
def test_creation_refuses_what_is_not_empty_and_changes_nothing(
    tmp_path: Path, content: str
) -> None:
    path = tmp_path / "pki"
    path.mkdir()
    if content == "folder":
        (path / "a").mkdir()
    else:
        (path / (".a" if content == "hidden" else "a")).write_bytes(b"precious")
    before = tree(tmp_path)

    with pytest.raises(DirectoryError, match="exists and is not empty"):
        Directory.create(path)

    assert tree(tmp_path) == before


def test_creation_refuses_a_file(tmp_path: Path) -> None:
    (tmp_path / "pki").write_bytes(b"precious")
    for path in (tmp_path / "pki", tmp_path / "pki" / "below"):
        with pytest.raises(DirectoryError, match=r"pki: (is a file|file exists)"):
            Directory.create(path)
    assert (tmp_path / "pki").read_bytes() == b"precious"


def test_an_empty_folder_is_taken_also_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir(mode=0o755)
    (tmp_path / "link").symlink_to("empty")

    directory = Directory.create(tmp_path / "link")

    shake_hands(directory)
    assert (tmp_path / "link").is_symlink()
    assert stat.S_IMODE((tmp_path / "empty").stat().st_mode) == 0o700


def test_a_loop_of_links_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for path in (tmp_path / "loop", tmp_path / "loop" / "pki"):
        with pytest.raises(DirectoryError, match=r"loop: (too many levels|file exists)"):
            Directory.create(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["loop"]


def test_a_current_directory_that_was_deleted_is_named_as_the_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deleted").mkdir()
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "deleted")
    (tmp_path / "deleted").rmdir()

    with pytest.raises(DirectoryError, match=r"^pki: the current directory.* was deleted$"):
        Directory.create("pki")
    shake_hands(Directory.create(tmp_path / "empty"))


def test_a_write_that_fails_names_what_was_to_be_made(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    directory = Directory.create(tmp_path / "pki")
    before = tree(tmp_path)
    # The operating system refuses the write, not the opening, and so names no file.
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with pytest.raises(DirectoryError) as creation:
            Directory.create(tmp_path / "other")
        with pytest.raises(DirectoryError) as issuance:
            directory.issue("alice", Request.client("alice@mail.test"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert str(creation.value) == f"{tmp_path / 'other'}: file too large"
    assert str(issuance.value) == f"{directory.path / 'alice'}: file too large"
    assert tree(tmp_path) == before


def test_the_current_folder_is_not_pulled_away_from_under_the_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    with pytest.raises(DirectoryError, match="is the current directory") as refusal:
        Directory.create(Path())

    assert "./pki" in (refusal.value.hint or "")
    assert not list(tmp_path.iterdir())


def test_a_bad_identity_is_found_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not an identity"):
        Directory.create(tmp_path / "pki", server_names=["a b"])
    assert not list(tmp_path.iterdir())


def test_creation_without_permission_names_the_path_and_leaves_nothing() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        with (
            unprivileged(),
            pytest.raises(DirectoryError, match="permission denied") as refusal,
        ):
            Directory.create(Path(folder, "pki"))
        assert folder in str(refusal.value)
        assert "may write" in (refusal.value.hint or "")
        assert not os.listdir(folder)


def _create(
    paths: list[Path], together: multiprocessing.synchronize.Barrier, results: object
) -> None:
    for path in paths:
        together.wait(TIMEOUT)
        directory, created = Directory.open_or_create(path)
        results.put(  # type: ignore[attr-defined]  # a multiprocessing queue
            (path, created, directory.credential("server").fingerprint, directory.names())
        )


def test_processes_that_create_at_once_all_get_the_same_complete_directory(
    tmp_path: Path,
) -> None:
    spawn = multiprocessing.get_context("spawn")
    together, results = spawn.Barrier(4), spawn.Queue()
    paths = [tmp_path / str(attempt) / "pki" for attempt in range(3)]
    workers = [spawn.Process(target=_create, args=(paths, together, results)) for _ in range(4)]
    for worker in workers:
        worker.start()
    everything = [results.get(timeout=TIMEOUT) for _ in workers for _ in paths]
    for worker in workers:
        worker.join(TIMEOUT)

    for path in paths:
        got = [rest for made, *rest in everything if made == path]
        assert sorted(created for created, _, _ in got) == [False] * 3 + [True]
        assert len({fingerprint for _, fingerprint, _ in got}) == 1
        assert all(names == ["client", "server"] for _, _, names in got)
        assert [entry.name for entry in path.parent.iterdir()] == ["pki"]
        shake_hands(Directory(path))


BUILDER = """
import sys
from pathlib import Path
from mtls_echo_pki.files.staging import new_folder

with new_folder(Path(sys.argv[1])) as staging:
    (staging / "tls.key").write_bytes(b"secret")
    print("ready", flush=True)
    sys.stdin.read()
"""


@contextlib.contextmanager
def building(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that is at work on a new folder until its standard input ends, or it is killed."""
    with subprocess.Popen(
        [sys.executable, "-c", BUILDER, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as builder:
        assert builder.stdout is not None
        try:
            assert builder.stdout.readline() == "ready\n"
            yield builder
        finally:
            builder.kill()


def test_keys_that_a_killed_process_left_are_cleared_away(tmp_path: Path) -> None:
    with building(tmp_path / "pki"):
        pass
    assert [key.read_bytes() for key in tmp_path.rglob("tls.key")] == [b"secret"]

    directory = Directory.create(tmp_path / "pki")
    with building(directory.path / "alice"):
        pass
    directory.issue("bob", Request.client("bob@mail.test"))

    assert [entry.name for entry in tmp_path.iterdir()] == ["pki"]
    assert not list(directory.path.glob(".*"))
    assert directory.names() == ["bob", "client", "server"]


def test_what_another_process_is_building_is_left_alone(tmp_path: Path) -> None:
    with building(tmp_path / "pki") as builder:
        assert Directory.open_or_create(tmp_path / "pki")[1]
        assert len(list(tmp_path.rglob(".new-pki.*/pki/tls.key"))) == 1
        _, complaint = builder.communicate("", timeout=TIMEOUT)

    assert "AlreadyThereError" in complaint
    assert [entry.name for entry in tmp_path.iterdir()] == ["pki"]


def test_a_hidden_folder_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    for name, contents in (
        (".new-pki.notes", "pki"),  # not a name we would have made
        (".new-pki.abcdefgh", "notes"),  # not what would be in it
        (".new-other.abcdefgh", "other"),  # not what is being made
    ):
        (tmp_path / name / contents).mkdir(parents=True)
    (tmp_path / "linked" / "pki").mkdir(parents=True)
    (tmp_path / ".new-pki.aaaaaaaa").symlink_to("linked")
    before = tree(tmp_path)

    shutil.rmtree(Directory.create(tmp_path / "pki").path)

    assert tree(tmp_path) == before


FULL_DISK = """
mount -t tmpfs -o size=24k tmpfs "$1" || exit 77
cd / && exec "$2" - "$1" <<'PYTHON'
import sys
from pathlib import Path
from mtls_echo import Directory, DirectoryError

disk = Path(sys.argv[1])
try:
    Directory.create(disk / "pki")
except DirectoryError as error:
    assert str(error).startswith(f"{disk / 'pki'}"), error
    assert str(error).endswith(": no space left on device"), error
    assert "make room" in error.hint
else:
    raise SystemExit("created on a full disk")
assert not list(disk.iterdir()), list(disk.rglob("*"))
try:
    Directory.create(disk)
except DirectoryError as error:
    assert "is a mount point" in str(error), error
else:
    raise SystemExit("replaced a mount point")
assert [path.name for path in disk.parent.iterdir()] == [disk.name]
PYTHON
"""


def test_a_full_disk_or_a_mount_point_is_reported_and_nothing_is_left_behind(
    tmp_path: Path,
) -> None:
    on_a_small_disk(tmp_path / "disk", FULL_DISK)
