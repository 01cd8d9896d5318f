"""A PKI on disk: its layout, and that it is complete or not there."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import shutil
import ssl
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.request import KeyType, Request, Usage
from mtls_echo_pki.directory.directory import Directory
from mtls_echo_pki.files.atomic_writer import publish
from mtls_echo_pki.files.pem_blocks import MaterialError
from mtls_echo_pki.files.staging import DirectoryError
from tests.support.pki import handshake, on_a_small_disk, strict_contexts, tree, unprivileged
from tests.support.timing import TIMEOUT


def shake_hands(directory: Directory, one: str = "server", other: str = "client") -> None:
    contexts = strict_contexts(
        directory.credential(one),
        directory.trust("servers"),
        directory.credential(other),
        directory.trust("clients"),
    )
    handshake(*contexts, "localhost")


@pytest.mark.parametrize("intermediate", [False, True], ids=["root", "intermediate"])
@pytest.mark.parametrize("single", [False, True], ids=["separate", "single"])
def test_a_new_directory_works_as_it_is(tmp_path: Path, single: bool, intermediate: bool) -> None:
    directory = Directory.create(
        tmp_path / "pki", single_authority=single, intermediate=intermediate
    )

    assert directory.names() == ["client", "server"]
    shake_hands(directory)
    assert len(directory.credential("server").chain) == intermediate
    assert (directory.trust("servers") == directory.trust("clients")) == single
    directory.issue("other", Request.server("localhost"))
    shake_hands(directory, "other")


def test_the_layout_is_the_documented_one(tmp_path: Path) -> None:
    path = Directory.create(tmp_path / "pki").path

    files = {
        str(file.relative_to(path)): oct(stat.S_IMODE(file.stat().st_mode))
        for file in path.rglob("*")
        if file.is_file() and ".." not in str(file.relative_to(path))
    }
    assert files == {
        "authorities/servers/tls.crt": "0o644",
        "authorities/servers/tls.key": "0o600",
        "authorities/servers/ledger.json": "0o600",
        "authorities/clients/tls.crt": "0o644",
        "authorities/clients/tls.key": "0o600",
        "authorities/clients/ledger.json": "0o600",
        "trust/servers/ca.crt": "0o644",
        "trust/clients/ca.crt": "0o644",
        "server/tls.crt": "0o644",
        "server/tls.key": "0o600",
        "client/tls.crt": "0o644",
        "client/tls.key": "0o600",
    }
    for name in ("trust/servers/ca.crt", "server/tls.key", "client/tls.crt"):
        assert os.readlink(path / name) == f"..data/{Path(name).name}"
    assert [entry.name for entry in tmp_path.iterdir()] == ["pki"]


@pytest.mark.parametrize("umask", [0, 0o777], ids=oct)
def test_no_umask_makes_a_key_readable_or_a_folder_unusable(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        directory = Directory.create(tmp_path / "pki", intermediate=True)
        directory.issue("alice", Request.client("alice@mail.test"))
    finally:
        os.umask(before)

    for path in (directory.path, *directory.path.rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        if path.is_dir():
            assert mode == 0o700, path
        elif path.suffix != ".crt":
            assert mode == 0o600, path


def test_a_servers_certificate_is_worth_nothing_as_a_clients(tmp_path: Path) -> None:
    directory = Directory.create(tmp_path / "pki")

    assert directory.trust("servers").anchors != directory.trust("clients").anchors
    with pytest.raises(ssl.SSLCertVerificationError) as refusal:
        shake_hands(directory, other="server")
    # Refused for its CA, before anyone looks at its usage (26).
    assert refusal.value.verify_code in (19, 20)


def test_two_directories_have_cas_of_different_names(tmp_path: Path) -> None:
    one, other = (Directory.create(tmp_path / name).authority("servers") for name in "ab")

    assert one.certificate.subject != other.certificate.subject


def test_the_options_of_creation_are_honoured(tmp_path: Path) -> None:
    directory = Directory.create(
        tmp_path / "deep" / "pki",
        server_names=["echo.test"],
        client_names=["spiffe://td.test/a", "alice@mail.test"],
        key_type=KeyType.ED25519,
        lifetime=timedelta(hours=1),
    )

    entry = directory.ledger("clients")[0]
    assert entry.identities == ["spiffe://td.test/a", "alice@mail.test"]
    assert entry.not_after - entry.issued_at == timedelta(hours=1)
    assert directory.ledger("servers")[0].identities == ["echo.test"]
    assert "Ed25519" in repr(directory.credential("server").key.public_key())


def test_every_certificate_is_in_the_ledger_of_its_ca(tmp_path: Path) -> None:
    directory = Directory.create(tmp_path / "pki")
    alice = directory.issue("alice", Request.client("alice@mail.test", subject="alice"))
    api = directory.issue("api", Request.server("api.test"))

    entry = directory.ledger("clients")[-1]
    assert [e.name for e in directory.ledger("clients")] == ["client", "alice"]
    assert [e.name for e in directory.ledger("servers")] == ["server", "api"]
    assert int(entry.serial, 16) == alice.certificate.serial_number
    assert entry.fingerprint == alice.fingerprint
    assert (entry.subject, entry.usage) == ("CN=alice", ["client"])
    assert directory.ledger("servers")[-1].fingerprint == api.fingerprint


def test_a_single_ca_has_a_single_ledger(tmp_path: Path) -> None:
    directory = Directory.create(tmp_path / "pki", single_authority=True)

    assert directory.ledger("servers") == directory.ledger("clients")
    assert [entry.name for entry in directory.ledger("servers")] == ["server", "client"]


def test_a_certificate_is_in_the_ledger_before_anyone_can_hold_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = Directory.create(tmp_path / "pki")
    recorded: list[str] = []

    def watch(*args: object) -> None:
        recorded.append(directory.ledger("clients")[-1].name)
        assert directory.names() == ["client", "server"]
        publish(*args)  # type: ignore[arg-type]  # handed on as they came

    monkeypatch.setattr("mtls_echo_pki.directory.issuing.publish", watch)
    directory.issue("alice", Request.client("alice@mail.test"))

    assert recorded == ["alice"]


def test_a_damaged_ledger_stops_issuing_instead_of_being_begun_anew(tmp_path: Path) -> None:
    directory = Directory.create(tmp_path / "pki")
    ledger = directory.path / "authorities/clients/ledger.json"
    for damage in (b"", b"{}", b'{"issued": [{"name": 1}]}', b"\xff"):
        ledger.write_bytes(damage)
        with pytest.raises(DirectoryError, match="is damaged") as refusal:
            directory.issue("alice", Request.client("alice@mail.test"))
        assert "backup" in (refusal.value.hint or "")
        assert ledger.read_bytes() == damage
    assert directory.names() == ["client", "server"]


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


def test_reading_without_permission_is_an_error_with_the_path(tmp_path: Path) -> None:
    directory = Directory.create(tmp_path / "pki")
    with unprivileged():
        with pytest.raises(DirectoryError, match="permission denied"):
            Directory(directory.path)
        with pytest.raises(DirectoryError, match="permission denied"):
            directory.names()


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


def _issue(path: Path, worker: int) -> None:
    for number in range(5):
        Directory(path).issue(f"w{worker}-{number}", Request.client("a.test"))


def test_processes_that_issue_at_once_lose_no_ledger_entry(tmp_path: Path) -> None:
    directory = Directory.create(tmp_path / "pki")
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=_issue, args=(directory.path, n)) for n in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(TIMEOUT)

    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    expected = {"client", *(f"w{worker}-{n}" for worker in range(3) for n in range(5))}
    assert {entry.name for entry in directory.ledger("clients")} == expected
    assert {*directory.names()} == expected | {"server"}


def test_opening_makes_a_directory_only_where_there_is_none(tmp_path: Path) -> None:
    first, created = Directory.open_or_create(tmp_path / "pki")
    again, created_again = Directory.open_or_create(tmp_path / "pki")

    assert (created, created_again) == (True, False)
    assert first.credential("server") == again.credential("server")


def test_opening_something_else_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"")
    for attempt in (Directory.open_or_create, Directory):
        with pytest.raises(DirectoryError, match="is not a PKI directory"):
            attempt(tmp_path)
    with pytest.raises(DirectoryError, match="does not exist") as refusal:
        Directory(tmp_path / "missing")
    assert "mtls-echo pki init" in (refusal.value.hint or "")


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        ".hidden",
        "a/b",
        "/a",
        "-x",
        "a b",
        "a\n",
        "ü",
        "x" * 65,
        "authorities",
        "trust",
    ],
)
def test_a_name_that_would_not_be_a_folder_of_its_own_is_refused(
    tmp_path: Path, name: str
) -> None:
    directory = Directory.create(tmp_path / "pki")
    before = tree(tmp_path)

    with pytest.raises(DirectoryError, match=r"not a name|cannot name a credential"):
        directory.issue(name, Request.client("a.test"))
    with pytest.raises(DirectoryError):
        directory.credential(name)

    assert tree(tmp_path) == before


def test_a_name_that_is_taken_is_refused_and_nothing_is_changed(tmp_path: Path) -> None:
    directory = Directory.create(tmp_path / "pki")
    (directory.path / "notes").write_bytes(b"precious")
    before = tree(tmp_path)

    for name in ("server", "client", "notes"):
        with pytest.raises(DirectoryError, match="already something named"):
            directory.issue(name, Request.client("a.test"))

    assert tree(tmp_path) == before


def test_a_lifetime_beyond_the_cas_changes_nothing(tmp_path: Path) -> None:
    directory = Directory.create(tmp_path / "pki")
    before = tree(tmp_path)

    with pytest.raises(ValueError, match="would outlive its CA"):
        directory.issue("a", Request.client("a.test", lifetime=timedelta(days=3651)))
    with pytest.raises(ValueError, match="not to CAs"):
        directory.issue("a", Request(subject="a", usage=Usage.AUTHORITY))

    assert tree(tmp_path) == before


def test_an_unknown_name_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(DirectoryError, match='no credential named "alice"') as refusal:
        Directory.create(tmp_path / "pki").credential("alice")
    assert "it has: client, server" in (refusal.value.hint or "")


def test_a_copy_without_cas_still_serves_but_cannot_issue(tmp_path: Path) -> None:
    directory = Directory.create(tmp_path / "pki")
    shutil.rmtree(directory.path / "authorities")

    shake_hands(Directory(directory.path))
    with pytest.raises(MaterialError, match="does not exist"):
        directory.issue("a", Request.client("a.test"))


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


def test_cas_restored_from_disk_issue_what_the_trust_on_disk_accepts(
    tmp_path: Path,
) -> None:
    directory = Directory.create(tmp_path / "pki", intermediate=True)

    authority = directory.authority("servers")

    assert isinstance(authority, Authority)
    assert authority.trust == directory.trust("servers")


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
