"""Clients that are many, or send too much, too little, too often, or never read."""

from __future__ import annotations

import errno
import os
import socket
import ssl
import string
import tracemalloc
from itertools import product
from typing import Any

import pytest
import trio
import trio.testing
from benchmarks.hostile.by_hand import ByHand, key_updates, record

from mtls_echo_pki.certificates.request import Request
from mtls_echo_server.log import BURST, RATE
from mtls_echo_tls.stream.records import RECORD
from tests.server.hostile.standing import pki as pki
from tests.server.hostile.standing import standing
from tests.server.test_events import log_lines
from tests.support.servers import Authorities, echoed
from tests.support.tls import V13, both_versions, openssl, printed, write

# --- many ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["connected", "half a hello", "hello"])
async def test_a_flood_of_unfinished_handshakes_ends_itself(pki: Authorities, state: str) -> None:
    async with standing(pki, max_handshakes=30) as attacked:
        port, context = attacked.here.port, attacked.context()
        flood = [await ByHand.connect(port, context, "127.0.7.1") for _ in range(60)]
        for client in flood:
            await client.reach(state)
            await trio.testing.wait_all_tasks_blocked()
        await attacked.serves()
        assert attacked.here.server._pending._count <= 30
        for client in flood:
            client.reset()
        ends = [(await attacked.ended())["ended"] for _ in flood[1:]]
        assert 29 <= ends.count("crowded") <= 31


async def test_a_network_that_has_its_share_takes_none_of_another(pki: Authorities) -> None:
    async with standing(pki, max_handshakes=100, max_handshakes_per_network=10) as attacked:
        port, context = attacked.here.port, attacked.context()
        slow = await attacked.by_hand()
        await slow.reach("half a flight")
        flood = [await ByHand.connect(port, context, "127.0.7.1") for _ in range(40)]
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert attacked.here.server._pending._count == 11
        for client in flood:
            client.reset()
        for _ in flood:
            assert (await attacked.ended())["peer_address"].startswith("127.0.7.1:")
        slow.reset()
        await attacked.ended()


@pytest.mark.parametrize("how", ["leave", "reset"])
async def test_clients_that_connect_and_vanish(pki: Authorities, how: str) -> None:
    async with standing(pki) as attacked:
        for _ in range(200):
            client = await attacked.by_hand()
            if how == "leave":
                await client.stream.aclose()
            else:
                client.reset()
        for _ in range(200):
            await attacked.ended()


async def test_no_descriptor_in_the_middle_of_a_flood(
    pki: Authorities, monkeypatch: pytest.MonkeyPatch, patient_clock: trio.testing.MockClock
) -> None:
    accept, shortages = socket.socket.accept, [errno.ENOBUFS, errno.EMFILE]

    def failing(self: socket.socket) -> Any:
        if shortages:
            number = shortages.pop()
            raise OSError(number, os.strerror(number))
        return accept(self)

    async with standing(pki) as attacked:
        silent = [await attacked.by_hand() for _ in range(5)]
        await trio.testing.wait_all_tasks_blocked(0.01)
        monkeypatch.setattr(socket.socket, "accept", failing)
        await attacked.serves()  # two of the silent ones have made room meanwhile
        assert await silent[0].stream.receive_some() == b""
        for client in silent:
            client.reset()
        ends = [(await attacked.ended())["ended"] for _ in silent]
        assert ends.count("crowded") == 2
    assert not shortages


async def test_a_client_behind_many_without_a_descriptor_waits_for_none_of_them(
    pki: Authorities, monkeypatch: pytest.MonkeyPatch, patient_clock: trio.testing.MockClock
) -> None:
    accept, shortages = socket.socket.accept, [errno.EMFILE] * 20

    def failing(self: socket.socket) -> Any:
        if shortages:
            raise OSError(shortages.pop(), "too many open files")
        return accept(self)

    async with standing(pki) as attacked:
        silent = [await attacked.by_hand() for _ in range(30)]
        await trio.testing.wait_all_tasks_blocked(0.01)
        monkeypatch.setattr(socket.socket, "accept", failing)
        before = trio.current_time()
        await attacked.serves()
        assert trio.current_time() - before < 1
        for client in silent:
            client.reset()
        ends = [(await attacked.ended())["ended"] for _ in silent]
        assert ends.count("crowded") == 20


# --- too much, too little, too often -------------------------------------------------------------


async def test_a_client_that_never_reads_costs_no_memory(
    pki: Authorities, patient_clock: trio.testing.MockClock
) -> None:
    async with standing(pki, idle_timeout=30.0) as attacked:
        client = await attacked.by_hand()
        await client.reach("flight")
        await client.complete()
        tracemalloc.start()
        with trio.move_on_after(1):
            while True:
                await client.stream.send_all(client.encrypted(bytes(RECORD)))
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        # A whole receive, 128 KiB, twice: as plaintext, and as what could not be sent of it.
        assert held < 2_000_000
        client.reset()
        await attacked.ended()


@both_versions
async def test_tiny_and_giant_records(pki: Authorities, version: ssl.TLSVersion) -> None:
    async with standing(pki) as attacked:
        client = await attacked.by_hand(version)
        await client.reach("flight")
        await client.complete()
        await client.send(b"".join(client.encrypted(b"x") for _ in range(3_000)))
        got = 0
        while got < 3_000:
            client._incoming.write(await client.stream.receive_some())
            try:
                while data := client.tls.read(RECORD):
                    got += len(data)
            except ssl.SSLWantReadError:
                pass
        assert got == 3_000
        # The largest length that a header can have, and a body to it.
        await client.send(record(23, bytes(65_535)))
        await client.leave()
        report = await attacked.ended()
        assert report["rejected_by"] == "server"
        if ssl.OPENSSL_VERSION_INFO >= (3, 6):
            assert report["alert"] is None  # that of 3.6 leaves without a word
        else:
            assert report["alert"]["name"] == "record_overflow"


async def test_key_updates_without_end(pki: Authorities) -> None:
    context = pki.client_context(pki.alice, V13)
    update = key_updates(context)
    async with standing(pki) as attacked:
        client = await ByHand.connect(attacked.here.port, context)
        await client.reach("flight")
        await client.complete()
        for asks in (True, False):
            for _ in range(20):
                await client.send(b"".join(update(asks) for _ in range(100)))
                await trio.testing.wait_all_tasks_blocked()
        await attacked.serves()
        [ours] = [c for c in attacked.here.server._open if c.received == 0]
        assert ours._records.pending < 100_000
        await client.leave()
        await attacked.ended()


async def test_renegotiation_without_end(pki: Authorities) -> None:
    async with standing(pki) as attacked:
        address = f"127.0.0.1:{attacked.here.port}"
        async with openssl("s_client", "-connect", address, "-tls1_2", "-cert", "alice.pem") as (
            process,
            _,
        ):
            await printed(process, b"Verify return code")
            for _ in range(50):
                try:
                    await write(process, b"R\n")
                except trio.BrokenResourceError:
                    break
            await attacked.serves()
            process.kill()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                await pipe.aclose()
            await attacked.ended()


@pytest.mark.parametrize(("names", "cause"), [(10_000, "truncated"), (20_000, "oversize")])
async def test_a_certificate_with_thousands_of_names(
    pki: Authorities, names: int, cause: str
) -> None:
    every = [f"{''.join(name)}.t" for name in product(string.ascii_lowercase, repeat=4)][:names]
    credential = pki.clients.issue(Request.client(*every))
    async with standing(pki) as attacked:
        client = await ByHand.connect(attacked.here.port, pki.client_context(credential))
        await client.reach("message")
        await client.leave()
        report = await attacked.ended()
        # OpenSSL takes 100 KiB of certificates, and no more; then it left without close_notify.
        assert report["causes"][0] == cause
        assert (report["stage"] == "established") == (cause == "truncated")
        for log_format in ("text", "json"):
            lines = log_lines(*attacked.here.events, log_format=log_format)
            assert max(map(len, lines)) < 50_000


async def test_refusals_without_end_fill_no_log(pki: Authorities) -> None:
    async with standing(pki) as attacked:
        for _ in range(300):
            client = await attacked.by_hand()
            await client.send(b"EHLO localhost\r\n")
            await client.leave()
            await attacked.ended()
        lines = log_lines(*attacked.here.events)
    written = [line for line in lines if "EHLO" in line]
    assert len(written) < BURST + 2 * RATE  # and what a slow machine takes for it


async def test_an_hour_that_is_gone_at_once(
    pki: Authorities, mock_clock: trio.testing.MockClock
) -> None:
    """A machine that was suspended: everything is due at the same time."""
    async with standing(pki, handshake_timeout=10.0, idle_timeout=7200.0) as attacked:
        unfinished = [await attacked.by_hand() for _ in range(50)]
        for client in unfinished:
            await client.reach("hello")
        idle = await attacked.here.connect(attacked.context())
        assert await echoed(idle) == b"hello"
        await trio.testing.wait_all_tasks_blocked(0.01)
        mock_clock.jump(3600)
        for _ in unfinished:
            assert (await attacked.ended())["causes"] == ["timeout"]
        assert await echoed(idle) == b"hello"
        for client in unfinished:
            await client.leave()
        await idle.aclose()
        await attacked.ended()
