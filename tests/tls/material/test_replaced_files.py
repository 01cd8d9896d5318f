"""Files are replaced one by one, all at once, or while they are read."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_tls.material.load import Material, server_material
from mtls_echo_tls.material.reloader import Reload, Reloader
from tests.support.mounts import by_rename, in_place, secret
from tests.tls.material.world import CLIENTS, World, issued
from tests.tls.material.world import world as world


@pytest.mark.parametrize("write", [in_place, by_rename])
async def test_plain_files_are_taken_when_they_match_again(
    tmp_path: Path, write: Callable[[Path, bytes], None]
) -> None:
    for name, contents in secret(issued(), ca_crt=CLIENTS.trust.pem).items():
        (tmp_path / name).write_bytes(contents)
    attempts: list[Reload] = []
    load = partial(
        server_material,
        **{"cert": tmp_path / "tls.crt", "key": tmp_path / "tls.key"},  # type: ignore[arg-type]  # paths only
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
