"""The right password, and a file that cannot be used all the same."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mtls_echo_pki.files.passwords import PasswordError
from mtls_echo_pki.files.pem import read_credential
from mtls_echo_pki.files.pem_blocks import MaterialError
from mtls_echo_pki.files.private_key import is_locked

MAKE = "openssl ecparam -name {} -genkey -noout -out key.pem"
CERTIFY = "openssl req -x509 -new -key key.pem -subj /CN=a.test -out cert.pem"
ENCRYPT = "openssl pkcs8 -topk8 -in key.pem -passout {} -out new.key"
EXPORT = "openssl pkcs12 -export -in cert.pem -inkey key.pem -passout {} -out x.p12"


def make(folder: Path, curve: str = "prime256v1", source: str = "pass:geheim") -> None:
    for command in (MAKE.format(curve), CERTIFY, ENCRYPT, EXPORT):
        words = command.format(source).split()
        subprocess.run(words, cwd=folder, check=True, capture_output=True)


@pytest.mark.parametrize("curve", ["sect283k1", "SM2", "brainpoolP160r1"])
def test_an_unsupported_key_is_not_said_to_be_a_wrong_password(curve: str, tmp_path: Path) -> None:
    make(tmp_path, curve)
    files, file = (tmp_path / "cert.pem", tmp_path / "new.key"), tmp_path / "x.p12"

    with pytest.raises(PasswordError) as caught:
        read_credential(*files, password=b"geheim")
    assert caught.value.reason == (
        "the password does not decrypt the private key, or the key, or its encryption, cannot be"
        " used here"
    )
    with pytest.raises(PasswordError) as caught:
        read_credential(file, file, password=b"geheim")
    assert caught.value.reason == (
        "the password does not open this PKCS#12 file, or its private key, a certificate or its"
        " encryption cannot be used here"
    )


def test_an_unsupported_key_without_a_password_is_not_said_to_have_one(tmp_path: Path) -> None:
    make(tmp_path, "sect283k1")
    file = tmp_path / "x.p12"
    subprocess.run(EXPORT.format("pass:").split(), cwd=tmp_path, check=True)

    assert not is_locked(file)
    with pytest.raises(MaterialError, match="whose private key is of a kind, or on a curve, that"):
        read_credential(file, file)


def test_a_password_of_which_openssl_read_a_part_is_said_to_be_long(tmp_path: Path) -> None:
    (tmp_path / "word").write_bytes(b"x" * 2000)
    make(tmp_path, source="file:word")
    file = tmp_path / "x.p12"

    for files in ((file, file), (tmp_path / "cert.pem", tmp_path / "new.key")):
        with pytest.raises(PasswordError) as caught:
            read_credential(*files, password=b"x" * 2000)
        assert caught.value.reason.endswith(
            ": it has 2000 bytes, and openssl reads 1023 of a file's line"
        )
        assert read_credential(*files, password=b"x" * 1023).key_pem


def test_a_password_in_latin_1_is_said_to_be_one_and_the_command_helps(tmp_path: Path) -> None:
    (tmp_path / "word").write_bytes("gehëim".encode("latin-1"))
    make(tmp_path, source="file:word")
    file = tmp_path / "x.p12"

    with pytest.raises(PasswordError, match="the password is not UTF-8 text") as caught:
        read_credential(file, file, password=(tmp_path / "word").read_bytes())

    command = (caught.value.hint or "").removeprefix("convert it: ")
    subprocess.run([*command.split(), "-passin", f"file:{tmp_path / 'word'}"], check=True)
    made = tmp_path / "x.p12.pem"
    assert read_credential(made, made).key_pem
