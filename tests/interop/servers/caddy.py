"""Caddy: Go's TLS, configured by a file of its own."""

from __future__ import annotations

from tests.interop.servers.configured import Configured
from tests.interop.servers.running import Server

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
    {verify}
  }}
  {extra}
  respond "hello"
}}
"""

_CLIENT_AUTH = "client_auth {{\n mode %s\n trusted_ca_cert_file {files.client_ca}\n }}"

_VERIFY = {
    "required": _CLIENT_AUTH % "require_and_verify",
    "optional": _CLIENT_AUTH % "verify_if_given",
    "unverified": _CLIENT_AUTH % "require",
    "none": "",
}

# ``extra`` belongs into the site, before its answer.
_SETTINGS = Configured(
    file="Caddyfile",
    template=_CONFIGURATION,
    verify=_VERIFY,
    command=("caddy", "run", "--config", "Caddyfile", "--adapter", "caddyfile"),
)

SERVER = Server("caddy", ("caddy",), _SETTINGS.start)
