"""The pictures show what is true now, load nothing, and are on a page."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import unescape
from pathlib import Path

import pytest
from docs.pictures import refusal, tour
from docs.pictures.badges import badges

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PICTURES = sorted([*DOCS.glob("*.svg"), *DOCS.glob("*.png")])


def _lines(svg: str) -> list[str]:
    """What the terminals in a picture show, line by line."""
    shown: dict[tuple[str, float], str] = {}
    for window, y, text in re.findall(r'<text class="(t\d)-r.*? y="([\d.]+)".*?>(.*?)<', svg):
        place = window, float(y)
        shown[place] = shown.get(place, "") + unescape(text).replace("\N{NO-BREAK SPACE}", " ")
    return [line for _, line in sorted(shown.items())]


@pytest.mark.parametrize(
    ("name", "picture"), [("tour.svg", tour.picture), ("refusal.svg", refusal.picture)]
)
def test_terminals_show_what_the_commands_print(name: str, picture: Callable[[], str]) -> None:
    there, now = (DOCS / name).read_text("utf-8"), picture()

    assert _lines(there) == _lines(now), "make pictures"
    assert there == now, "make pictures"


def test_both_ends_say_the_same_side_by_side() -> None:
    text = "\n".join(_lines((DOCS / "tour.svg").read_text("utf-8")))

    assert "the server refuses: no-client-certificate" in text
    assert "the server refused us: we presented no" in text
    assert "we refused the client: it presented no" in text


def test_both_ends_explain_the_same_refusal() -> None:
    lines = _lines((DOCS / "refusal.svg").read_text("utf-8"))

    begin = lines.index("$mtls-echo connect localhost:8443 hello")
    server, client = "".join(lines[:begin]), "".join(lines[begin:])
    assert re.search("refused.*(no-client-certificate|presented no certificate)", server)
    assert "the server refused us: we presented no certificate" in client


@pytest.mark.parametrize("name", badges())
def test_badges_say_what_the_settings_say(name: str) -> None:
    assert (DOCS / name).read_text("utf-8") == badges()[name], "make pictures"


@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.name)
def test_a_picture_is_small_and_is_on_a_page(path: Path) -> None:
    pages = [*ROOT.glob("*.md"), *DOCS.glob("*.md")]

    assert path.stat().st_size < 100_000
    assert any(f"{path.name})" in page.read_text("utf-8") for page in pages)


@pytest.mark.parametrize(
    "path", [path for path in PICTURES if path.suffix == ".svg"], ids=lambda path: path.name
)
def test_a_picture_loads_nothing(path: Path) -> None:
    text = path.read_text("utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")

    assert not re.search(r"https?:|//|@import|@font-face|href|<script|<image|url\((?!#)", text)
