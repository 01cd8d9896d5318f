"""A PKI, servers and the command line, for the tests of `mtls-echo connect`."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests.support.clients import VERSIONS, World

versions = pytest.mark.parametrize("version", list(VERSIONS))

LINES = b"".join(b"%d\n" % number for number in range(1, 100_001))  # seq 100000


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World.create(tmp_path_factory.mktemp("world"))


def report_of(done: subprocess.CompletedProcess[bytes]) -> dict[str, Any]:
    """The one report on standard output."""
    assert done.stdout.count(b"\n") == 1
    report: dict[str, Any] = json.loads(done.stdout)
    return report
