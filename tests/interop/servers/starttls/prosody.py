"""Prosody: XMPP, where TLS begins inside a stream of XML."""

from __future__ import annotations

from tests.interop.servers.configured import Configured
from tests.interop.servers.running import Server

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

# ``extra`` belongs into the table ``ssl``.
_SETTINGS = Configured(
    file="prosody.cfg.lua",
    template=_CONFIGURATION,
    verify=_VERIFY,
    command=("prosody", "-F", "--config", "{folder}/prosody.cfg.lua"),
)

SERVER = Server("prosody", ("prosody",), _SETTINGS.start, "nothing", "xmpp")
