"""How many of something there are, where the README and its comparison say so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mtls_echo.gallery.collection import EXHIBITS
from mtls_echo_pki.flaws.registry import FLAWS

ROOT = Path(__file__).parents[2]
VOCABULARY = ROOT / "tls" / "mtls_echo_tls" / "explain" / "vocabulary"


def _said(page: str) -> str:
    return " ".join((ROOT / page).read_text("utf-8").split())


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("README.md", r"(\d+) deliberate flaws"),
        ("README.md", r"(\d+) faults"),
        ("docs/compare.md", r"`mtls-echo pki flaws` lists (\d+)"),
    ],
)
def test_every_flaw_is_counted(page: str, words: str) -> None:
    assert re.findall(words, _said(page)) == [str(len(FLAWS))]


def test_the_gallery_has_some_hundred_servers() -> None:
    assert "it meets some hundred, offline" in _said("README.md")
    assert 95 <= len(EXHIBITS) <= 115


def test_what_explain_knows_is_counted_in_hundreds() -> None:
    rows = sum(
        len(table.read_text("utf-8").splitlines()) - 1 for table in VOCABULARY.glob("*.tsv")
    )

    assert f"knows {rows // 100 * 100:,} texts" in _said("README.md")
