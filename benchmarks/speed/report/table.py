"""The results as text: medians with their spread, and ratios taken within each repeat."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def table(result: Mapping[str, Any]) -> Iterator[str]:
    """The lines of the whole result."""
    yield ", ".join(f"{name} {value}" for name, value in result["facts"].items() if value)
    yield "Servers: the median of CPU (user and system) per operation [least, greatest], and the"
    yield "ratio to a reference within the same repeat. The load is that of the machine meanwhile."
    for row in result["rows"]:
        yield ""
        first, last = (f"{load:.1f}" for load in row["load"])
        heads = "".join(f"  {'to ' + name:<22}" for name in _references(row))
        yield f"{row['name']} (load {first} to {last})"
        yield f"  {row['unit']:>38}{'':18}{heads}".rstrip()
        for name, figures in row["figures"].items():
            yield f"  {name:30}{_figures(figures)}{_ratios(row, name)}".rstrip()
    yield ""
    for name, why in result["missing"].items():
        yield f"not measured: {name}: {why}"


def ratios(row: Mapping[str, Any], name: str, reference: str) -> list[float]:
    """One figure as a ratio to another, repeat by repeat."""
    figures: Mapping[str, Sequence[float]] = row["figures"]
    pairs = zip(figures.get(name, ()), figures.get(reference, ()), strict=False)
    return [one / other for one, other in pairs if other]


def median_and_spread(values: Sequence[float], digits: int) -> str:
    """`median [least, greatest]`."""
    spread = f"[{min(values):.{digits}f}, {max(values):.{digits}f}]" if len(values) > 1 else ""
    return f"{statistics.median(values):.{digits}f} {spread}".rstrip()


def _figures(figures: Sequence[float]) -> str:
    middle = statistics.median(figures)
    digits = 0 if middle >= 100 else 1 if middle >= 10 else 2
    value, _, spread = median_and_spread(figures, digits).partition(" ")
    return f"{value:>8} {spread:<18}"


def _ratios(row: Mapping[str, Any], name: str) -> str:
    cells = ""
    for reference in _references(row):
        found = ratios(row, name, reference)
        cells += f"  {median_and_spread(found, 2) if found else '':<22}"
    return cells


def _references(row: Mapping[str, Any]) -> list[str]:
    return [name for name in row["references"] if name in row["figures"]]
