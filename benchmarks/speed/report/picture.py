"""The results as a picture: one panel of bars for each row.

A bar is the median of the ratios to the first reference of its row, in black the spread of the
repeats. What is more than the panel's width allows is cut off and says so with its number.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from benchmarks.speed.report.table import ratios
from benchmarks.speed.servers import ORDINARY

_COLUMNS = 2
_PANEL = 490
_LABEL = 185
_BAR = 200
_LINE = 17
_GAP = 22
_TOP = 58

# The longest bar, in ratios; without it the short ones could not be told apart.
_LONGEST = 6.0

_STYLE = """
text { font: 12px sans-serif; fill: #24292f; }
.label { text-anchor: end; }
.title { font-weight: bold; }
.head { font-size: 15px; font-weight: bold; }
.small { fill: #57606a; font-size: 11px; }
.bar { fill: #b6bec8; }
.ours { fill: #1f77b4; }
.spread { stroke: #24292f; stroke-width: 1.2; }
.unit { stroke: #8c959f; stroke-dasharray: 2 2; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; } .small { fill: #9198a1; } .bar { fill: #57606a; }
  .ours { fill: #58a6ff; } .spread { stroke: #e6edf3; }
}
"""


def picture(result: Mapping[str, Any]) -> str:
    """The whole SVG."""
    heights = [0] * _COLUMNS
    panels: list[str] = []
    for row in result["rows"]:
        lines = [*_bars(row)]
        if not lines:
            continue
        column = heights.index(min(heights))
        x, y = column * _PANEL + 10, heights[column] + _TOP
        inside = "".join(f'<g transform="translate(0 {n * _LINE})">{it}</g>' for n, it in lines)
        panels.append(
            f'<g transform="translate({x} {y})">{_text(0, 0, _title(row), "title")}'
            f'<g transform="translate(0 {_LINE})">{inside}'
            f"{_unit_line(len(lines))}</g></g>"
        )
        heights[column] += (len(lines) + 1) * _LINE + _GAP
    facts = result["facts"]
    named = ("Python", "OpenSSL", "trio", "repeats", "cores")
    below = f"{facts['measured']}: " + ", ".join(f"{name} {facts[name]}" for name in named)
    width, height = _COLUMNS * _PANEL + 10, max(heights) + _TOP
    told = "What a server needs, as a ratio to the reference of its row: less is better"
    head = _text(10, 20, told, "head")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="Ratios of server CPU, memory and time">\n<style>{_STYLE}</style>\n'
        f"{head}\n{_text(10, 38, below, 'small')}\n" + "\n".join(panels) + "\n</svg>\n"
    )


def _title(row: Mapping[str, Any]) -> str:
    return f"{row['name']} ({row['references'][0]} = 1)"


def _bars(row: Mapping[str, Any]) -> Iterator[tuple[int, str]]:
    for number, name in enumerate(row["figures"]):
        found = ratios(row, name, row["references"][0])
        if not found:
            continue
        middle, least, greatest = statistics.median(found), min(found), max(found)
        absolute = statistics.median(row["figures"][name])
        kind = "ours" if name.startswith(("serve", "mtls-echo")) or name == ORDINARY else "bar"
        told = f"{middle:.2f}  ·  {_number(absolute)} {row['unit']}"
        spread = ""
        if greatest > least and greatest <= _LONGEST:
            spread = (
                f'<line class="spread" x1="{_x(least):.1f}" x2="{_x(greatest):.1f}" '
                'y1="-4" y2="-4"/>'
            )
        end = max(_x(middle), _x(min(greatest, _LONGEST)))
        yield (
            number,
            _text(_LABEL - 6, 0, name, "label")
            + f'<rect class="{kind}" x="{_LABEL}" y="-10" height="12" '
            f'width="{_x(middle) - _LABEL:.1f}"/>{spread}' + _text(end + 5, 0, told, "small"),
        )


def _x(ratio: float) -> float:
    return _LABEL + min(ratio, _LONGEST) / _LONGEST * _BAR


def _unit_line(lines: int) -> str:
    x = _x(1)
    return f'<line class="unit" x1="{x:.1f}" x2="{x:.1f}" y1="-12" y2="{lines * _LINE - 13}"/>'


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    classed = f' class="{kind}"' if kind else ""
    return f'<text{classed} x="{x:.1f}" y="{y:.1f}">{escape(text)}</text>'


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
