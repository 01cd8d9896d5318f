"""Caddy: Go's TLS, configured by a file of its own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tests.interop.servers.running import ClientAuth, Files, Server, folder_for, listening

_MODES = {
    "required": "require_and_verify",
    "optional": "verify_if_given",
    "unverified": "require",
}

_CONFIGURATION = """
{{
  admin off
  auto_https off
  storage file_system {folder}
  log {{
    output stderr
    level ERROR
  }}
}}
https://localhost:{port} {{
  bind 127.0.0.1
  tls {files.certificate} {files.key} {{
    {client_auth}
  }}
  {extra}
  respond "hello"
}}
"""

_CLIENT_AUTH = "client_auth {{\n mode {mode}\n trusted_ca_cert_file {files.client_ca}\n }}"


@contextlib.contextmanager
def start(files: Files, client_auth: ClientAuth = "required", *, extra: str = "") -> Iterator[int]:
    """``extra`` belongs into the site, before its answer."""
    with folder_for(files) as (folder, mine):
        demands = client_auth != "none"
        block = _CLIENT_AUTH.format(mode=_MODES[client_auth], files=mine) if demands else ""

        def command(port: int) -> list[str]:
            text = _CONFIGURATION.format(
                port=port, folder=folder, files=mine, client_auth=block, extra=extra
            )
            (folder / "Caddyfile").write_text(text)
            (folder / "Caddyfile").chmod(0o644)
            return ["caddy", "run", "--config", "Caddyfile", "--adapter", "caddyfile"]

        with listening(folder, command) as port:
            yield port


SERVER = Server("caddy", ("caddy",), start)
