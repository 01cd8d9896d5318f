"""Files that cannot be used are named, and the context in use stays."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.directory.directory import Directory
from mtls_echo_tls.material import reloader as reload
from mtls_echo_tls.material.errors import ConfigurationError
from mtls_echo_tls.material.load import Material, server_material
from mtls_echo_tls.material.reloader import Reload, Reloader
from tests.support.mounts import in_place, mount, secret
from tests.support.pki import unprivileged
from tests.support.timing import TIMEOUT
from tests.support.tls import EXPIRED
from tests.tls.material.world import ALICE, CLIENTS, World, issued
from tests.tls.material.world import world as world


def _truncated(folder: Path) -> None:
    path = folder / "tls.crt"
    in_place(path, path.read_bytes()[:300])


def _missing_target(folder: Path) -> None:
    (folder / "..data").unlink()
    (folder / "..data").symlink_to("..2026_gone")


def _mounted_over(folder: Path) -> None:
    (folder / "..data" / "tls.key").unlink()
    (folder / "..data" / "tls.key").mkdir()


BROKEN: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "mismatched pair": (
        lambda folder: in_place(folder / "tls.key", issued().key_pem),
        "tls.key",
        "does not match",
    ),
    "truncated PEM": (_truncated, "tls.crt", "is cut off"),
    "empty file": (lambda folder: in_place(folder / "tls.crt", b""), "tls.crt", "is empty"),
    "unreadable key": (
        lambda folder: (folder / "tls.key").chmod(0),
        "tls.key",
        "permission denied",
    ),
    "directory in place of a file": (_mounted_over, "tls.key", "is a directory"),
    "missing target": (_missing_target, "ca.crt", "a link to a file that does not exist"),
    "half-written bundle": (
        lambda folder: in_place(folder / "ca.crt", CLIENTS.trust.pem + CLIENTS.trust.pem[:200]),
        "ca.crt",
        "is cut off",
    ),
    "emptied bundle": (lambda folder: in_place(folder / "ca.crt", b""), "ca.crt", "is empty"),
    "expired certificate": (
        lambda folder: mount(folder, secret(issued(**EXPIRED), ca_crt=CLIENTS.trust.pem)),
        "tls.crt",
        "expired on",
    ),
    "a client's certificate": (
        lambda folder: mount(folder, secret(ALICE, ca_crt=CLIENTS.trust.pem)),
        "tls.crt",
        "does not include serverAuth",
    ),
}


@pytest.fixture
def open_world() -> Iterator[World]:
    """One that those who have no rights can read."""
    mask = os.umask(0o022)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield World(Path(folder) / "mount")
    os.umask(mask)


@pytest.mark.parametrize("wrong", BROKEN)
async def test_what_is_broken_is_named_once_and_what_is_in_use_stays(
    open_world: World, wrong: str
) -> None:
    world, (break_it, file, reason) = open_world, BROKEN[wrong]
    old = world.reloader.current

    async def check() -> bool:
        with unprivileged():
            return await world.reloader.check()

    break_it(world.folder)
    for _ in range(3):
        assert not await check()
    assert world.reloader.current is old
    assert world.serves(world.first)
    [attempt] = world.reloads
    assert not attempt.ok
    assert attempt.generation == 1
    assert attempt.error is not None
    assert attempt.error.startswith(f"{world.folder}/")
    assert f"/{file}: " in attempt.error
    assert reason in attempt.error
    assert world.reloader.problem == attempt.error
    assert "PRIVATE" not in str(attempt)

    # Repaired by the old bytes, and then by new ones: each time at once.
    anew(world, world.first)
    assert not await check()
    until = world.first.certificate.not_valid_after_utc
    assert world.reloads[1] == Reload(True, 1, not_after=until, recovered=True)
    assert "again what they were" in str(world.reloads[1])
    break_it(world.folder)
    assert not await check()
    anew(world, renewed := issued())
    assert await check()
    assert [attempt.ok for attempt in world.reloads] == [False, True, False, True]
    assert world.reloads[-1].recovered
    assert world.serves(renewed)


def anew(world: World, credential: Credential) -> None:
    """Mount it afresh, whatever was done to the folder."""
    shutil.rmtree(world.folder)
    world.write(credential)


async def test_another_error_is_reported_too(world: World) -> None:
    in_place(world.folder / "tls.crt", b"")
    await world.reloader.check()
    in_place(world.folder / "tls.crt", b"dear\n")
    await world.reloader.check()

    assert ["is empty" in str(attempt.error) for attempt in world.reloads] == [True, False]
    assert "is not PEM" in str(world.reloads[1].error)


async def test_an_explicit_reload_reports_what_is_still_wrong(world: World) -> None:
    in_place(world.folder / "tls.crt", b"")
    await world.reloader.check()
    await world.reloader.check(asked=True)

    assert [attempt.ok for attempt in world.reloads] == [False, False]


@pytest.fixture
def weak(tmp_path: Path) -> None:
    """A certificate whose key OpenSSL finds too short."""
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:1024", "-nodes", "-subj", "/CN=weak"),
            *("-addext", "subjectAltName=DNS:localhost", "-out", "w.crt", "-keyout", "w.key"),
        ],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )


@pytest.mark.usefixtures("weak")
async def test_what_openssl_refuses_is_not_taken(world: World, tmp_path: Path) -> None:
    crt, key = (tmp_path / "w.crt").read_bytes(), (tmp_path / "w.key").read_bytes()
    mount(world.folder, {"tls.crt": crt, "tls.key": key, "ca.crt": CLIENTS.trust.pem})

    assert not await world.reloader.check()
    assert "OpenSSL does not take this certificate (EE_KEY_TOO_SMALL)" in str(
        world.reloads[0].error
    )
    assert "P-256" in str(world.reloads[0].hint)
    assert world.serves(world.first)


async def test_a_bug_in_what_builds_ends_nothing(world: World) -> None:
    def buggy(material: Material) -> ssl.SSLContext:
        raise ZeroDivisionError("oops")

    world.reloader._build = buggy
    world.write(issued())

    assert not await world.reloader.check()
    assert world.reloads[0].error == "ZeroDivisionError: oops"
    assert world.serves(world.first)


def test_the_first_time_what_is_broken_is_an_error(tmp_path: Path) -> None:
    world = World(tmp_path / "mount")

    def refused(material: Material) -> ssl.SSLContext:
        error = ssl.SSLError(1, "whatever OpenSSL says")
        error.reason = "EE_KEY_TOO_SMALL"
        raise error

    with pytest.raises(ConfigurationError, match="EE_KEY_TOO_SMALL") as caught:
        Reloader(world.load, refused)
    assert "too weak" in str(caught.value.hint)


async def test_a_directory_that_has_gone_is_not_made_anew(tmp_path: Path) -> None:
    directory = Directory.create(tmp_path / "pki")
    attempts: list[Reload] = []
    reloader = Reloader(
        partial(server_material, pki=directory.path, create=False),
        World.build.__get__(World(tmp_path / "x")),
        first=server_material(pki=directory.path),
        tell=attempts.append,
    )
    directory.path.rename(tmp_path / "elsewhere")

    assert not await reloader.check()
    assert attempts[0].error == f"{directory.path}: does not exist"
    assert not directory.path.exists()
    (tmp_path / "elsewhere").rename(directory.path)
    assert not await reloader.check()
    assert attempts[1].recovered


@pytest.mark.real_time
async def test_a_disk_that_hangs_stops_neither_the_loop_nor_the_next_attempt(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reload, "_READ_TIMEOUT", 0.05)
    hanging = threading.Event()
    load = world.load

    def hang() -> Material:
        assert hanging.wait(TIMEOUT)
        return load()

    world.reloader._load = hang
    world.write(issued())
    try:
        assert not await world.reloader.check()
        assert not await world.reloader.check()  # its thread is still there: no second one
        assert ["reading takes longer" in str(attempt.error) for attempt in world.reloads] == [
            True
        ]
    finally:
        hanging.set()
    monkeypatch.setattr(reload, "_READ_TIMEOUT", TIMEOUT)
    assert await world.reloader.check()
    assert world.reloads[-1].recovered
