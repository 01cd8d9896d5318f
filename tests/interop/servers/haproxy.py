"""HAProxy, for HTTP and for any protocol: refuses in the handshake, as OpenSSL does."""

from __future__ import annotations

import contextlib
import socketserver
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.interop.servers.configured import Configured
from tests.interop.servers.running import ClientAuth, Files, Server

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
  mode {mode}
  log global
  timeout connect 60s
  timeout client 60s
  timeout server 60s
frontend front
  bind 127.0.0.1:{port} ssl crt {pair} ca-file {files.client_ca} {crl} {verify} ssl-min-ver TLSv1.2
  {extra}
  {answer}
"""

_BEHIND = "default_backend behind\nbackend behind\n  server echo 127.0.0.1:{port}"
_HELLO = 'http-request return status 200 content-type text/plain string "hello"'


def _settings(mode: str, answer: str) -> Configured:
    def write_pair(folder: Path, files: Files) -> Mapping[str, object]:
        pair = folder / "pair.pem"
        pair.write_bytes(files.certificate.read_bytes() + files.key.read_bytes())
        pair.chmod(0o644)
        return {"pair": pair, "mode": mode, "answer": answer}

    return Configured(
        file="haproxy.cfg",
        template=_CONFIGURATION,
        verify=_VERIFY,
        crl="crl-file {}",
        command=("haproxy", "-db", "-f", "haproxy.cfg"),
        prepare=write_pair,
    )


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            while data := self.request.recv(16 * 1024):
                self.request.sendall(data)


@contextlib.contextmanager
def start_tcp(
    files: Files, client_auth: ClientAuth = "required", *, extra: str = ""
) -> Iterator[int]:
    """Before a server that echoes; ``extra`` belongs into the frontend."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Echo) as echo:
        serving = threading.Thread(target=echo.serve_forever, args=(0.05,))
        serving.start()
        behind = _BEHIND.format(port=echo.server_address[1])
        try:
            with _settings("tcp", behind).start(files, client_auth, extra=extra) as port:
                yield port
        finally:
            echo.shutdown()
            serving.join()


# ``extra`` belongs into the frontend, before its answer.
SERVER = Server("haproxy", ("haproxy",), _settings("http", _HELLO).start)
SERVER_TCP = Server("haproxy-tcp", ("haproxy",), start_tcp, "echo")
