"""Draw terminals as SVG, from what commands really printed there.

The SVG has text, no paths of letters, and loads nothing: the font is the reader's own monospaced
one, and ``textLength`` keeps the columns where they are with any.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from docs.pictures.session import COLUMNS
from rich.console import Console
from rich.terminal_theme import TerminalTheme
from rich.text import Text

_GAP = 14

_THEME = TerminalTheme(
    (22, 27, 34),
    (201, 209, 217),
    [
        (72, 79, 88), (255, 123, 114), (86, 211, 100), (227, 179, 65),
        (121, 192, 255), (210, 168, 255), (86, 212, 221), (201, 209, 217),
    ],
    [
        (110, 118, 129), (255, 161, 152), (126, 231, 135), (242, 204, 96),
        (165, 214, 255), (226, 197, 255), (179, 240, 255), (240, 246, 252),
    ],
)  # fmt: skip

# One terminal; rich fills in the places. No @font-face: rich's own template fetches a font.
_WINDOW = """\
<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}">
<style>.{unique_id}-matrix {{ font: {char_height}px ui-monospace, SFMono-Regular, Menlo, \
Consolas, "DejaVu Sans Mono", monospace; white-space: pre }}
.{unique_id}-title {{ font: 15px sans-serif; fill: #8b949e }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal"><rect width="{terminal_width}" \
height="{terminal_height}"/></clipPath>
{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g></g>
</svg>
"""


@dataclass(frozen=True)
class Window:
    """A terminal: its title, what is on it, with escape sequences for colours, and its width."""

    title: str
    text: str
    columns: int = COLUMNS


def prompt(command: str) -> str:
    """A line on which a command was typed."""
    return f"\x1b[32m$\x1b[0m \x1b[1m{command}\x1b[0m\n"


def draw(windows: Sequence[Window], description: str) -> str:
    """The terminals as one picture, one below the other.

    Args:
        windows: From top to bottom.
        description: For readers who cannot see it.
    """
    drawn = [_window(window, f"t{number}") for number, window in enumerate(windows)]
    parts, top, widest = list[str](), 0.0, 0.0
    for svg in drawn:
        size = re.match(r'<svg width="([\d.]+)" height="([\d.]+)"', svg)
        assert size is not None
        parts.append(f'<svg y="{top:g}" {svg.removeprefix("<svg ")}')
        top += float(size[2]) + _GAP
        widest = max(widest, float(size[1]))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {widest:g} {top - _GAP:g}"'
        f' role="img"><title>{escape(description)}</title>\n{"".join(parts)}</svg>\n'
    )


def _window(window: Window, name: str) -> str:
    console = Console(
        record=True,
        file=io.StringIO(),
        width=window.columns,
        force_terminal=True,
        color_system="standard",
        highlight=False,
    )
    text = Text.from_ansi(window.text.rstrip("\n"))
    for line in text.split("\n", allow_blank=True):
        # A terminal breaks lines where it ends, not between words.
        for piece in line.divide(range(window.columns, len(line), window.columns)):
            console.print(piece, no_wrap=True, overflow="ignore", crop=False)
    svg = console.export_svg(title=window.title, theme=_THEME, code_format=_WINDOW, unique_id=name)
    return re.sub(r"<text [^>]*>\n</text>", "", svg)  # the ends of lines
