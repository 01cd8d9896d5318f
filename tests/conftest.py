"""`make test` ends with a table of the handshake failures that it observed.

Each test of `tests/cli/failures/test_registry.py` records what both sides reported. With xdist the
tests run in other processes, so the records travel with the test reports, as ``user_properties``.
"""

from __future__ import annotations

from typing import Any

import pytest

OBSERVED = "observed"


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
