"""A PKI directory that cannot be written: nothing changes, or the rest is made up for."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mtls_echo_pki.checks.check import check
from mtls_echo_pki.directory.ca_folder import CAFolder
from mtls_echo_pki.directory.ca_state import CAState, RolloverStage
from mtls_echo_pki.directory.directory import Directory
from mtls_echo_pki.files.atomic_writer import publish
from mtls_echo_pki.files.pem_blocks import MaterialError
from mtls_echo_pki.files.staging import DirectoryError, os_errors_as_directory_errors
from tests.pki.directory.changes import CHANGES
from tests.pki.directory.changes import directory as directory
from tests.pki.directory.changes import old as old
from tests.pki.directory.kill_points import whole
from tests.pki.directory.test_kill import quick as quick
from tests.support.pki import UNPRIVILEGED_UID, on_a_small_disk, tree, unprivileged


@pytest.mark.parametrize("change", CHANGES)
def test_where_nothing_can_be_written_nothing_changes(directory: Directory, change: str) -> None:
    before = tree(directory.path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with pytest.raises(DirectoryError, match="file too large"):
            CHANGES[change](directory)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert check(directory) == []
    assert tree(directory.path) == before


@pytest.mark.parametrize(
    ("change", "made"),
    [
        ("revoke", lambda directory: directory.ledger("clients")[0].revoked_at is not None),
        ("introduce", lambda directory: directory.stage("servers") is RolloverStage.INTRODUCED),
    ],
    ids=["revoke", "introduce"],
)
def test_what_happened_but_could_not_be_published_is_reported_and_made_up_for(
    directory: Directory,
    change: str,
    made: Callable[[Directory], bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(ca: CAFolder, *, repair: bool = True) -> None:
        if repair:  # not before the change
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(CAFolder, "publish", full)
        with pytest.raises(DirectoryError, match="no space left on device") as refusal:
            CHANGES[change](directory)
    assert "the change is made, but not yet published" in str(refusal.value.hint)
    assert f"mtls-echo pki check {directory.path}" in str(refusal.value.hint)

    assert made(directory)
    assert check(directory) == []
    whole(directory, in_order=True)


def test_what_happened_for_one_ca_only_is_reported(
    directory: Directory, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = CAFolder.write_state

    def full(ca: CAFolder, state: CAState) -> None:
        if ca.roles == ("clients",):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(ca, state)

    with monkeypatch.context() as patch:
        patch.setattr(CAFolder, "write_state", full)
        with pytest.raises(DirectoryError, match="no space left on device") as refusal:
            directory.introduce()

    assert "a part of the change is made, and stays" in str(refusal.value.hint)
    assert str(refusal.value.hint).endswith(f"rollover {directory.path} introduce")
    assert check(directory) == []
    assert directory.introduce() == ("clients",)


FULL_DISK = """
mount -t tmpfs -o size=400k tmpfs "$1" || exit 77
cd / && exec "$2" - "$1" <<'PYTHON'
import os, sys
from pathlib import Path
from mtls_echo import Directory, DirectoryError
from mtls_echo_pki.checks.check import check

disk = Path(sys.argv[1])
pki = Directory.create(disk / "pki", intermediate=True)
pki.renew("client", rekey=True)
room = 0
changes = {
    "renew": lambda: pki.renew("client", rekey=True),
    "crl": pki.publish_crls,
    "revoke": lambda: pki.revoke("client"),
    "introduce": pki.introduce,
}
for name, change in changes.items():
    failed = 0
    for blocks in range(60):
        status = os.statvfs(disk)
        (disk / "ballast").write_bytes(bytes(max(0, status.f_bavail - blocks) * status.f_frsize))
        try:
            change()
        except DirectoryError as error:
            assert "no space left on device" in str(error), error
            assert "make room" in error.hint or "put this right" in error.hint, error.hint
            failed += 1
        else:
            break
        finally:
            (disk / "ballast").unlink()
        assert check(pki) == []
    else:
        raise SystemExit(f"{name} never had room enough")
    assert failed, name
    assert check(pki) == []
PYTHON
"""


def test_on_a_full_disk_a_change_is_made_or_not(tmp_path: Path) -> None:
    """With ever more room, block by block: each way to run out of it, and then it works."""
    on_a_small_disk(tmp_path / "disk", FULL_DISK)


@contextlib.contextmanager
def closed(directory: Directory, before: Callable[[], None] | None = None) -> Iterator[None]:
    """Without the right to write into any folder of a directory that belongs to us."""
    check(directory)  # what is imported by it may lie where we may not read afterwards
    if before is not None:
        before()
    folders = [directory.path, *(path for path in directory.path.rglob("*") if path.is_dir())]
    if os.geteuid() == 0:
        for path in (directory.path, *directory.path.rglob("*")):
            os.chown(path, UNPRIVILEGED_UID, UNPRIVILEGED_UID, follow_symlinks=False)
        for parent in directory.path.parents:
            if parent.stat().st_mode & 0o077 == 0:
                parent.chmod(0o711)  # a folder of pytest's, which no other user may pass
    for folder in folders:
        folder.chmod(0o500)
    try:
        with unprivileged():
            yield
    finally:
        for folder in folders:
            folder.chmod(0o700)


@pytest.mark.parametrize("change", CHANGES)
def test_without_permission_nothing_changes_and_the_folder_is_named(
    directory: Directory, change: str
) -> None:
    before = contents(directory)

    with closed(directory):
        with pytest.raises(DirectoryError, match="permission denied") as refusal:
            CHANGES[change](directory)
        assert check(directory) == []

    assert "may write to" in str(refusal.value.hint)
    assert contents(directory) == before


def test_what_cannot_be_read_is_said_to_be_so(directory: Directory) -> None:
    closed_to_us = directory.path / "authorities"
    for file in ("", "servers/tls.crt"):
        with closed(directory):
            os.chmod(closed_to_us, 0)
            with (
                pytest.raises(DirectoryError, match="permission denied") as refusal,
                os_errors_as_directory_errors(directory.path),
            ):
                os.stat(closed_to_us / file) if file else os.listdir(closed_to_us)
        assert refusal.value.hint == f"see who may read it with: ls -ld {closed_to_us}"


def contents(directory: Directory) -> dict[str, bytes | str]:
    return {name: what for name, (_, what) in tree(directory.path).items()}


def test_a_change_that_was_interrupted_and_cannot_be_finished_is_found(
    directory: Directory,
) -> None:
    directory.publish_crls()
    old = directory.trust("clients")
    directory.revoke("client")
    files = {"ca.crt": old.pem, "crl.pem": old.crl_pem}

    def interrupt() -> None:
        publish(directory.path / "trust" / "clients", files, dict.fromkeys(files, 0o644))

    with closed(directory, interrupt):
        (finding,) = check(directory)

    assert "a change was interrupted, and cannot be finished: permission denied" in finding.what


def test_a_copy_without_cas_changes_nothing(directory: Directory, tmp_path: Path) -> None:
    (directory.path / "authorities").rename(tmp_path / "authorities")
    before = tree(directory.path)

    for change in CHANGES.values():
        with pytest.raises((DirectoryError, MaterialError), match=r"does not exist|no CAs"):
            change(directory)
    assert check(directory) == []
    assert tree(directory.path) == before
