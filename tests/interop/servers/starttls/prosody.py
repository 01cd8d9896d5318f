"""Prosody: XMPP, where TLS begins inside a stream of XML."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tests.interop.servers.running import ClientAuth, Files, Server, folder_for, listening

_VERIFY = {
    "required": '"peer", "fail_if_no_peer_cert"',
    "optional": '"peer"',
    "none": '"none"',
}

_CONFIGURATION = """
run_as_root = true
daemonize = false
pidfile = "{folder}/prosody.pid"
data_path = "{folder}/data"
certificates = "{folder}"
log = {{ {{ levels = {{ min = "warn" }}, to = "console" }} }}
modules_enabled = {{ "saslauth", "tls", "disco" }}
modules_disabled = {{ "s2s" }}
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {port} }}
c2s_require_encryption = true
authentication = "anonymous"
storage = "memory"
ssl = {{
  certificate = "{files.certificate}",
  key = "{files.key}",
  cafile = "{files.client_ca}",
  verify = {{ {verify} }},
  {extra}
}}
VirtualHost "localhost"
"""


@contextlib.contextmanager
def start(files: Files, client_auth: ClientAuth = "required", *, extra: str = "") -> Iterator[int]:
    """``extra`` belongs into the table ``ssl``."""
    with folder_for(files) as (folder, mine):

        def command(port: int) -> list[str]:
            text = _CONFIGURATION.format(
                port=port, folder=folder, files=mine, verify=_VERIFY[client_auth], extra=extra
            )
            (folder / "prosody.cfg.lua").write_text(text)
            (folder / "prosody.cfg.lua").chmod(0o644)
            return ["prosody", "-F", "--config", str(folder / "prosody.cfg.lua")]

        with listening(folder, command) as port:
            yield port


SERVER = Server("prosody", ("prosody",), start, "nothing", "xmpp")
