"""The PKI of the servers and clients in these tests, over loopback TCP."""

from __future__ import annotations

import pytest

from tests.support.servers import Authorities


@pytest.fixture
def pki() -> Authorities:
    return Authorities()
