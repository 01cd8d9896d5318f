"""What is read together was written together."""

from __future__ import annotations

import errno
import os
import resource
import stat
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.files.atomic_writer import DATA, publish, read_consistent
from mtls_echo_pki.files.durable import locked, replace_file, write_file
from mtls_echo_pki.files.pem import parse_credential, read_credential
from mtls_echo_pki.files.trust_anchors import read_trust
from tests.support.pki import publish_credential, tree

# How often is read in the race below. By hand: 50000.
RACE = 5000

WRITER = """
import sys
from pathlib import Path
from mtls_echo import Authority
from mtls_echo_pki.files.atomic_writer import publish

folder = Path(sys.argv[1])
authority = Authority.root()
# Prepared beforehand: nothing but the publishing shall take time.
made = [authority.issue("localhost") for _ in range(200)]
print("ready", flush=True)
count = 0
while True:
    for credential in made:
        publish(
            folder,
            {"tls.crt": credential.certificate_pem, "tls.key": credential.key_pem},
            {"tls.crt": 0o644},
        )
        count += 1
        if count % 50 == 0:
            print(count, flush=True)
"""


def test_no_read_fails_or_mismatches_while_a_writer_republishes_as_fast_as_it_can(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "server"
    publish_credential(folder, Authority.root().issue("localhost"))
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, folder], stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        try:
            assert writer.stdout.readline() == "ready\n"
            reads, seen = 0, set[str]()
            while reads < RACE or len(seen) < 2:
                assert writer.poll() is None
                # Not read_credential, which would try again: every read has to succeed.
                read = read_consistent(folder, ["tls.crt", "tls.key"])
                parsed = parse_credential(
                    read["tls.crt"],
                    read["tls.key"],
                    certificate_path=folder / "tls.crt",
                    key_path=folder / "tls.key",
                )
                seen.add(parsed.fingerprint)
                reads += 1
        finally:
            writer.kill()
    assert reads >= len(seen)


def test_a_pair_rewritten_in_place_is_read_again_until_it_matches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority.root()
    first, second = authority.issue("localhost"), authority.issue("localhost")
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    certificate.write_bytes(first.certificate_pem)
    key.write_bytes(first.key_pem)
    steps = iter(
        [
            (certificate, second.certificate_pem[:100]),
            (certificate, second.certificate_pem),
            (key, b""),
            (key, second.key_pem),
        ]
    )

    def write_on(_: float) -> None:
        path, contents = next(steps)
        path.write_bytes(contents)

    # While it waits, the writer goes on.
    monkeypatch.setattr("mtls_echo_pki.files.pem.time", SimpleNamespace(sleep=write_on))
    write_on(0)

    assert read_credential(certificate, key).fingerprint == second.fingerprint
    assert next(steps, None) is None


def test_publishing_keeps_one_previous_generation_and_removes_the_older(tmp_path: Path) -> None:
    folder = tmp_path / "server"
    generations: list[str] = []
    for contents in (b"1", b"2", b"3", b"4"):
        publish(folder, {"a": contents}, {})
        generations.append(os.readlink(folder / DATA))

    assert {path.name for path in folder.iterdir()} == {DATA, "a", *generations[-2:]}
    assert (folder / generations[-2] / "a").read_bytes() == b"3"
    assert (folder / "a").read_bytes() == b"4"
    assert os.readlink(folder / "a") == f"{DATA}/a"


def test_a_file_no_longer_published_loses_its_name(tmp_path: Path) -> None:
    publish(tmp_path, {"a": b"1", "b": b"1"}, {})
    publish(tmp_path, {"b": b"2"}, {})

    assert not os.path.lexists(tmp_path / "a")
    assert (tmp_path / "b").read_bytes() == b"2"


def test_what_a_killed_writer_left_is_cleared_away(tmp_path: Path) -> None:
    publish(tmp_path, {"a": b"1"}, {})
    (tmp_path / "..data_tmp").symlink_to("..2020-01-01T00-00-00.dead")
    (tmp_path / "..2020-01-01T00-00-00.dead").mkdir()

    publish(tmp_path, {"a": b"2"}, {})

    names = {path.name for path in tmp_path.iterdir()}
    assert "..data_tmp" not in names
    assert "..2020-01-01T00-00-00.dead" not in names


def test_modes_do_not_depend_on_the_umask(tmp_path: Path) -> None:
    for umask in (0, 0o077, 0o777):
        folder = tmp_path / f"{umask:o}"
        before = os.umask(umask)
        try:
            publish(folder, {"tls.crt": b"", "tls.key": b""}, {"tls.crt": 0o644})
        finally:
            os.umask(before)
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / DATA).stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / "tls.crt").stat().st_mode) == 0o644
        assert stat.S_IMODE((folder / "tls.key").stat().st_mode) == 0o600


@pytest.mark.parametrize("foreign", ["file", "link"])
def test_nothing_of_others_is_overwritten(tmp_path: Path, foreign: str) -> None:
    if foreign == "file":
        (tmp_path / "tls.key").write_bytes(b"precious")
    else:
        (tmp_path / "precious").write_bytes(b"precious")
        (tmp_path / "tls.key").symlink_to("precious")
    before = tree(tmp_path)

    with pytest.raises(FileExistsError):
        publish(tmp_path, {"tls.crt": b"", "tls.key": b""}, {})

    assert tree(tmp_path) == before


def test_a_full_disk_leaves_what_was_published_before(tmp_path: Path) -> None:
    publish(tmp_path, {"a": b"old"}, {})
    before = tree(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            publish(tmp_path, {"a": b"new" * 1000}, {})
        with pytest.raises(OSError, match="File too large"):
            replace_file(tmp_path / "a", b"new" * 1000, 0o600)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert tree(tmp_path) == before


def test_a_mounted_kubernetes_secret_is_read_like_our_own(tmp_path: Path) -> None:
    credential = Authority.root().issue("localhost")
    generation = tmp_path / "..2026_01_02_03_04_05.123456789"
    generation.mkdir()
    (generation / "tls.crt").write_bytes(credential.certificate_pem)
    (generation / "tls.key").write_bytes(credential.key_pem)
    (generation / "ca.crt").write_bytes(credential.certificate_pem)
    (tmp_path / DATA).symlink_to(generation.name)
    for name in ("tls.crt", "tls.key", "ca.crt"):
        (tmp_path / name).symlink_to(f"{DATA}/{name}")

    assert read_credential(tmp_path / "tls.crt", tmp_path / "tls.key") == credential
    assert read_trust(tmp_path / "ca.crt").anchors == (credential.certificate,)


def test_a_plain_file_beside_published_ones_is_read_as_well(tmp_path: Path) -> None:
    publish(tmp_path, {"a": b"1"}, {})
    (tmp_path / "b").write_bytes(b"2")

    assert read_consistent(tmp_path, ["b"]) == {"b": b"2"}


def test_an_optional_file_may_be_missing_but_not_be_unreadable(tmp_path: Path) -> None:
    publish(tmp_path, {"ca.crt": b"1"}, {})
    assert read_consistent(tmp_path, ["ca.crt"], optional=["crl.pem"]) == {"ca.crt": b"1"}

    (tmp_path / "crl.pem").write_bytes(b"2")
    both = {"ca.crt": b"1", "crl.pem": b"2"}
    assert read_consistent(tmp_path, ["ca.crt"], optional=["crl.pem"]) == both

    (tmp_path / "crl.pem").unlink()
    (tmp_path / "crl.pem").symlink_to(f"{DATA}/crl.pem")
    with pytest.raises(FileNotFoundError) as missing:
        read_consistent(tmp_path, ["ca.crt"], optional=["crl.pem"])
    assert missing.value.filename == str(tmp_path / "crl.pem")


def test_a_file_that_never_was_in_the_generation_is_reported_by_its_own_path(
    tmp_path: Path,
) -> None:
    publish(tmp_path, {"a": b"1"}, {})

    with pytest.raises(FileNotFoundError) as missing:
        read_consistent(tmp_path, ["a", "b"])

    assert missing.value.filename == str(tmp_path / "b")


def test_a_reader_whose_generation_vanishes_begins_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path, {"a": b"1", "b": b"1"}, {})
    readlink = os.readlink
    overtaken: list[bytes] = []

    def slow(path: Path) -> str:
        target = readlink(path)
        if path.name == DATA and len(overtaken) < 2:
            overtaken.append(b"")
            # Two generations are published while this reader holds the first: gone.
            monkeypatch.setattr(os, "readlink", readlink)
            publish(tmp_path, {"a": b"2", "b": b"2"}, {})
            publish(tmp_path, {"a": b"3", "b": b"3"}, {})
        return target

    monkeypatch.setattr(os, "readlink", slow)

    assert read_consistent(tmp_path, ["a", "b"]) == {"a": b"3", "b": b"3"}
    assert overtaken


def test_writers_wait_for_each_other(tmp_path: Path) -> None:
    order: list[str] = []
    entered = threading.Event()

    def second() -> None:
        entered.set()
        with locked(tmp_path):
            order.append("second")

    thread = threading.Thread(target=second)
    with locked(tmp_path):
        thread.start()
        entered.wait()
        order.append("first")
    thread.join()

    assert order == ["first", "second"]


def test_a_lock_that_is_never_released_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mtls_echo_pki.files.durable._LOCK_TIMEOUT", 0.0)
    with (
        locked(tmp_path),
        pytest.raises(OSError, match="locked by another process") as refusal,
        locked(tmp_path),
    ):
        pass
    assert refusal.value.errno == errno.EBUSY


def test_a_new_file_never_replaces_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        write_file(tmp_path / "a", b"", 0o600)
    assert (tmp_path / "a").read_bytes() == b"precious"
