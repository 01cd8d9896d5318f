"""How the tests are run, and what `make test` says before them and after.

It ends with a table of the handshake failures that it observed. Each failure played by
`tests/cli/failures/test_registry.py` records what both sides reported. With xdist the tests run in
other processes, so the records travel with the test reports, as ``user_properties``.
"""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
import trio.testing
from hypothesis import HealthCheck, settings

from tests.support import timing
from tests.support.fuzzing import TRIED, USUAL
from tests.support.plugins.forecast import Forecast

OBSERVED = "observed"

# How fast examples are made and tried says something about the machine only.
settings.register_profile(
    "any machine",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    max_examples=max(100 * TRIED // USUAL, 1),
)
settings.load_profile("any machine")


def pytest_configure(config: pytest.Config) -> None:
    """Say what is about to run, with xdist once; and let Ctrl-C reach what the tests start."""
    os.umask(0o077)  # a key that other users can read would be warned of
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a background job of a script
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Forecast(config))


@pytest.fixture
def patient_clock() -> trio.testing.MockClock:
    """A clock on which time passes only while nothing moves, over real sockets."""
    return trio.testing.MockClock(autojump_threshold=timing.IDLE)


@pytest.hookimpl(trylast=True)  # pytest-trio has marked what is asynchronous
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each asynchronous test its clock, see `tests.support.timing`."""
    for item in items:
        if item.get_closest_marker("trio"):
            real = item.get_closest_marker("real_time")
            run = timing.run_in_real_time if real else timing.run
            item.add_marker(pytest.mark.trio(run=run), append=False)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Draw the table, when there is something to draw."""
    found: list[dict[str, Any]] = [
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        if isinstance(report, pytest.TestReport) and report.when == "call"
        for name, value in report.user_properties
        if name == OBSERVED and isinstance(value, dict)
    ]
    if not found:
        return
    from mtls_echo.failures.scoreboard import Row, score, table

    rows = [Row(**values) for values in found]
    terminalreporter.section("observed handshake failures")
    for line in table(rows):
        terminalreporter.write_line(line)
    terminalreporter.write_line("")
    for line in score(rows):
        terminalreporter.write_line(line)
