"""Kills a change at every single thing it does to the disk, and looks at what is left each time.

Run as a program with the name of a scenario and a folder to work in. One interpreter is prepared
and forked for each attempt: the child counts what it does (each file opened for writing, each half
of a write, each fsync, rename, link, removal, folder and mode) and kills itself before the n-th;
n grows until a child survives. Prints how many times that was.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography import x509

import mtls_echo_pki.files.durable
from mtls_echo_pki.certificates.credential import is_key_of
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.checks.check import check
from mtls_echo_pki.directory.ca_folder import CAFolder, ca_folders
from mtls_echo_pki.directory.ca_state import RolloverStage
from mtls_echo_pki.directory.directory import Directory
from mtls_echo_pki.files.private_key import parse_key
from mtls_echo_pki.files.staging import DirectoryError
from tests.support.pki import make_plain

# More than any change does; a change that never ends is not waited for.
MOST = 600

_CHANGES = {
    *("os.rename", "os.remove", "os.symlink", "os.link", "os.mkdir", "os.rmdir"),
    *("os.chmod", "os.truncate"),
}


class Countdown:
    """Kills this process before the n-th change to the disk."""

    def __init__(self, left: int, log: int) -> None:
        self.left = left
        self.log = log
        os.fsync = lambda fd: self("fsync")
        mtls_echo_pki.files.durable.open = self.open  # type: ignore[attr-defined]  # found before the builtin one
        sys.addaudithook(self.audit)

    def __call__(self, what: str) -> None:
        os.write(self.log, f"{what}\n".encode())
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in _CHANGES:
            self(f"{event} {arguments[0]}")
        elif event == "open" and not isinstance(arguments[0], int):
            flags = arguments[2]
            if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR):
                self(f"open {arguments[0]}")

    def open(self, descriptor: int, mode: str, **options: Any) -> Any:
        file = open(descriptor, mode, **options)  # noqa: SIM115  closed by its own context
        return HalfWritten(file, self) if mode == "wb" else file


class HalfWritten:
    """A file of which half has reached the disk when the killer comes."""

    def __init__(self, file: Any, killer: Countdown) -> None:
        self._file = file
        self._killer = killer

    def __enter__(self) -> HalfWritten:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, contents: bytes) -> None:
        half = len(contents) // 2
        self._file.write(contents[:half])
        self._file.flush()
        self._killer("write")
        self._file.write(contents[half:])

    def flush(self) -> None:
        self._file.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@dataclass(frozen=True)
class Scenario:
    """A change, and how to see whether it has happened.

    Attributes:
        prepare: Makes what there is before.
        change: What is killed.
        made: Whether it has happened, as the authorities' folder says.
        seen: Whether it has happened, as a reader sees it.
    """

    prepare: Callable[[Path], object]
    change: Callable[[Path], object]
    made: Callable[[Directory], bool]
    seen: Callable[[Directory], bool]


def forced(change: Callable[[Directory], object]) -> Callable[[Path], object]:
    """Make a change, or be told that it is made already."""

    def make(path: Path) -> object:
        try:
            return change(Directory(path))
        except DirectoryError as error:
            if "already something" not in str(error) and "not empty" not in str(error):
                raise
        return None

    return make


def with_old_key(path: Path, *, single: bool = False, intermediate: bool = False) -> Directory:
    directory = Directory.create(path, single_authority=single, intermediate=intermediate)
    directory.renew("client", rekey=True)
    return directory


def with_crls(path: Path) -> Directory:
    directory = with_old_key(path, intermediate=True)
    directory.publish_crls()
    return directory


def introduced(path: Path) -> Directory:
    directory = with_crls(path)
    directory.introduce("clients")
    return directory


def switched(path: Path) -> Directory:
    directory = introduced(path)
    directory.switch("clients")
    directory.renew("client", rekey=False)
    return directory


def plain(path: Path) -> None:
    Directory.create(path, intermediate=True)
    make_plain(path)


def old_is_listed(directory: Directory) -> bool:
    old = {entry.serial for entry in directory.ledger("clients") if entry.name == "client"}
    old.discard(f"{directory.credential('client').certificate.serial_number:x}")
    listed = {f"{each.serial_number:x}" for crl in directory.trust("clients").crls for each in crl}
    assert listed in (set(), old)
    return bool(listed)


def old_is_revoked(directory: Directory) -> bool:
    revoked = [e for e in directory.ledger("clients") if e.revoked_at is not None]
    assert all(entry.name == "client" for entry in revoked)
    return bool(revoked)


def listed(number: int) -> Callable[[Directory], bool]:
    def seen(directory: Directory) -> bool:
        counts = {role: len(directory.trust(role).crls) for role in ("servers", "clients")}
        assert set(counts.values()) <= {0, number}
        return counts == {"servers": number, "clients": number}

    return seen


def in_ledgers(directory: Directory) -> bool:
    return all(ca.ledger.crls for ca in ca_folders(directory.path))


def renewed(directory: Directory) -> bool:
    serials = [entry.serial for entry in directory.ledger("clients") if entry.name == "client"]
    present = f"{directory.credential('client').certificate.serial_number:x}"
    assert present in serials
    return present != serials[0]


def trusting(anchors: int, lists: int) -> Callable[[Directory], bool]:
    def seen(directory: Directory) -> bool:
        trust = directory.trust("clients")
        return (len(trust.anchors), len(trust.crls)) == (anchors, lists)

    return seen


def at(stage: RolloverStage) -> Callable[[Directory], bool]:
    return lambda directory: directory.stage("clients") is stage


def has_alice(directory: Directory) -> bool:
    if "alice" not in directory.names():
        return False
    directory.credential("alice")
    return True


def always(_: Directory) -> bool:
    return True


SCENARIOS = {
    "init": Scenario(
        lambda path: path.parent.mkdir(parents=True),
        Directory.open_or_create,
        always,
        always,
    ),
    "issue": Scenario(
        Directory.create,
        forced(lambda directory: directory.issue("alice", Request.client("alice.test"))),
        has_alice,
        has_alice,
    ),
    "renew with the same key": Scenario(
        Directory.create,
        forced(lambda directory: directory.renew("client", rekey=False)),
        renewed,
        renewed,
    ),
    "renew with a new key, in a directory of an earlier version": Scenario(
        plain,
        forced(lambda directory: directory.renew("client", rekey=True)),
        renewed,
        renewed,
    ),
    "revoke for the first time, with a single authority": Scenario(
        lambda path: with_old_key(path, single=True),
        forced(lambda directory: directory.revoke("client")),
        old_is_revoked,
        old_is_listed,
    ),
    "revoke where there are lists": Scenario(
        with_crls,
        forced(lambda directory: directory.revoke("client")),
        old_is_revoked,
        old_is_listed,
    ),
    "publish lists": Scenario(
        with_old_key,
        forced(lambda directory: directory.publish_crls()),
        in_ledgers,
        listed(1),
    ),
    "introduce": Scenario(
        with_crls,
        forced(lambda directory: directory.introduce("clients")),
        at(RolloverStage.INTRODUCED),
        trusting(2, 4),
    ),
    "switch": Scenario(
        introduced,
        forced(lambda directory: directory.switch("clients")),
        at(RolloverStage.SWITCHED),
        at(RolloverStage.SWITCHED),
    ),
    "retire": Scenario(
        switched,
        forced(lambda directory: directory.retire("clients")),
        at(RolloverStage.SETTLED),
        trusting(1, 2),
    ),
}


def attempt(scenario: Scenario, path: Path, n: int) -> tuple[bool, list[str]]:
    """Make the change in a child that kills itself; whether it survived, and what it did."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(reading)
            Countdown(n, writing)
            scenario.change(path)
            status = 0
        except BaseException:  # the child must not go on as its parent
            traceback.print_exc()
        finally:
            os._exit(status)
    os.close(writing)
    with open(reading, encoding="utf-8", errors="replace") as log:
        did = log.read().splitlines()
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return False, did
    assert os.WEXITSTATUS(status) == 0, did[-3:]
    return True, did


def stray_keys(ca: CAFolder) -> list[Path]:
    """The private keys in an authority's folder that are those of no authority in force."""
    return [
        path
        for path in ca.folder.rglob("*.key")
        if not path.is_symlink() and not any(_is_key_of(path, c) for c in ca.certificates)
    ]


def _is_key_of(path: Path, certificate: x509.Certificate) -> bool:
    return is_key_of(parse_key(path.read_bytes(), path=path), certificate)


def inspect(path: Path, scenario: Scenario) -> None:
    """Look at what a killed change has left, as a reader and as the next command."""
    for each in path.parent.rglob("*"):
        if not each.is_symlink():
            mode = each.stat().st_mode & 0o777
            public = each.suffix == ".crt" or each.name == "crl.pem"
            assert mode & 0o077 == 0 or (public and mode == 0o644), (each, oct(mode))
    directory = Directory(path)
    made = scenario.made(directory)
    assert made or not scenario.seen(directory), "it is seen before it is made"

    findings = check(directory)
    assert findings == [], findings
    assert scenario.made(directory) == made, "to look changed something"
    assert scenario.seen(directory) == made, "half of it is left"
    whole(directory, in_order=False)


def whole(directory: Directory, *, in_order: bool) -> None:
    """Assert what holds of every directory in which nothing is under way."""
    path = directory.path
    begun = [*path.rglob("..data_tmp")] if in_order else []
    assert not [*begun, *path.rglob("..*.*_tmp"), *path.rglob("*.tmp"), *path.glob(".*")]
    present = ca_folders(path)
    for ca in present:
        serials = [entry.serial for entry in ca.ledger.issued]
        assert len(serials) == len({*serials})
        # A folder of plain files is brought into order by what changes it, not by who looks.
        if in_order or (ca.folder / "..data").exists():
            assert len([*ca.folder.glob("..2*")]) == 1
            assert not stray_keys(ca)
    for link in path.rglob("..data"):
        if "authorities" not in str(link):
            assert len([*link.parent.glob("..2*")]) <= 2
    for name in directory.names():
        certificate = directory.credential(name).certificate
        held = {e.serial for r in present for e in r.ledger.issued if e.name == name}
        assert f"{certificate.serial_number:x}" in held


def main(name: str, folder: Path) -> None:
    """Play a scenario."""
    os.fsync = lambda fd: None  # what is killed is a process, not the machine
    scenario = SCENARIOS[name]
    scenario.prepare(folder / "before" / "pki")
    did: list[str] = []
    for n in range(1, MOST):
        if did[-1:] == ["fsync"]:
            # To be killed after it is to be killed before it, as far as a process is concerned.
            did.pop()
            continue
        work = folder / "work"
        shutil.copytree(folder / "before", work, symlinks=True)
        survived, did = attempt(scenario, work / "pki", n)
        try:
            if not (name == "init" and not survived and not (work / "pki").exists()):
                inspect(work / "pki", scenario)
            scenario.change(work / "pki")
            directory = Directory(work / "pki")
            assert scenario.made(directory)
            assert scenario.seen(directory)
            whole(directory, in_order=True)
        except BaseException:
            print(f"killed before {did[-1]}, number {n} of its changes", file=sys.stderr)
            raise
        shutil.rmtree(work)
        if survived:
            print(n - 1)
            return
    raise AssertionError(f"it goes on for ever: {did[-5:]}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
