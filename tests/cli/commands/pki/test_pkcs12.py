"""`mtls-echo pki issue --pkcs12`: a private file, and a password that is never shown."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import pkcs12

from mtls_echo.commands.pki.pkcs12 import PASSWORD_VARIABLE
from mtls_echo_pki.directory.directory import Directory
from tests.cli.commands.pki.invoking import invoke, refused
from tests.cli.commands.pki.invoking import made as made
from tests.support.pki import tree


@pytest.mark.parametrize("source", ["variable", "file"])
def test_pkcs12_is_private_and_its_password_is_never_shown(
    made: Path, tmp_path: Path, source: str
) -> None:
    packed, secret = tmp_path / "alice.p12", "correct horse"
    (tmp_path / "password").write_text(f"{secret}\nsecond line\n")
    from_file = ["--pkcs12-password-file", str(tmp_path / "password")]

    before = os.umask(0)
    try:
        result = invoke(
            *("issue", made, "alice", "alice@mail.test", "--client", "--pkcs12", packed),
            *(from_file if source == "file" else []),
            env={PASSWORD_VARIABLE: secret if source == "variable" else "not this"},
        )
    finally:
        os.umask(before)

    assert result.exit_code == 0, result.output
    assert secret not in result.output
    assert stat.S_IMODE(packed.stat().st_mode) == 0o600
    unpacked = pkcs12.load_pkcs12(packed.read_bytes(), secret.encode())
    assert unpacked.cert is not None
    assert unpacked.cert.certificate == Directory(made).credential("alice").certificate
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alice.p12", "password", "pki"]


def test_pkcs12_is_read_by_openssl(made: Path, tmp_path: Path) -> None:
    arguments: list[str | Path] = [
        "issue",
        made,
        "alice",
        "alice@mail.test",
        "--client",
        "--pkcs12",
    ]
    assert not invoke(*arguments, tmp_path / "a.p12", env={PASSWORD_VARIABLE: "x"}).exit_code

    listed = subprocess.run(
        ["openssl", "pkcs12", "-in", tmp_path / "a.p12", "-nodes", "-passin", "pass:x"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert "friendlyName: alice" in listed
    assert "BEGIN PRIVATE KEY" in listed


@pytest.mark.parametrize("trouble", ["exists", "no folder", "empty password", "no password file"])
def test_pkcs12_trouble_is_found_before_anything_is_issued(
    made: Path, tmp_path: Path, trouble: str
) -> None:
    packed = tmp_path / "a.p12"
    options: list[str | Path] = []
    if trouble == "exists":
        packed.write_bytes(b"precious")
    elif trouble == "no folder":
        packed = tmp_path / "missing" / "a.p12"
    elif trouble == "no password file":
        options = ["--pkcs12-password-file", tmp_path / "missing"]
    before = tree(tmp_path)

    result = invoke(
        *("issue", made, "alice", "alice@mail.test", "--client", "--pkcs12", packed, *options),
        env={PASSWORD_VARIABLE: "" if trouble == "empty password" else "x"},
    )

    refused(
        result,
        error={
            "exists": "exists already",
            "no folder": "no such file",
            "empty password": "is empty",
            "no password file": "does not exist",
        }[trouble],
    )
    assert tree(tmp_path) == before


def test_a_pkcs12_file_taken_for_what_is_then_refused_is_given_back(
    made: Path, tmp_path: Path
) -> None:
    before = tree(tmp_path)

    refused(
        invoke(
            *("issue", made, "server", "a.test", "--client", "--pkcs12", tmp_path / "a.p12"),
            env={PASSWORD_VARIABLE: "x"},
        ),
        error="already something",
    )

    assert tree(tmp_path) == before
