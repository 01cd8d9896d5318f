"""The one public entry: `mtls_echo` gives what docs/library.md names, and loads it when used."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mtls_echo
import mtls_echo.endpoints

ROOT = Path(__file__).parents[2]
NAMES: list[str] = vars(mtls_echo)["__all__"]


def test_the_public_names_are_those_of_the_table_in_the_docs() -> None:
    page = (ROOT / "docs" / "library.md").read_text("utf-8")
    table = page[page.index("## The public names") :]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]

    assert sorted(re.findall(r"`(\w+)`", "".join(rows))) == sorted(NAMES)


def test_type_checkers_see_the_same_names_at_the_same_places() -> None:
    source = Path(mtls_echo.__file__).read_text("utf-8")
    seen = {
        alias.name: node.module
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("mtls_echo")
        for alias in node.names
    }

    assert seen.keys() == {*NAMES}
    for name, module in seen.items():
        assert getattr(mtls_echo, name) is getattr(sys.modules[str(module)], name)
    assert {*dir(mtls_echo)} >= {*NAMES}


def test_another_name_is_an_error_as_in_any_module() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        getattr(mtls_echo, "nothing")  # noqa: B009  a checker would find it


def test_to_import_the_package_loads_none_of_what_it_offers() -> None:
    program = "import mtls_echo, sys; print(*{'trio', 'ssl', 'cryptography'} & {*sys.modules})"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert ran.stdout.strip() == "", ran.stderr


def test_endpoints_exports_what_it_says() -> None:
    for name in mtls_echo.endpoints.__all__:
        assert getattr(mtls_echo.endpoints, name).__name__ == name
