"""What a failing endpoint costs the others, which share its event loop."""

from __future__ import annotations

import threading
from typing import NoReturn

import pytest

from mtls_echo_client.endpoints.monitor import worker
from mtls_echo_client.endpoints.monitor.monitor import Monitor
from mtls_echo_tls.diagnosis import failure
from mtls_echo_tls.diagnosis.diagnose import diagnose
from mtls_echo_tls.diagnosis.evidence import Evidence
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.diagnosis.report import Report
from tests.support.endpoint_servers import endpoint, plan


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
