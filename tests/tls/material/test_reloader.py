"""The files change, and the context in use is replaced by a new one."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import trio
import trio.testing

from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_pki.files.atomic_writer import publish
from mtls_echo_tls.material.file_digest import digest_files
from mtls_echo_tls.material.load import server_material
from mtls_echo_tls.material.reloader import Reload, Reloader
from tests.support.mounts import mount, secret
from tests.support.tls import EXPIRED
from tests.tls.material.world import CLIENTS, World, issued
from tests.tls.material.world import world as world

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
