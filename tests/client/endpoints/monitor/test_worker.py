"""What a failing endpoint costs the others, which share its event loop."""

from __future__ import annotations

import threading
from typing import NoReturn

import pytest
import trio

from mtls_echo_client.endpoints.monitor import worker
from mtls_echo_client.endpoints.monitor.monitor import Monitor
from mtls_echo_tls.diagnosis import failure
from mtls_echo_tls.diagnosis.diagnose import diagnose
from mtls_echo_tls.diagnosis.evidence import Evidence
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.diagnosis.report import Report
from tests.support.endpoint_servers import endpoint, plan
from tests.support.timing import TIMEOUT


async def test_a_failure_is_diagnosed_outside_of_the_event_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def fail(*arguments: object) -> NoReturn:
        raise TLSFailure(Evidence("client"))

    threads: list[threading.Thread] = []

    def note(evidence: Evidence) -> Report:
        threads.append(threading.current_thread())
        return diagnose(evidence)

    monkeypatch.setattr(worker, "dial", fail)
    monkeypatch.setattr(failure, "diagnose", note)
    (status,) = await Monitor().check_once(plan(endpoint(1, None)))

    assert status.report is not None
    assert threads
    assert threading.current_thread() not in threads


async def test_a_diagnosis_that_comes_too_late_is_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An endpoint that is dialled anew has forgotten what it failed for."""
    begun, released = trio.Event(), threading.Event()
    token = trio.lowlevel.current_trio_token()

    def wait(evidence: Evidence) -> Report:
        token.run_sync_soon(begun.set)
        released.wait(TIMEOUT)
        return diagnose(evidence)

    monkeypatch.setattr(failure, "diagnose", wait)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(TLSFailure(Evidence("client")).diagnosed)
        await begun.wait()
        nursery.cancel_scope.cancel()
    released.set()

    assert nursery.cancel_scope.cancelled_caught
