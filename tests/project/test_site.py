"""The documentation as a site: complete, without a broken link, and readable without a network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

import mtls_echo
import mtls_echo.endpoints
from tests.support.timing import TIMEOUT

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, as `make site` makes it: whatever is not right is an error."""
    made = tmp_path_factory.mktemp("site")
    options = ["--quiet", "--fail-on-warning", "--keep-going", "--conf-dir", str(DOCS / "site")]
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", *options, DOCS, made],
        capture_output=True,
        text=True,
        timeout=10 * TIMEOUT,
        env={**os.environ, "NO_COLOR": "1"},
    )
    assert built.returncode == 0, built.stderr
    return made


class Page(HTMLParser):
    """What a reader sees of a page, and what a browser fetches for it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.prose: list[str] = []
        self.titles: dict[str, str] = {}
        self._open: list[str] = []
        self.feed(path.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what is fetched, and what is a link."""
        values = dict(attrs)
        if tag == "a":
            self.links.append(values.get("href") or "")
        elif tag != "use":
            self.fetched += [each for name in ("src", "href") if (each := values.get(name))]
        if tag not in ("meta", "link", "img", "br", "hr", "input", "wbr"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Leave the element."""
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        """Keep titles, and text that is not code."""
        if not {"pre", "code", "script", "style", "dt"} & set(self._open):
            self.prose.append(data)
        for title in {"title", "h1"} & set(self._open):
            self.titles[title] = self.titles.get(title, "") + data


def test_nothing_is_fetched_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    elsewhere = {
        (page.name, each)
        for page in pages
        for each in Page(page).fetched
        if re.match(r"(\w+:)?//", each)
    }
    styles = {
        (style.name, each)
        for style in site.rglob("*.css")
        for each in re.findall(
            r"url\(['\"]?(?:\w+:)?//[^)]*|@import[^;]*", style.read_text("utf-8")
        )
    }

    assert len(pages) > 20
    assert elsewhere | styles == set()


def test_each_page_has_a_title_and_is_reached_from_the_first(site: Path) -> None:
    first = Page(site / "index.html")
    pages = [*DOCS.glob("*.md"), *DOCS.glob("site/**/*.md"), *DOCS.glob("site/**/*.rst")]
    for page in pages:
        name = f"{page.relative_to(DOCS).with_suffix('')}.html"
        titles = Page(site / name).titles

        assert titles["title"].strip()
        assert titles["h1"].strip()
        assert name == "index.html" or name in first.links, f"{name} is in no navigation"


def test_no_markup_is_left_over_in_the_text(site: Path) -> None:
    leaked = {
        (page.name, text.strip())
        for page in site.rglob("*.html")
        for text in Page(page).prose
        if re.search(r"`|:\w+:\w|\*\*\w|\]\(|~\w+\.\w|\w\.md\b|\N{EN DASH}[a-z]", text)
    }

    assert leaked == set()


def test_the_reference_has_every_public_name(site: Path) -> None:
    reference = "".join(page.read_text("utf-8") for page in (site / "site/api").glob("*.html"))
    names = {f"mtls_echo.{name}" for name in mtls_echo._HOME_OF}
    names |= {f"mtls_echo.endpoints.{name}" for name in mtls_echo.endpoints.__all__}

    missing = {name for name in names if f'id="{name}"' not in reference}
    assert not missing, f"in docs/site/api/, where constants are described by hand: {missing}"


def test_the_search_works_from_a_file(site: Path) -> None:
    search = Page(site / "search.html").fetched
    index = (site / "searchindex.js").read_text("utf-8")

    # Loaded as a script: a browser lets no page of a file:// fetch anything.
    assert any(each.split("?")[0] == "searchindex.js" for each in search)
    assert index.startswith("Search.setIndex(")
    assert '"failures"' in index
