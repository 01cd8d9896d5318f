"""The changes of a PKI directory, each to be refused or interrupted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.directory.directory import Directory
from tests.pki.directory.test_kill import quick as quick
from tests.support.pki import make_plain

Change = Callable[[Directory], object]

CHANGES: dict[str, Change] = {
    "issue": lambda directory: directory.issue("alice", Request.client("alice.test")),
    "renew": lambda directory: directory.renew("client", rekey=True),
    "revoke": lambda directory: directory.revoke("client"),
    "crl": lambda directory: directory.publish_crls(),
    "introduce": lambda directory: directory.introduce(),
}


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    directory = Directory.create(tmp_path / "pki")
    directory.renew("client", rekey=True)
    return directory


@pytest.fixture(params=["root", "intermediate"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Directory:
    intermediate = request.param == "intermediate"
    directory = Directory.create(tmp_path / "pki", intermediate=intermediate)
    make_plain(directory.path)
    return directory
