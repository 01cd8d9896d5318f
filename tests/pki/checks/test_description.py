"""What `pki show` says of certificates that others made."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mtls_echo_pki.checks.description import describe
from mtls_echo_pki.files.trust_anchors import read_trust

CONFIGURATION = "[req]\ndistinguished_name=name\n[name]\n[v3]\nbasicConstraints=CA:FALSE\n"
KEYS = {
    "RSA 2048": "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048",
    "RSA-PSS 2048": "openssl genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048",
    "DSA 1024": "openssl dsaparam -genkey 1024",
    "Ed448": "openssl genpkey -algorithm ED448",
    "EC brainpoolP256r1": "openssl ecparam -name brainpoolP256r1 -genkey -noout",
    "EC, on a curve that is not known here": "openssl ecparam -name SM2 -genkey -noout",
}


def made(folder: Path, command: str, *options: str) -> Path:
    (folder / "openssl.cnf").write_text(CONFIGURATION)
    key = subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    (folder / "key.pem").write_bytes(key.stdout)
    new = ["-x509", "-key", "key.pem", "-subj", "/CN=a", "-out", "made.crt", *options]
    subprocess.run(
        ["openssl", "req", "-config", "openssl.cnf", *new],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return folder / "made.crt"


@pytest.mark.parametrize(("name", "command"), KEYS.items(), ids=KEYS)
def test_a_key_is_called_by_its_kind(name: str, command: str, tmp_path: Path) -> None:
    path = made(tmp_path, command, "-extensions", "v3")
    (certificate,) = read_trust(path).anchors

    described = describe(certificate, path=path, position=1)

    assert (described.key, described.version) == (name, 3)


def test_a_version_that_is_not_3_is_said(tmp_path: Path) -> None:
    path = made(tmp_path, KEYS["Ed448"])
    (certificate,) = read_trust(path).anchors

    assert describe(certificate, path=path, position=1).version == 1
