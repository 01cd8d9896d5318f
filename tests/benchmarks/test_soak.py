"""`benchmarks.soak`, for some seconds: nothing is lost, nothing is left."""

from __future__ import annotations

from pathlib import Path

from tests.support.benchmarks import figures_of


def test_good_clients_lose_nothing_among_bad_and_hostile_ones(tmp_path: Path) -> None:
    figures = figures_of("soak", tmp_path, "--seconds", "4")

    assert figures["lost"] == 0
    assert figures["served"] > 0
    assert figures["bad"] > 0
    assert figures["hostile"]["falls silent in a flood"] > 0
    assert figures["descriptors_after"] <= figures["descriptors_before"]
