"""nginx: completes the handshake whatever the client presents, and refuses in HTTP."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tests.interop.servers.running import ClientAuth, Files, Server, folder_for, listening

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


@contextlib.contextmanager
def start(files: Files, client_auth: ClientAuth = "required", *, extra: str = "") -> Iterator[int]:
    """``extra`` belongs into the server block."""
    with folder_for(files) as (folder, mine):

        def command(port: int) -> list[str]:
            text = _CONFIGURATION.format(
                port=port,
                files=mine,
                crl=f"ssl_crl {mine.crl};" if mine.crl else "",
                verify=_VERIFY[client_auth],
                extra=extra,
            )
            (folder / "nginx.conf").write_text(text)
            (folder / "nginx.conf").chmod(0o644)
            return ["nginx", "-e", "stderr", "-p", str(folder), "-c", "nginx.conf"]

        with listening(folder, command) as port:
            yield port


SERVER = Server("nginx", ("nginx",), start)
