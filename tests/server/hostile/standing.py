"""A server under attack, that serves a good client throughout and keeps nothing afterwards."""

from __future__ import annotations

import contextlib
import os
import ssl
from collections.abc import AsyncGenerator
from typing import Any

import pytest
import trio
from benchmarks.hostile.by_hand import ByHand

from mtls_echo_tls.stream.tcp import TCPStream
from mtls_echo_tls.stream.tls import TLSStream
from tests.support.servers import Authorities, Running, echoed, limits, running

# What is said of a connection by whatever a client does that is not served.
SANE = {"failed", "refused", "echoed"}


@pytest.fixture(scope="module")
def pki() -> Authorities:
    return Authorities()


class Standing:
    """A running server, a client that is connected throughout, and one that comes anew."""

    def __init__(self, here: Running, pki: Authorities, before: TLSStream) -> None:
        self.here = here
        self._pki = pki
        self._before = before
        self._ended = 0
        self._good: set[str] = set()

    def context(self, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
        """Of a client with a good certificate."""
        return self._pki.client_context(self._pki.alice, version)

    async def by_hand(self, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ByHand:
        return await ByHand.connect(self.here.port, self.context(version))

    async def serves(self) -> None:
        """Both clients get their echo."""
        assert await echoed(self._before) == b"hello"
        async with await self.here.connect(self.context()) as anew:
            assert isinstance(anew.transport, TCPStream)
            self._good.add("{}:{}".format(*anew.transport.socket.getsockname()))
            assert await echoed(anew) == b"hello"

    async def ended(self) -> dict[str, Any]:
        """The next event of a connection that is not a good client's; it is sane."""
        report: dict[str, Any] = {}
        while not report or report["peer_address"] in self._good:
            self._ended += 1
            report = await self.here.event("connection", self._ended)
        assert report["outcome"] in SANE, report
        assert report["outcome"] == "echoed" or report["causes"] or report["ended"] == "crowded"
        return report


@contextlib.asynccontextmanager
async def standing(pki: Authorities, **changed: Any) -> AsyncGenerator[Standing, None]:
    """Afterwards there is no task, no socket and no file of what was in between."""
    async with (
        running(pki.server_context(), limits=limits(**changed)) as here,
        await here.connect(pki.client_context(pki.alice)) as before,
    ):
        assert await echoed(before) == b"hello"
        assert here.server._tasks is not None
        tasks, files = len(here.server._tasks.child_tasks), open_files()
        attacked = Standing(here, pki, before)
        yield attacked
        await attacked.serves()
        while here.server._pending._count or len(here.server._tasks.child_tasks) > tasks:
            await trio.lowlevel.checkpoint()
        assert open_files() == files
        assert len(here.server._open) == 1
        assert not [event.text for event in here.events if event.name == "error"]


def open_files() -> int:
    """Descriptors of this process (Linux)."""
    return len(os.listdir("/proc/self/fd"))
