"""A Python program (blocking `ssl`) at one end of mutual TLS that says what it saw.

    python refused.py client FOLDER PORT VERSION/CREDENTIAL/BYTES/TIMES...
        connects TIMES times, sends BYTES bytes each, and reads until the verdict
    python refused.py server FOLDER VERSION/CREDENTIAL...
        listens once per case ("port<TAB>CASE<TAB>PORT") and echoes, until it is killed

Each line is "saw<TAB>CASE<TAB>TEXT": "echoed N", "end of file", or the exception, in Python's own
words. FOLDER holds CREDENTIAL.crt and .key, servers.crt and clients.crt (trust anchors), and may
hold settings.json: "ciphers" (of TLS 1.2), "crl" (a file), "strict" (RFC 5280 as Python has it by
default since 3.13).
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
import threading
from pathlib import Path
from typing import Any

TIMEOUT = 20.0  # against a hang only
VERSIONS = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}


def say(kind: str, name: str, text: str) -> None:
    """One line of output."""
    print(kind, name, text.replace("\n", " "), sep="\t", flush=True)


def context(folder: Path, anchors: str, version: str, credential: str) -> ssl.SSLContext:
    """As a program makes it that verifies its peer: `ssl.create_default_context`."""
    is_server = anchors == "clients.crt"
    purpose = ssl.Purpose.CLIENT_AUTH if is_server else ssl.Purpose.SERVER_AUTH
    found = ssl.create_default_context(purpose, cafile=folder / anchors)
    found.verify_mode = ssl.CERT_REQUIRED
    found.minimum_version = found.maximum_version = VERSIONS[version]
    path = folder / "settings.json"
    settings: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    if "ciphers" in settings:
        found.set_ciphers(settings["ciphers"])
    if "crl" in settings:
        found.load_verify_locations(settings["crl"])
        found.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    if settings.get("strict"):
        found.verify_flags |= ssl.VERIFY_X509_STRICT
    if credential != "none":
        found.load_cert_chain(folder / f"{credential}.crt", folder / f"{credential}.key")
    return found


def connect(port: int, settings: ssl.SSLContext, size: int) -> str:
    """What a client sees."""
    try:
        with (
            socket.create_connection(("127.0.0.1", port), TIMEOUT) as tcp,
            settings.wrap_socket(tcp, server_hostname="localhost") as tls,
        ):
            tls.sendall((b"hello\n" * (size // 6 + 1))[:size])
            echoed = 0
            while chunk := tls.recv(65536):
                echoed += len(chunk)
                if echoed >= size:
                    return f"echoed {echoed}"
            return "end of file"
    except OSError as error:
        return f"{type(error).__name__}: {error}"


def serve(listener: socket.socket, settings: ssl.SSLContext, name: str) -> None:
    """Echo, one connection at a time."""
    while True:
        tcp, _ = listener.accept()
        tcp.settimeout(TIMEOUT)
        try:
            with tcp, settings.wrap_socket(tcp, server_side=True) as tls:
                echoed = 0
                while chunk := tls.recv(65536):
                    tls.sendall(chunk)
                    echoed += len(chunk)
            say("saw", name, f"echoed {echoed}")
        except OSError as error:
            say("saw", name, f"{type(error).__name__}: {error}")


def main(mode: str, folder: Path, *rest: str) -> None:
    """See the module."""
    if mode == "client":
        port, *cases = rest
        for name in cases:
            version, credential, size, times = name.split("/")
            settings = context(folder, "servers.crt", version, credential)
            for _ in range(int(times)):
                say("saw", name, connect(int(port), settings, int(size)))
        return
    for name in rest:
        settings = context(folder, "clients.crt", *name.split("/"))
        listener = socket.create_server(("127.0.0.1", 0))
        say("port", name, str(listener.getsockname()[1]))
        threading.Thread(target=serve, args=(listener, settings, name)).start()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
