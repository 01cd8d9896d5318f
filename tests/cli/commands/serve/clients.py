"""Clients of a running `mtls-echo serve`, and its PKI directory."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Generator
from pathlib import Path

import pytest

from mtls_echo_pki.directory.directory import Directory
from tests.support.servers import VERSIONS, ServeProcess

versions = pytest.mark.parametrize(
    "version", [version for _, version in VERSIONS], ids=[name for name, _ in VERSIONS]
)


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    return Directory.create(tmp_path / "pki")


def client_of(
    directory: Directory,
    name: str | None = "client",
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = context.maximum_version = version
    directory.trust("servers").load_into(context)
    if name is not None:
        directory.credential(name).load_into(context)
    return context


def assert_echoes(running: ServeProcess, context: ssl.SSLContext) -> None:
    with running.connect(context) as tls:
        tls.sendall(b"hello")
        assert tls.recv(5) == b"hello"
        tls.unwrap().close()


@contextlib.contextmanager
def never_reading(running: ServeProcess, context: ssl.SSLContext) -> Generator[None]:
    """A client that sends, and reads nothing of what comes back: its connection never rests."""
    with running.connect(context) as tls:

        def send() -> None:
            with contextlib.suppress(OSError):
                tls.sendall(b"x" * 100_000_000)  # more than the kernel's buffers hold

        sender = threading.Thread(target=send)
        sender.start()
        running.event("accepted")
        yield
        sender.join()  # the server is gone by now, or has cut us off
