"""What the pki component imports is what the package says it needs."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from pathlib import Path

import mtls_echo_pki

PROJECT = Path(__file__).parents[2] / "pyproject.toml"

# Its plugin is loaded by pytest, and by nothing else.
BROUGHT_BY_THE_USER = {"pytest"}


def test_every_package_that_is_imported_is_declared() -> None:
    sources = list(Path(mtls_echo_pki.__file__).parent.rglob("*.py"))
    imported = {
        name.partition(".")[0]
        for source in sources
        for node in ast.walk(ast.parse(source.read_text("utf-8")))
        for name in _imports(node)
    }
    declared = {
        re.split("[^a-z0-9-]", requirement)[0]
        for requirement in tomllib.loads(PROJECT.read_text("utf-8"))["project"]["dependencies"]
    }

    assert sources
    others = imported - sys.stdlib_module_names - {"mtls_echo_pki"} - BROUGHT_BY_THE_USER
    assert others - declared == set()


def _imports(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    return []
