"""A planner, its files and a resolver that a test controls."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.abc
import trio.testing

from mtls_echo_client.endpoints.configuration.read import read_configuration
from mtls_echo_client.endpoints.discovery.planner import Planner
from mtls_echo_client.endpoints.plan import Plan
from tests.support.endpoints import TLS, make_files, replace


class Resolver(trio.abc.HostnameResolver):
    """Knows some names; anything else in ``answers`` is what happens on a lookup."""

    def __init__(self, **answers: Sequence[str] | Exception | None) -> None:
        self.answers = {name.replace("_", "."): answer for name, answer in answers.items()}
        self.asked: list[str] = []

    async def getaddrinfo(
        self, host: bytes | None, port: Any, family: int = 0, type: int = 0, *_: int
    ) -> list[Any]:
        name = (host or b"").decode()
        self.asked.append(name)
        answer = self.answers.get(
            name, socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        )
        if answer is None:
            await trio.sleep_forever()
        if isinstance(answer, Exception):
            raise answer
        return [
            (socket.AF_INET6, type, 6, "", (address, port, 0, 0))
            if ":" in address
            else (socket.AF_INET, type, 6, "", (address, port))
            for address in answer or ()
        ]

    async def getnameinfo(self, sockaddr: Any, flags: int) -> tuple[str, str]:
        raise AssertionError("this is never looked up")


@pytest.fixture
async def resolver() -> Resolver:
    known = Resolver(a_test=["10.0.0.2", "10.0.0.10", "::2"], empty_test=[], hanging_test=None)
    trio.socket.set_custom_hostname_resolver(known)
    return known


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("material")
    make_files(made)
    return made


@pytest.fixture
def folder(material: Path, tmp_path: Path) -> Path:
    for path in material.iterdir():
        (tmp_path / path.name).symlink_to(path)
    return tmp_path


def planner(folder: Path, text: str, **options: Any) -> Planner:
    (folder / "endpoints.yaml").write_text(text, "utf-8")
    return Planner(partial(read_configuration, folder / "endpoints.yaml"), **options)


def name_targets(path: Path, *targets: str, **labels: str) -> None:
    replace(path, json.dumps([{"targets": targets, "labels": labels}]))


def addresses(plan: Plan) -> list[str]:
    return [str(endpoint.address) for endpoint in plan.endpoints]


@asynccontextmanager
async def running(planner: Planner) -> AsyncIterator[Callable[[Callable[[Plan], bool]], Any]]:
    """Run a planner; yields a function that waits for a plan that is as it should be."""
    send, receive = trio.open_memory_channel[Plan](1000)

    async def until(right: Callable[[Plan], bool]) -> Plan:
        async for plan in receive:
            if right(plan):
                return plan
        raise AssertionError("the planner ended")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(planner.run, send.send_nowait)
        yield until
        nursery.cancel_scope.cancel()


DISCOVERING = "-" + TLS[1:] + "  endpoints_sd_files: [{files: ['t*.json']}]\n"
