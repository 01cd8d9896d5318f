"""HAProxy, as a gateway for HTTP: refuses in the handshake, as OpenSSL does."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tests.interop.servers.running import ClientAuth, Files, Server, folder_for, listening

_VERIFY = {
    "required": "verify required",
    "optional": "verify optional",
    "unverified": "verify required crt-ignore-err all ca-ignore-err all",
    "none": "verify none",
}

_CONFIGURATION = """
global
  log stderr local0 err
defaults
  mode http
  log global
  timeout connect 60s
  timeout client 60s
  timeout server 60s
frontend front
  bind 127.0.0.1:{port} ssl crt {pair} ca-file {files.client_ca} {crl} {verify} ssl-min-ver TLSv1.2
  {extra}
  http-request return status 200 content-type text/plain string "hello"
"""


@contextlib.contextmanager
def start(files: Files, client_auth: ClientAuth = "required", *, extra: str = "") -> Iterator[int]:
    """``extra`` belongs into the frontend, before its answer."""
    with folder_for(files) as (folder, mine):
        pair = folder / "pair.pem"
        pair.write_bytes(files.certificate.read_bytes() + files.key.read_bytes())
        pair.chmod(0o644)

        def command(port: int) -> list[str]:
            text = _CONFIGURATION.format(
                port=port,
                pair=pair,
                files=mine,
                crl=f"crl-file {mine.crl}" if mine.crl else "",
                verify=_VERIFY[client_auth],
                extra=extra,
            )
            (folder / "haproxy.cfg").write_text(text)
            (folder / "haproxy.cfg").chmod(0o644)
            return ["haproxy", "-db", "-f", "haproxy.cfg"]

        with listening(folder, command) as port:
            yield port


SERVER = Server("haproxy", ("haproxy",), start)
