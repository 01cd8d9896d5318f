"""A complete mTLS server in a few lines, as the documentation shows it."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
import threading
from pathlib import Path

from mtls_echo_pki import Directory

from .server_helpers import PATIENCE

PROGRAM = '''\
"""Greets each client by the name that its certificate proves."""

import trio

from mtls_echo_pki import Directory
from mtls_echo_server import serve, server_context
from mtls_echo_tls import TLSStream


async def greet(stream: TLSStream) -> None:
    await stream.send_all(f"hello {stream.peer}\\n".encode())
    while data := await stream.receive_some():
        await stream.send_all(data.upper())


async def main() -> None:
    pki = Directory("pki")
    context = server_context(pki.credential("server"), pki.trust("clients"))
    async with trio.open_nursery() as nursery:
        [(host, port)] = await nursery.start(serve, context, "127.0.0.1:0", greet)
        print(f"serving on {host}:{port}", flush=True)


trio.run(main)
'''


def test_a_complete_server_takes_25_lines(tmp_path: Path) -> None:
    assert len(PROGRAM.splitlines()) <= 26
    pki = Directory.create(tmp_path / "pki")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    pki.trust("servers").load_into(context)
    pki.credential("client").load_into(context)
    server = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    watchdog = threading.Timer(PATIENCE, server.kill)
    watchdog.start()
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline().rpartition(":")[2])
        with (
            socket.create_connection(("127.0.0.1", port)) as tcp,
            context.wrap_socket(tcp, server_hostname="localhost") as tls,
        ):
            assert tls.recv(100) == b"hello client.test\n"
            tls.sendall(b"echo")
            assert tls.recv(100) == b"ECHO"
    finally:
        server.kill()
        server.communicate()
        watchdog.cancel()
