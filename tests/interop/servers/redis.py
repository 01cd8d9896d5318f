"""Redis: TLS at once; what becomes of a client is decided in the handshake."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tests.interop.servers.running import ClientAuth, Files, Server, folder_for, listening

_VERIFY = {"required": "yes", "optional": "optional", "none": "no"}


@contextlib.contextmanager
def start(files: Files, client_auth: ClientAuth = "required", *, extra: str = "") -> Iterator[int]:
    """``extra`` are further options."""
    with folder_for(files) as (folder, mine):

        def command(port: int) -> list[str]:
            options = ["--bind", "127.0.0.1", "--port", "0", "--tls-port", str(port)]
            options += ["--tls-cert-file", str(mine.certificate), "--tls-key-file", str(mine.key)]
            options += ["--tls-ca-cert-file", str(mine.client_ca)]
            options += ["--tls-auth-clients", _VERIFY[client_auth], "--save", ""]
            return ["redis-server", *options, *extra.split()]

        with listening(folder, command) as port:
            yield port


SERVER = Server("redis", ("redis-server",), start, "nothing")
