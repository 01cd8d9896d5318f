"""docs/performance.md: what is measured goes into it between marks, the rest is written by hand.

A mark is a comment of its own line, ``<!-- figures: NAME -->``; what follows it, to the next
``<!-- end -->``, is replaced.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from benchmarks.speed.report.goals import goals_table
from benchmarks.speed.report.table import median_and_spread, ratios, table
from benchmarks.speed.sizing import sizing_table

_MARKED = re.compile(r"(?s)(<!-- figures: (\w+) -->\n).*?(\n<!-- end -->)")

_SETTINGS = "handshake of serve, by setting"


def filled(page: str, result: Mapping[str, Any]) -> str:
    """The page with the figures of a result in it."""
    return _MARKED.sub(
        lambda found: found[1] + "\n".join(_BLOCKS[found[2]](result)) + found[3], page
    )


def _everything(result: Mapping[str, Any]) -> Iterator[str]:
    yield "```text"
    yield from table(result)
    yield "```"


def _settings(result: Mapping[str, Any]) -> Iterator[str]:
    """What each setting costs in a handshake, as a table in Markdown."""
    yield "| setting | µs per handshake | to the defaults |"
    yield "|---|---|---|"
    for row in result["rows"]:
        if row["name"] != _SETTINGS:
            continue
        for name, figures in row["figures"].items():
            told = "the defaults" if name == row["references"][0] else name
            spread = median_and_spread(ratios(row, name, row["references"][0]), 2)
            yield f"| {told} | {statistics.median(figures):.0f} | {spread} |"


_BLOCKS: Mapping[str, Callable[[Mapping[str, Any]], Iterator[str]]] = {
    "everything": _everything,
    "goals": goals_table,
    "settings": _settings,
    "sizing": sizing_table,
}
