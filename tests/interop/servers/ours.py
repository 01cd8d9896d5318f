"""Our own server, as a process."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tests.interop.servers.running import ClientAuth, Files, Server
from tests.support import command_line


@contextlib.contextmanager
def start(files: Files, client_auth: ClientAuth = "required", *, extra: str = "") -> Iterator[int]:
    """``extra`` are further options."""
    options = ["--cert", str(files.certificate), "--key", str(files.key)]
    options += ["--client-auth", client_auth]
    if client_auth != "none":
        options += ["--client-ca", str(files.client_ca)]
    if files.crl:
        options += ["--crl", str(files.crl)]
    with command_line.serving(*options, *extra.split()) as running:
        yield running.port


SERVER = Server("ours", (), start, "echo")
