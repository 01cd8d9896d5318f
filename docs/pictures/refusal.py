"""Two terminals: a client without a certificate, explained by both ends."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from docs.pictures.session import Command, environment, free_port
from docs.pictures.terminal import Window, draw, prompt

from mtls_echo_pki.directory.directory import Directory

_COLUMNS = 90

_DESCRIPTION = (
    "Two terminals. In one a server refuses a client that presents no certificate; in the other"
    " that client says who refused it, why, and what to do."
)


def picture() -> str:
    """Run the commands, and draw their terminals."""
    with tempfile.TemporaryDirectory() as home:
        return draw(_windows(Path(home)), _DESCRIPTION)


def _windows(home: Path) -> list[Window]:
    variables = environment(home)
    # As from the second start on: at the first, a path in this home would be in the log.
    Directory.create(home / ".local" / "state" / "mtls-echo" / "pki")
    port = free_port()
    server = Command(f"mtls-echo serve --listen 127.0.0.1:{port}", variables, _COLUMNS)
    try:
        server.wait_for("listening")
        client = ""
        for options in ("", " --no-cert"):
            line = f"mtls-echo connect localhost:{port} hello{options}"
            connecting = Command(line, variables, _COLUMNS)
            status = connecting.end()
            client += prompt(line) + connecting.printed
        client += f"{prompt('echo $?')}{status}\n"
        server.wait_for("refused")
    finally:
        server.stop()
    served, _, _ = server.printed.partition("stopping")
    served = served[: served.rindex("\n") + 1]
    windows = [
        Window("terminal 1: the server", prompt("mtls-echo serve") + served, _COLUMNS),
        Window("terminal 2: a client", client, _COLUMNS),
    ]
    return [replace(each, text=each.text.replace(str(port), "8443")) for each in windows]
