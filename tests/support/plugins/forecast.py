"""What is said before the tests run: how many there are, and about how long they take."""

from __future__ import annotations

import os
import time

import pytest

# Of one worker for one test, where the same tests have not been run before.
_SECONDS = 0.2

# In pytest's cache: of each choice of tests its last run, as tests, seconds and workers.
LAST_RUNS = "mtls-echo/last-runs"

# A choice of fewer is tried once, and need not be remembered.
_FEW = 50


class Forecast:
    """A pytest plugin, for the process that the others work for."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._workers = config.getoption("numprocesses", None) or 1
        self._tests = 0
        self._began = time.monotonic()
        self._choice = " ".join(config.invocation_params.args)

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Without workers, the tests are known here."""
        self._tell(len(session.items))

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """A worker has found the tests; all find the same ones."""
        self._tell(len(ids))

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Remember how long it took."""
        cache = getattr(self._config, "cache", None)  # not with -p no:cacheprovider
        if cache is None or exitstatus not in (0, 1) or self._tests < _FEW:
            return
        last = cache.get(LAST_RUNS, {})
        last[self._choice] = [self._tests, time.monotonic() - self._began, self._workers]
        cache.set(LAST_RUNS, last)

    def _tell(self, tests: int) -> None:
        terminal = self._config.pluginmanager.get_plugin("terminalreporter")
        if self._tests or not tests or terminal is None:
            return
        self._tests = tests
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
        cores = cores or os.cpu_count() or 1
        terminal.ensure_newline()
        terminal.write_line(
            f"{tests:,} tests, about {_about(self._seconds())} on {cores} core{'s' * (cores != 1)}"
        )

    def _seconds(self) -> float:
        cache = getattr(self._config, "cache", None)
        last = cache.get(LAST_RUNS, {}) if cache is not None else {}
        tests, seconds, workers = last.get(self._choice, (1, _SECONDS, 1))
        return float(seconds * workers * self._tests / tests / self._workers)


def _about(seconds: float) -> str:
    if seconds < 100:
        return f"{max(10, round(seconds, -1)):.0f} seconds"
    return f"{round(seconds / 60)} minutes"
