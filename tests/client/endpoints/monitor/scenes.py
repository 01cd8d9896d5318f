"""Servers and endpoints, for the tests of the monitor."""

from __future__ import annotations

import gc
import ssl
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mtls_echo_client.context import client_context
from mtls_echo_client.endpoints.monitor.monitor import Monitor
from mtls_echo_client.endpoints.monitor.status import Status
from tests.support.endpoint_servers import EndpointServers, until, until_state


@pytest.fixture
def servers(tmp_path: Path) -> EndpointServers:
    return EndpointServers(tmp_path)


def one(statuses: tuple[Status, ...]) -> Status:
    [status] = statuses
    return status


async def until_lasting(monitor: Monitor) -> None:
    """Wait until the first endpoint has been checked twice on one connection."""
    await until_state(monitor, "up")
    before = monitor.snapshot()[0].round_trip
    await until(monitor, lambda status: status.round_trip not in (None, before))


@pytest.fixture
def contexts(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many contexts there are of those that were made for endpoints."""
    made: weakref.WeakSet[ssl.SSLContext] = weakref.WeakSet()

    def note(*arguments: Any, **options: Any) -> ssl.SSLContext:
        context = client_context(*arguments, **options)
        made.add(context)
        return context

    def count() -> int:
        gc.collect()
        return len(made)

    monkeypatch.setattr("mtls_echo_client.endpoints.monitor.contexts.client_context", note)
    return count
