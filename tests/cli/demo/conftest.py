"""What the tests of the long chapters share."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def told() -> list[str]:
    """What was told while a module's chapter was played."""
    return []
