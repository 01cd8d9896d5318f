"""In every state of a handshake: leaving, resetting, falling silent, saying something else."""

from __future__ import annotations

import ssl

import pytest
import trio.testing
from benchmarks.hostile.by_hand import GARBAGE, STATES, ByHand

from tests.server.hostile.standing import Standing, standing
from tests.server.hostile.standing import pki as pki
from tests.support.servers import Authorities
from tests.support.tls import both_versions


async def each_state(attacked: Standing, version: ssl.TLSVersion) -> list[ByHand]:
    """A client in each state."""
    clients = [await attacked.by_hand(version) for _ in STATES]
    for client, state in zip(clients, STATES, strict=True):
        await client.reach(state)
    return clients


@both_versions
@pytest.mark.parametrize("how", ["leaves", "resets"])
async def test_a_client_leaves_in_every_state(
    pki: Authorities, version: ssl.TLSVersion, how: str
) -> None:
    async with standing(pki) as attacked:
        for client in await each_state(attacked, version):
            if how == "leaves":
                await client.leave()
            else:
                client.reset()
            await attacked.ended()


@both_versions
@pytest.mark.parametrize("garbage", GARBAGE)
async def test_a_client_says_something_else_in_every_state(
    pki: Authorities, version: ssl.TLSVersion, garbage: str
) -> None:
    async with standing(pki) as attacked:
        for client in await each_state(attacked, version):
            await client.send(GARBAGE[garbage])
            await client.leave()
            await attacked.ended()


@both_versions
async def test_a_client_falls_silent_in_every_state(
    pki: Authorities, version: ssl.TLSVersion, mock_clock: trio.testing.MockClock
) -> None:
    async with standing(pki, handshake_timeout=10.0) as attacked:
        clients = await each_state(attacked, version)
        await trio.testing.wait_all_tasks_blocked(0.01)
        mock_clock.jump(10.0)
        unfinished = STATES.index("flight")
        for _ in range(unfinished):
            report = await attacked.ended()
            assert report["causes"] == ["timeout"]
            assert report["stage"] == "handshake"
        for client in clients[unfinished:]:
            client.reset()
            await attacked.ended()
        for client in clients[:unfinished]:
            await client.leave()


@both_versions
async def test_a_hello_that_drips_is_one_hello(pki: Authorities, version: ssl.TLSVersion) -> None:
    async with standing(pki) as attacked:
        client = await attacked.by_hand(version)
        for byte in client._flight():
            await client.send(bytes([byte]))
            await trio.testing.wait_all_tasks_blocked()
        client._incoming.write(await client.stream.receive_some())
        while not (flight := client._flight()):
            client._incoming.write(await client.stream.receive_some())
        await client.send(flight)
        await client.complete()
        await client.send(client.encrypted(b"hello"))
        assert await client.stream.receive_some()
        await client.leave()
        assert (await attacked.ended())["tls"]["server_name"] == "localhost"
