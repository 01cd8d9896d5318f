"""Each occasion of `benchmarks.rotation` once: nothing is lost, no untrusted client admitted."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.benchmarks import figures_of


@pytest.mark.parametrize("tickets", [["--no-tickets"], []], ids=["no tickets", "tickets"])
def test_many_connections_lose_nothing_while_everything_rotates(
    tmp_path: Path, tickets: list[str]
) -> None:
    options = ("--occasions", "4", "--clients", "8", "--seconds", "300")
    tally = figures_of("rotation", tmp_path, *tickets, *options)

    wrong = ("failed", "lost", "admitted", "otherwise", "not_ok")
    assert [tally[name] for name in wrong] == [0] * len(wrong)
    assert tally["renewals"] > 10
    assert [tally[name] for name in ("revocations", "lists", "rollovers")] == [2, 1, 1]
    assert tally["sessions"] > 8
    assert tally["generations"] > 4
    # Three copies of a client's credential, each in two versions, with and without a session; and
    # two of a server's, each in two versions and with two kinds of clients.
    assert tally["attempts"] == 3 * 4 + 2 * 4
