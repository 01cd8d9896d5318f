"""Run `mtls-echo pki` in this process, and read what it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mtls_echo.commands.pki.group import pki
from mtls_echo_pki.directory.directory import Directory


def invoke(*arguments: str | Path, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(pki, [str(argument) for argument in arguments], env=env)


def refused(result: Result, *, error: str, hint: str | None = None) -> None:
    """Assert a refusal in the form every command has, and no traceback."""
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    lines = result.stderr.splitlines()
    assert lines[0].startswith("mtls-echo: error: ")
    assert error in lines[0]
    if hint is not None:
        assert lines[-1].startswith("mtls-echo: hint: ")
        assert hint in lines[-1]
    assert result.stdout == ""


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return Directory.create(tmp_path / "pki").path
