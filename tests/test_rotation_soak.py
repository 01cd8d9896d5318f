"""A short piece of `benchmarks.rotation`, bounded by count: nothing is lost, nobody slips in."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from benchmarks.rotation import Soak

from mtls_echo_pki import Directory

from .server_helpers import PATIENCE


@pytest.mark.parametrize("tickets", [False, True], ids=["no tickets", "tickets"])
async def test_a_crowd_loses_nothing_while_everything_rotates(
    tmp_path: Path, tickets: bool
) -> None:
    soak = Soak(
        Directory.create(tmp_path / "pki"), clients=8, leavers=2, steps=60, tickets=tickets
    )
    with trio.fail_after(PATIENCE):
        tally = await soak.run()

    assert tally.wrong == 0, tally.examples
    assert tally.steps >= 60
    assert tally.sessions > 8
    assert tally.generations > 2
    assert tally.attempts == 2 * 4  # two leavers, two versions, with and without a session
