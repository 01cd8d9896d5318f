"""The library's texts name no option and no command: those are the application's."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# The hints of the pki component name its commands: its directories are made and mended with them.
LIBRARY = sorted(
    path for component in ("tls", "server", "client") for path in (ROOT / component).rglob("*.py")
)

APPLICATION = re.compile(r"--[a-z]|mtls-echo ")


def texts(source: str) -> Iterator[str]:
    """Every string of a module but its docstrings."""
    tree = ast.parse(source)
    prose = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in prose:
            yield node.value


def named(source: str) -> list[str]:
    return [text for text in texts(source) if APPLICATION.search(text)]


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_text_of_the_library_names_an_option_or_a_command(path: Path) -> None:
    assert named(path.read_text(encoding="utf-8")) == []


def test_such_a_text_would_be_found() -> None:
    source = (
        '"""With --cert."""\nERROR = f"{1}: give --cert FILE"  # --key\nHINT = "mtls-echo serve"'
    )

    assert set(named(source)) == {": give --cert FILE", "mtls-echo serve"}
