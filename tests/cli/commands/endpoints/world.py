"""Servers, their PKI and the command line, for the tests of `mtls-echo endpoints`."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mtls_echo_pki.directory.directory import Directory
from tests.support.command_line import Serving, run
from tests.support.command_line import serving as echo_server


class World:
    """Two PKIs, a server under each, and a folder for configurations."""

    def __init__(self, folder: Path, one: Serving, two: Serving) -> None:
        self.folder = folder
        self.one, self.two = one, two

    def write(self, *groups: str, name: str = "endpoints.yaml") -> str:
        path = self.folder / name
        path.write_text("".join(groups), "utf-8")
        return str(path)

    def targets(self, *ports: int) -> None:
        written = self.folder / "targets.json.new"
        written.write_text(json.dumps([{"targets": [f"127.0.0.1:{port}" for port in ports]}]))
        written.rename(self.folder / "targets.json")


def group(
    *ports: int, pki: str | None = "one", mode: str = "", files: str = "", client: bool = True
) -> str:
    """A group in the form proposed for Thanos."""
    lines = [f"- endpoints: {json.dumps([f'127.0.0.1:{port}' for port in ports])}"]
    if pki is not None:
        lines += ["  tls_config:", f"    ca_file: {pki}/trust/servers/ca.crt"]
        if client:
            lines += [
                f"    cert_file: {pki}/client/tls.crt",
                f"    key_file: {pki}/client/tls.key",
            ]
        lines += ["    server_name: localhost"]
    if files:
        lines += ["  endpoints_sd_files:", f"    - files: [{files}]"]
    lines += [f'  mode: "{mode}"']
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    for name in ("one", "two"):
        Directory.create(folder / name)
    with echo_server(pki=folder / "one") as one, echo_server(pki=folder / "two") as two:
        yield World(folder, one, two)


def endpoints(file: str, *options: str, **more: Any) -> subprocess.CompletedProcess[str]:
    ran = run("endpoints", "--endpoint.config-file", file, *options, **more)
    assert "Traceback" not in ran.stderr, ran.stderr
    return ran
