"""A PKI on disk: its layout, its ledger, and how it is opened and read."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import ssl
import stat
from datetime import timedelta
from pathlib import Path

import pytest

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.request import KeyType, Request, Usage
from mtls_echo_pki.directory.directory import Directory
from mtls_echo_pki.files.atomic_writer import publish
from mtls_echo_pki.files.pem_blocks import MaterialError
from mtls_echo_pki.files.staging import DirectoryError
from tests.pki.directory.handshakes import shake_hands
from tests.support.pki import tree, unprivileged
from tests.support.timing import TIMEOUT


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


def test_reading_without_permission_is_an_error_with_the_path(tmp_path: Path) -> None:
    directory = Directory.create(tmp_path / "pki")
    with unprivileged():
        with pytest.raises(DirectoryError, match="permission denied"):
            Directory(directory.path)
        with pytest.raises(DirectoryError, match="permission denied"):
            directory.names()


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


def test_cas_restored_from_disk_issue_what_the_trust_on_disk_accepts(
    tmp_path: Path,
) -> None:
    directory = Directory.create(tmp_path / "pki", intermediate=True)

    authority = directory.authority("servers")

    assert isinstance(authority, Authority)
    assert authority.trust == directory.trust("servers")
