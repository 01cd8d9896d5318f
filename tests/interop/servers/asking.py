"""Ask a server by `mtls-echo connect`, in this process: its exit status, and its report."""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from mtls_echo.commands.connect import connect
from tests.interop.servers.running import Files, Server

# Ours are for `localhost` and `client.test`, as `tests.interop.foreign_peers.write_material` has
# them: what is wrong with a certificate of that name, or of the server's when we refuse that.
CLIENTS = {
    "good": "client",
    "none": "none",
    "expired": "client-expired",
    "foreign": "client-of-another-authority",
    "usage": "client-with-a-server-certificate",
    "refused": "client",
}
VERSIONS = ("1.2", "1.3")

# Against a hang only: a refusal ends the wait for it, and nothing follows acceptance.
_LATEST = "60"
_AT_ONCE = "0.05"


class Verdict(NamedTuple):
    """What the command says of a server."""

    status: int
    report: dict[str, Any]

    @property
    def first(self) -> str | None:
        """The first cause."""
        causes: list[str] = self.report["causes"]
        return causes[0] if causes else None


def files_of(material: Path) -> Files:
    """A good server's files."""
    return Files(material / "server.crt", material / "server.key", material / "clients.crt")


def ask(server: Server, port: int, material: Path, who: str, tls: str, *more: str) -> Verdict:
    """Connect as one of `CLIENTS`, in the way that fits the server."""
    return ask_with(port, *way(server), *options(material, who), "--tls", tls, *more)


def way(server: Server, *, refused: bool = False) -> list[str]:
    """The options that fit what a server speaks."""
    found = ["--starttls", server.starttls] if server.starttls else []
    if server.speaks == "http":
        return [*found, "--http"]
    if server.speaks == "echo":
        return [*found, "level"]
    return [*found, "--handshake", "--wait", _LATEST if refused else _AT_ONCE]


def options(material: Path, who: str) -> list[str]:
    """The files of one of `CLIENTS`."""
    # Of the clients' CA no server has its certificate: then we refuse it.
    trust = material / ("clients.crt" if who == "refused" else "servers.crt")
    name = CLIENTS[who]
    own = ["--no-cert"] if name == "none" else []
    if name != "none":
        own = ["--cert", str(material / f"{name}.crt"), "--key", str(material / f"{name}.key")]
    return ["--ca", str(trust), *own]


def ask_with(port: int, *arguments: str) -> Verdict:
    """Run the command, with a report in place of everything else that it prints."""
    status = 0
    with tempfile.TemporaryFile() as file:
        output = io.TextIOWrapper(file, write_through=True)
        with contextlib.redirect_stdout(output):
            try:
                connect.main([f"localhost:{port}", *arguments, "--json"], standalone_mode=False)
            except SystemExit as ended:
                status = int(ended.code or 0)
        file.seek(0)
        return Verdict(status, json.loads(file.read()))
