"""Sessions with a server of a test, and the failures that they end with."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any

import pytest

from mtls_echo_client.context import client_context
from mtls_echo_client.session import Session, connect
from mtls_echo_tls.diagnosis.failure import TLSFailure
from tests.support.clients import VERSIONS, Behaviour, World, serving
from tests.support.timing import TIMEOUT

versions = pytest.mark.parametrize("version", list(VERSIONS))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World.create(tmp_path_factory.mktemp("world"))


def pattern(size: int) -> bytes:
    """Bytes whose period divides no record and no window."""
    return (bytes(range(251)) * (size // 251 + 1))[:size]


def alice(world: World) -> ssl.SSLContext:
    return client_context(world.servers.trust, world.alice)


async def exchange(
    world: World,
    behaviour: Behaviour,
    data: bytes = b"hello\n",
    *,
    version: str = "1.3",
    context: ssl.SSLContext | None = None,
    timeout: float = TIMEOUT,  # noqa: ASYNC109  handed on to connect()
) -> Session:
    """Connect to a server that behaves like that, and have ``data`` echoed."""
    with serving(behaviour, world.server_context(version)) as port:
        connected = await connect("localhost", port, context or alice(world), timeout=timeout)
        async with connected as session:
            await session.echo(data)
    return session


async def failure_of(
    world: World,
    behaviour: Behaviour,
    data: bytes = b"hello\n",
    **options: Any,
) -> TLSFailure:
    """As `exchange`, which fails."""
    with pytest.raises(TLSFailure) as caught:
        await exchange(world, behaviour, data, **options)
    return caught.value


def once(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Apply ``change`` to the third piece only."""
    seen = 0

    def changed(data: bytes) -> bytes:
        nonlocal seen
        seen += 1
        return change(data) if seen == 3 else data

    return changed
