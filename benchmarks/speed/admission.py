"""That a server verifies its clients' certificates, asked before it is measured.

A server that does not would be compared with others for work that it does not do. Some end the
handshake, some close the connection after it: what counts is that a client without a certificate,
or with one of a CA that the server does not trust, gets no echo, and that one with a certificate
that it does trust gets it.
"""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

from benchmarks.speed.material import Material, Workshop
from benchmarks.speed.running import Server, StartError

_SECONDS = 10.0

# The same when it is reversed, as `openssl s_server` does it.
_SENT = b"noon\n"


def require_admission(server: Server, material: Material, workshop: Workshop) -> None:
    """Raise `StartError` if the server serves clients that it cannot have verified, or no client.

    Args:
        server: It is running.
        material: Its certificates and its clients'.
        workshop: Makes the certificate of a CA that the server does not trust.
    """
    _, _, ca = material.client
    foreign, key, _ = workshop.material("foreign").client
    wrong = "it does not verify clients as it is to: one "
    if _echoes(server.port, ca, None):
        raise StartError(f"{wrong}without a certificate is served")
    if _echoes(server.port, ca, (foreign, key)):
        raise StartError(f"{wrong}with a certificate of another CA is served")
    if not _echoes(server.port, ca, material.client[:2]):
        raise StartError(f"{wrong}that it trusts is refused")


def _echoes(port: int, ca: Path, certificate: tuple[Path, Path] | None) -> bool:
    context = ssl.create_default_context(cafile=ca)
    if certificate is not None:
        context.load_cert_chain(*certificate)
    address = ("127.0.0.1", port)
    try:
        with (
            socket.create_connection(address, timeout=_SECONDS) as connection,
            context.wrap_socket(connection, server_hostname="localhost") as stream,
        ):
            stream.sendall(_SENT)
            return stream.recv(len(_SENT)) == _SENT
    except (ssl.SSLError, ConnectionError):
        return False
