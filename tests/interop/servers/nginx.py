"""nginx: completes the handshake whatever the client presents, and refuses in HTTP."""

from __future__ import annotations

from tests.interop.servers.configured import Configured
from tests.interop.servers.running import Server

_VERIFY = {"required": "on", "optional": "optional", "unverified": "optional_no_ca", "none": "off"}

_CONFIGURATION = """
pid nginx.pid; daemon off; error_log stderr; worker_processes 1;
events {{ worker_connections 64; }}
http {{
  access_log off; server_tokens on;
  client_body_temp_path t; proxy_temp_path t; fastcgi_temp_path t; uwsgi_temp_path t;
  scgi_temp_path t;
  server {{
    listen 127.0.0.1:{port} ssl;
    ssl_certificate {files.certificate}; ssl_certificate_key {files.key};
    ssl_client_certificate {files.client_ca}; {crl}
    ssl_verify_client {verify};
    ssl_protocols TLSv1.2 TLSv1.3;
    {extra}
    location / {{ return 200 "$ssl_client_verify\\n"; }}
  }}
}}
"""

# ``extra`` belongs into the server block.
_SETTINGS = Configured(
    file="nginx.conf",
    template=_CONFIGURATION,
    verify=_VERIFY,
    crl="ssl_crl {};",
    command=("nginx", "-e", "stderr", "-p", "{folder}", "-c", "nginx.conf"),
)

SERVER = Server("nginx", ("nginx",), _SETTINGS.start)
