"""Badges that need no network: small SVG files that say what `pyproject.toml` says."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]

_HEIGHT = 20
_MARGIN = 7
# How wide a character of 11 pixels is; textLength makes it so in every font.
_CHARACTER = 6.4


def badges() -> dict[str, str]:
    """Each badge by the name of its file."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    project, tool = settings["project"], settings["tool"]
    oldest = project["requires-python"].removeprefix(">=")
    strict = [
        name
        for name, is_strict in (
            ("mypy", tool["mypy"]["strict"] is True),
            ("pyright", tool["pyright"]["typeCheckingMode"] == "strict"),
        )
        if is_strict
    ]
    return {
        "badge-python.svg": _badge("python", f"{oldest} or newer"),
        "badge-types.svg": _badge("types", f"{' and '.join(strict)}, strict"),
        "badge-licence.svg": _badge("licence", project["license"]),
    }


def _badge(label: str, value: str) -> str:
    left, right = (len(text) * _CHARACTER + 2 * _MARGIN for text in (label, value))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + right:g}" height="{_HEIGHT}"'
        f' role="img"><title>{label}: {value}</title>\n'
        f'<rect width="{left + right:g}" height="{_HEIGHT}" rx="4" fill="#1f6f43"/>\n'
        f'<path d="M4 0H{left:g}V{_HEIGHT}H4A4 4 0 0 1 0 16V4A4 4 0 0 1 4 0Z" fill="#444d56"/>\n'
        f'<g font-family="Verdana, DejaVu Sans, sans-serif" font-size="11" fill="#fff">\n'
        f"{_text(_MARGIN, label)}\n{_text(left + _MARGIN, value)}\n</g></svg>\n"
    )


def _text(x: float, text: str) -> str:
    length = len(text) * _CHARACTER
    return (
        f'<text x="{x:g}" y="14" textLength="{length:g}"'
        f' lengthAdjust="spacingAndGlyphs">{text}</text>'
    )
