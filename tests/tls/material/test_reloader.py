"""The files change, and the context in use is replaced by one that is sound, or stays."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import cast

import pytest
import trio
import trio.testing
from cryptography import x509

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_pki.directory.directory import Directory
from mtls_echo_pki.files.atomic_writer import publish
from mtls_echo_server.context import ClientAuth, server_context
from mtls_echo_tls.material import reloader as reload
from mtls_echo_tls.material.errors import ConfigurationError
from mtls_echo_tls.material.file_digest import digest_files
from mtls_echo_tls.material.load import Material, server_material
from mtls_echo_tls.material.reloader import Reload, Reloader
from tests.support.mounts import by_rename, in_place, mount, secret
from tests.support.pki import handshake, unprivileged
from tests.support.timing import TIMEOUT
from tests.support.tls import EXPIRED

SERVERS, CLIENTS = Authority.root("servers"), Authority.root("clients")
ALICE = CLIENTS.issue(Request.client("alice.test"))


def issued(**dates: timedelta) -> Credential:
    return SERVERS.issue(Request.server("localhost", **dates))  # type: ignore[arg-type]  # dates only


class World:
    """A Secret as cert-manager writes it, with the clients' authority in it, and its reloader."""

    def __init__(self, folder: Path, **options: object) -> None:
        self.folder = folder
        self.built = 0
        self.reloads: list[Reload] = []
        self.warned: list[str] = []
        self.first = issued()
        self.write(self.first)
        self.reloader = Reloader(
            self.load,
            self.build,
            settle=0.01,
            tell=self.reloads.append,
            warn=self.warned.append,
            **options,  # type: ignore[arg-type]  # whatever the test is about
        )

    def load(self) -> Material:
        return server_material(
            cert=self.folder / "tls.crt",
            key=self.folder / "tls.key",
            client_ca=self.folder / "ca.crt",
        )

    def build(self, material: Material) -> ssl.SSLContext:
        self.built += 1
        assert material.credential is not None
        return server_context(material.credential, material.trust)

    def write(self, credential: Credential, trust: Trust = CLIENTS.trust) -> None:
        mount(self.folder, secret(credential, ca_crt=trust.pem))

    def serves(self, credential: Credential) -> bool:
        """Whether a client meets this certificate; a real handshake."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        SERVERS.trust.load_into(context)
        ALICE.load_into(context)
        handshake(self.reloader.current, context, "localhost")
        assert self.reloader.material.credential is not None
        return self.reloader.material.credential.fingerprint == credential.fingerprint


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "mount")


# --- a new generation ----------------------------------------------------------------------------


async def test_another_certificate_is_taken_as_a_new_generation(world: World) -> None:
    old = world.reloader.current
    renewed = issued()
    world.write(renewed)

    assert await world.reloader.check()
    assert world.reloader.generation == 2
    assert world.reloader.current is world.reloader() is not old
    assert world.serves(renewed)
    [attempt] = world.reloads
    assert attempt == Reload(
        True, 2, ("certificate", "key"), not_after=renewed.certificate.not_valid_after_utc
    )
    assert str(attempt).startswith("new certificate and key: generation 2, valid until 20")


async def test_files_that_say_the_same_cost_no_context_and_no_word(world: World) -> None:
    assert not await world.reloader.check()
    mount(world.folder, secret(world.first, ca_crt=CLIENTS.trust.pem))  # another folder
    mount(world.folder, secret(world.first, ca_crt=b"# a comment\n" + CLIENTS.trust.pem))
    assert not await world.reloader.check()

    assert (world.built, world.reloads, world.reloader.generation) == (1, [], 1)


async def test_files_that_changed_before_the_first_look_are_not_missed(tmp_path: Path) -> None:
    world = World(tmp_path / "mount")
    early = world.reloader.material
    world.write(renewed := issued())
    reloader = Reloader(world.load, world.build, first=early)

    assert reloader.generation == 1
    assert await reloader.check()
    assert reloader.material.credential == renewed


async def test_who_asks_is_answered_even_when_nothing_is_new(world: World) -> None:
    assert not await world.reloader.check(asked=True)
    assert [str(attempt) for attempt in world.reloads] == [
        "the files are what they were; generation 1 stays in use"
    ]


async def test_one_waits_for_a_newer_generation(world: World) -> None:
    seen: list[int] = []

    async def wait() -> None:
        seen.append(await world.reloader.wait_newer(1))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        assert seen == []
        world.write(issued())
        await world.reloader.check()
    assert seen == [2]
    assert await world.reloader.wait_newer(1) == 2


@pytest.mark.real_time
async def test_several_run_in_one_process_and_mind_their_own_files(tmp_path: Path) -> None:
    worlds = [World(tmp_path / name, interval=0.01) for name in ("a", "b", "c")]
    async with trio.open_nursery() as nursery:
        for world in worlds:
            nursery.start_soon(world.reloader.run)
        worlds[1].write(renewed := issued())
        await worlds[1].reloader.wait_newer(1)
        nursery.cancel_scope.cancel()

    assert [world.reloader.generation for world in worlds] == [1, 2, 1]
    assert worlds[1].serves(renewed)


async def test_without_an_interval_it_waits_until_it_is_asked(tmp_path: Path) -> None:
    world = World(tmp_path / "mount", interval=0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.reloader.run)
        world.write(issued())
        await trio.testing.wait_all_tasks_blocked()
        assert world.reloader.generation == 1
        for _ in range(3):
            world.reloader.ask()
        assert await world.reloader.wait_newer(1) == 2
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert len(world.reloads) == 1


# --- how files are replaced ----------------------------------------------------------------------


@pytest.mark.parametrize("write", [in_place, by_rename])
async def test_plain_files_are_taken_when_they_match_again(
    tmp_path: Path, write: Callable[[Path, bytes], None]
) -> None:
    for name, contents in secret(issued(), ca_crt=CLIENTS.trust.pem).items():
        (tmp_path / name).write_bytes(contents)
    attempts: list[Reload] = []
    load = partial(
        server_material,
        **{"cert": tmp_path / "tls.crt", "key": tmp_path / "tls.key"},  # type: ignore[arg-type]
        client_ca=tmp_path / "ca.crt",
    )
    reloader = Reloader(load, World.build.__get__(World(tmp_path / "x")), tell=attempts.append)
    renewed = issued()

    write(tmp_path / "tls.crt", renewed.certificate_pem)
    assert not await reloader.check()
    assert "does not match" in str(attempts[-1].error)
    write(tmp_path / "tls.key", renewed.key_pem)
    assert await reloader.check()
    assert attempts[-1].recovered
    assert attempts[-1].changed == ("certificate", "key")
    assert reloader.material.credential == renewed


async def test_a_bundle_that_is_being_written_is_not_taken_for_a_shorter_one(
    tmp_path: Path,
) -> None:
    bundle = CLIENTS.trust | Authority.root("others").trust
    path = tmp_path / "bundle.crt"
    for name, contents in secret(issued()).items():
        (tmp_path / name).write_bytes(contents)
    path.write_bytes(bundle.pem)
    longer = bundle | Authority.root("third").trust

    reads: list[Trust | None] = []

    def load() -> Material:
        material = server_material(
            cert=tmp_path / "tls.crt", key=tmp_path / "tls.key", client_ca=path
        )
        reads.append(material.trust)
        if len(reads) == 2:
            path.write_bytes(longer.pem)  # the writer comes to its end while we are at it
        return material

    reloader = Reloader(load, World.build.__get__(World(tmp_path / "x")), settle=0.01)
    path.write_bytes(CLIENTS.trust.pem)  # cut off between two certificates: it looks sound

    assert await reloader.check()
    assert reads[1] == CLIENTS.trust
    assert reloader.material.trust == longer
    assert reloader.generation == 2


async def test_plain_files_that_never_settle_are_reported(tmp_path: Path) -> None:
    for name, contents in secret(issued()).items():
        (tmp_path / name).write_bytes(contents)
    path = tmp_path / "ca.crt"
    path.write_bytes(CLIENTS.trust.pem)
    others = [Authority.root(f"number {number}").trust for number in range(20)]

    def load() -> Material:
        material = server_material(
            cert=tmp_path / "tls.crt", key=tmp_path / "tls.key", client_ca=path
        )
        path.write_bytes(others.pop().pem)
        return material

    attempts: list[Reload] = []
    build = World.build.__get__(World(tmp_path / "x"))
    reloader = Reloader(load, build, settle=0.001, tell=attempts.append)

    assert not await reloader.check()
    assert reloader.generation == 1
    assert f"{path}: written again and again while they are read" in str(attempts[0].error)


async def test_a_writer_as_fast_as_we_read_keeps_no_generation_from_us(world: World) -> None:
    issuances = [issued() for _ in range(30)]
    load = world.load

    def overtaken() -> Material:
        material = load()
        world.write(issuances.pop())
        return material

    world.reloader._load = overtaken
    world.write(issued())
    assert await world.reloader.check()
    taken = world.reloader.material
    # What was taken was not the newest, and the next look finds out.
    world.reloader._load = load
    assert await world.reloader.check()
    assert world.reloader.material.generation not in (taken.generation, "")
    assert [attempt.ok for attempt in world.reloads] == [True, True]


async def test_no_reader_of_a_mount_finds_half_of_it(world: World) -> None:
    stop = threading.Event()
    issuances = [issued() for _ in range(50)]

    def rotate() -> None:
        for credential in issuances:
            world.write(credential)
        stop.set()

    writer = threading.Thread(target=rotate)
    writer.start()
    while not stop.is_set():
        await world.reloader.check()
    writer.join()
    await world.reloader.check()

    assert [attempt.error for attempt in world.reloads if not attempt.ok] == []
    assert world.serves(issuances[-1])


# --- what is not taken ---------------------------------------------------------------------------


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


# --- dates ---------------------------------------------------------------------------------------


async def test_an_end_that_comes_near_is_warned_of_once_and_again_when_it_has_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datetime

    class Later(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Later:
            moment = super().now(tz) + ahead
            return cls.fromtimestamp(moment.timestamp(), tz)

    ahead = timedelta()
    world = World(tmp_path / "mount")
    trust = CLIENTS.trust
    listed = Trust(trust.anchors, (CLIENTS.crl(timedelta(days=3)),))
    (tmp_path / "crl.pem").write_bytes(listed.crl_pem)
    reloader = Reloader(
        lambda: server_material(
            cert=world.folder / "tls.crt",
            key=world.folder / "tls.key",
            client_ca=world.folder / "ca.crt",
            crl=tmp_path / "crl.pem",
        ),
        world.build,
        warn=world.warned.append,
    )
    monkeypatch.setattr("mtls_echo_tls.material.reloader.datetime.datetime", Later)
    for days in (0, 2.5, 2.5, 4, 4, 29, 29, 31):
        ahead = timedelta(days=days)
        await reloader.check()

    assert [warning.rsplit(" ", 4)[0] for warning in world.warned] == [
        "the CRL of 'clients' expires",
        "the CRL of 'clients' expired",
        "our certificate expires",
        "our certificate expired",
    ]


async def test_what_was_warned_of_at_the_start_is_not_repeated(tmp_path: Path) -> None:
    world = World(tmp_path / "mount")
    world.write(issued(**EXPIRED))
    first = world.load()
    reloader = Reloader(world.load, world.build, first=first, warn=world.warned.append)
    await reloader.check()
    assert first.warnings
    assert world.warned == []


# --- looking -------------------------------------------------------------------------------------


def test_contents_differ_by_a_byte_of_any_file_and_by_its_absence(tmp_path: Path) -> None:
    paths = [tmp_path / "a" / "one", tmp_path / "a" / "two", tmp_path / "b" / "three", None]
    digests = [digest_files(paths).digest]
    for path in paths[:-1]:
        assert path is not None
        path.parent.mkdir(exist_ok=True)
        for contents in (b"", b"x", b"y"):
            path.write_bytes(contents)
            digests.append(digest_files(paths).digest)
    assert paths[0] is not None
    paths[0].unlink()
    digests.append(digest_files(paths).digest)
    paths[0].mkdir()
    digests.append(digest_files(paths).digest)

    assert len(set(digests)) == len(digests)


def test_what_is_published_all_at_once_is_known_by_its_links(tmp_path: Path) -> None:
    mount(tmp_path / "mount", {"one": b"1"})
    publish(tmp_path / "ours", {"one": b"1"}, {})
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain" / "one").write_bytes(b"1")
    (tmp_path / "link").symlink_to("mount/one")

    assert digest_files([tmp_path / "mount" / "one", tmp_path / "ours" / "one"]).atomic
    assert digest_files([tmp_path / "mount" / "one", tmp_path / "mount" / "missing"]).atomic
    assert not digest_files([tmp_path / "mount" / "one", tmp_path / "plain" / "one"]).atomic
    assert not digest_files([tmp_path / "link"]).atomic
    assert (
        digest_files([tmp_path / "mount" / "one"]).digest
        == digest_files([tmp_path / "mount" / "one"]).digest
    )


# --- passwords and folders -----------------------------------------------------------------------


async def test_a_password_file_is_read_anew_with_the_key(tmp_path: Path) -> None:
    file, word = tmp_path / "server.p12", tmp_path / "word"

    def write(credential: Credential, password: bytes) -> None:
        file.write_bytes(credential.pkcs12(password))

    write(issued(), b"one")
    word.write_bytes(b"one\n")
    word.chmod(0o600)
    reloads: list[Reload] = []
    reloader = Reloader(
        partial(server_material, cert=file, password_file=word, client_ca=None),
        lambda material: server_context(  # it asks for no certificate
            cast("Credential", material.credential), client_auth=ClientAuth.NONE
        ),
        settle=0.01,
        tell=reloads.append,
    )
    write(renewed := issued(), b"two")
    assert not await reloader.check()
    word.write_bytes(b"two\n")
    assert await reloader.check()

    assert reloader.material.credential == renewed
    failed, done = reloads
    assert failed.error == f"{file}: the password does not open this PKCS#12 file"
    assert done.changed == ("certificate", "key")


async def test_a_file_that_is_added_changed_or_removed_in_a_folder_is_noticed(
    tmp_path: Path,
) -> None:
    folder, key = tmp_path / "cas", tmp_path / "tls.key"
    folder.mkdir()
    (folder / "one.pem").write_bytes(CLIENTS.trust.pem)
    (tmp_path / "tls.crt").write_bytes((first := issued()).certificate_pem)
    key.write_bytes(first.key_pem)
    reloads: list[Reload] = []
    reloader = Reloader(
        partial(server_material, cert=tmp_path / "tls.crt", key=key, client_ca=folder),
        lambda material: server_context(cast("Credential", material.credential), material.trust),
        settle=0.01,
        tell=reloads.append,
    )

    def trusted() -> set[x509.Certificate]:
        assert reloader.material.trust is not None
        return {*reloader.material.trust.anchors}

    other = Authority.root("other").trust
    (folder / "two.pem").write_bytes(other.pem)
    assert await reloader.check()
    assert trusted() == {*CLIENTS.trust.anchors, *other.anchors}
    (folder / "two.pem").write_bytes(SERVERS.trust.pem)
    assert await reloader.check()
    assert trusted() == {*CLIENTS.trust.anchors, *SERVERS.trust.anchors}
    (folder / "three.pem").write_bytes(b"")
    assert not await reloader.check()
    assert reloads[-1].error == f"{folder / 'three.pem'}: is empty"
    (folder / "three.pem").unlink()
    (folder / "one.pem").unlink()
    assert await reloader.check()
    assert trusted() == {*SERVERS.trust.anchors}
    (folder / "notes.txt").write_text("not read")
    assert not await reloader.check()
    (folder / "two.pem").unlink()
    assert not await reloader.check()
    assert "has no CA certificate in it" in (reloads[-1].error or "")
    assert trusted() == {*SERVERS.trust.anchors}
