"""The files of a server and of a client."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.authorities import CLIENTS, SERVERS
from tests.support.tls import ALICE, LOCALHOST


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name, content in {
        "server.crt": LOCALHOST.certificate_pem,
        "server.key": LOCALHOST.key_pem,
        "client.crt": ALICE.certificate_pem,
        "client.key": ALICE.key_pem,
        "servers.crt": SERVERS.trust.pem,
        "clients.crt": CLIENTS.trust.pem,
        "empty": b"",
        "text": b"nothing of interest\n",
        "cut": LOCALHOST.certificate_pem[:200],
    }.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder").mkdir()
    for arguments in (
        ["x509", "-in", "server.crt", "-outform", "DER", "-out", "server.der"],
        ["pkey", "-in", "server.key", "-aes256", "-passout", "pass:x", "-out", "locked.key"],
    ):
        subprocess.run(["openssl", *arguments], cwd=tmp_path, check=True, capture_output=True)
    return tmp_path
