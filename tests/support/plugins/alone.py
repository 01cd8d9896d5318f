"""A pytest plugin that runs each test in a process of its own, as if it were the only one.

    python -m pytest -p tests.support.plugins.alone

The process is forked when all tests are known and none has run: it has all the modules, and
nothing that another test, or a fixture for another test, has left behind.
"""

from __future__ import annotations

import os
import pickle
import warnings
from typing import Any

import pytest
from _pytest.runner import runtestprotocol


def pytest_sessionstart(session: pytest.Session) -> None:
    """Have one folder for the temporary files of all the processes."""
    vars(session.config)["_tmp_path_factory"].getbasetemp()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool:
    """Run a test as pytest does, elsewhere, and report here."""
    hook = item.ihook
    hook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    for report in _reports(item):
        hook.pytest_runtest_logreport(report=report)
    hook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


def _reports(item: pytest.Item) -> list[pytest.TestReport]:
    receiving, sending = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of threads: they are xdist's, and hold no lock of ours
        process = os.fork()
    if not process:
        os.close(receiving)
        with os.fdopen(sending, "wb") as pipe:
            pickle.dump(_serializable(item), pipe)
        os._exit(0)
    os.close(sending)
    with os.fdopen(receiving, "rb") as pipe:
        sent = pipe.read()
    _, status = os.waitpid(process, 0)
    if not sent:
        text = f"the process ended with status {os.waitstatus_to_exitcode(status)}"
        ended = pytest.CallInfo.from_call(lambda: pytest.fail(text, pytrace=False), "call")
        return [pytest.TestReport.from_item_and_call(item, ended)]
    restore = item.config.hook.pytest_report_from_serializable
    return [restore(config=item.config, data=data) for data in pickle.loads(sent)]  # noqa: S301


def _serializable(item: pytest.Item) -> list[Any]:
    convert = item.config.hook.pytest_report_to_serializable
    reports = runtestprotocol(item, log=False, nextitem=None)
    return [convert(config=item.config, report=report) for report in reports]
