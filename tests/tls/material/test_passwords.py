"""Credentials behind a password: PKCS#12 and encrypted keys."""

from __future__ import annotations

import subprocess
from functools import partial
from pathlib import Path
from typing import cast

import pytest

from mtls_echo.vocabulary import COMMAND_LINE
from mtls_echo_client.endpoints.monitor.remedies import CONFIGURATION
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.files.passwords import PasswordError
from mtls_echo_server.context import ClientAuth, server_context
from mtls_echo_tls.material.errors import ConfigurationError
from mtls_echo_tls.material.load import (
    client_material,
    server_material,
)
from mtls_echo_tls.material.reloader import Reload, Reloader
from mtls_echo_tls.vocabulary import API, Vocabulary
from tests.support.tls import LOCALHOST
from tests.tls.material.material_files import files as files
from tests.tls.material.world import issued


@pytest.fixture
def locked(files: Path) -> Path:
    """`server.p12` and `locked.key`, with the password in `word`."""
    (files / "server.p12").write_bytes(LOCALHOST.pkcs12(b"x"))
    (files / "word").write_bytes(b"x\n")
    (files / "word").chmod(0o600)
    return files


def test_a_password_or_its_file_opens_pkcs12_and_an_encrypted_key(locked: Path) -> None:
    word = locked / "word"
    for material in (
        server_material(cert=locked / "server.p12", password=b"x"),
        server_material(cert=locked / "server.p12", password=lambda: "x"),
        server_material(cert=locked / "server.p12", password_file=word),
        server_material(cert=locked / "server.crt", key=locked / "locked.key", password_file=word),
        client_material(cert=locked / "server.p12", ca=locked / "servers.crt", password_file=word),
    ):
        assert material.credential == LOCALHOST
        assert not any("password" in warning for warning in material.warnings)
        assert material.files.password in (None, word)


def test_a_password_is_asked_for_once_and_only_if_it_is_needed(locked: Path) -> None:
    asked = list[str]()

    def ask() -> str:
        asked.append("")
        return "wrong"

    server_material(cert=locked / "server.crt", key=locked / "server.key", password=ask)
    assert not asked
    # What does not open may be half written: it is read more than once.
    with pytest.raises(PasswordError):
        server_material(cert=locked / "server.p12", password=ask)
    assert len(asked) == 1


def test_a_missing_password_is_asked_for_in_the_words_of_the_reader(locked: Path) -> None:
    def hint(vocabulary: Vocabulary) -> str | None:
        with pytest.raises(PasswordError) as caught:
            server_material(cert=locked / "server.p12", vocabulary=vocabulary)
        return caught.value.hint

    assert hint(API) == "give its password: password or password_file"
    assert hint(COMMAND_LINE) == "give its password: --password-file FILE"
    # It has no setting for a password.
    assert "convert it: openssl pkcs12" in (hint(CONFIGURATION) or "")


def test_of_a_wrong_password_the_hint_tries_the_file(locked: Path) -> None:
    word = locked / "word"
    word.write_bytes(b"y")

    with pytest.raises(PasswordError, match="does not open this PKCS#12 file") as caught:
        server_material(cert=locked / "server.p12", password_file=word)

    correct, _, command = (caught.value.hint or "").partition(", then try it: ")
    assert correct == f"correct the first line of {word}"
    assert subprocess.run(command.split(), capture_output=True).returncode != 0
    word.write_bytes(b"x")
    assert subprocess.run(command.split(), capture_output=True).returncode == 0


def test_a_password_file_is_warned_of_where_it_is_open_or_useless(locked: Path) -> None:
    word = locked / "word"
    word.chmod(0o644)

    material = server_material(cert=locked / "server.p12", password_file=word)
    assert material.warnings == (
        f"every user of this machine can read the password file {word}: chmod 600 {word}",
    )
    word.chmod(0o600)
    key = locked / "server.key"
    key.chmod(0o600)
    material = server_material(cert=locked / "server.crt", key=key, password_file=word)
    assert material.warnings == (f"{key} needs no password: password_file has no effect",)


def test_what_does_not_go_with_a_password_is_refused(locked: Path) -> None:
    word, p12 = locked / "word", locked / "server.p12"
    with pytest.raises(ConfigurationError, match="exclude each other"):
        server_material(cert=p12, password_file=word, password=b"x")
    with pytest.raises(ConfigurationError, match="password_file has no effect without cert"):
        client_material(ca=locked / "servers.crt", password_file=word)
    with pytest.raises(
        ConfigurationError, match=r"server\.p12 is a PKCS#12 file, which has the key"
    ):
        server_material(cert=p12, key=locked / "server.key", password_file=word)
    with pytest.raises(ConfigurationError, match="pki and password_file exclude each other"):
        server_material(pki=locked, password_file=word)


async def test_a_password_file_is_read_anew_with_the_key(tmp_path: Path) -> None:
    file, word = tmp_path / "server.p12", tmp_path / "word"

    def write(credential: Credential, password: bytes) -> None:
        file.write_bytes(credential.pkcs12(password))

    write(issued(), b"one")
    word.write_bytes(b"one\n")
    word.chmod(0o600)
    reloads: list[Reload] = []
    reloader = Reloader(
        partial(server_material, cert=file, password_file=word, client_ca=None),
        lambda material: server_context(  # it asks for no certificate
            cast("Credential", material.credential), client_auth=ClientAuth.NONE
        ),
        settle=0.01,
        tell=reloads.append,
    )
    write(renewed := issued(), b"two")
    assert not await reloader.check()
    word.write_bytes(b"two\n")
    assert await reloader.check()

    assert reloader.material.credential == renewed
    failed, done = reloads
    assert failed.error == f"{file}: the password does not open this PKCS#12 file"
    assert done.changed == ("certificate", "key")


async def test_a_nul_byte_in_a_password_file_is_a_failed_reload_without_the_password(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file, word = tmp_path / "server.p12", tmp_path / "word"
    file.write_bytes(issued().pkcs12(b"sesame"))
    word.write_bytes(b"sesame\n")
    word.chmod(0o600)
    reloads: list[Reload] = []
    reloader = Reloader(
        partial(server_material, cert=file, password_file=word, client_ca=None),
        lambda material: server_context(
            cast("Credential", material.credential), client_auth=ClientAuth.NONE
        ),
        settle=0.01,
        tell=reloads.append,
    )

    word.write_bytes("sesame\n".encode("utf-16-le"))
    assert not await reloader.check()

    (failed,) = reloads
    assert failed.error == f"{word}: its first line has a NUL byte in it: is it UTF-16 text?"
    # Neither as text nor as Rust shows it.
    written = "".join(capfd.readouterr())
    assert "sesame" not in written
    assert "115" not in written


def test_the_hint_for_a_mounted_key_with_a_password_names_what_takes_one(locked: Path) -> None:
    folder = locked / "mounted"
    folder.mkdir()
    for name, source in {
        "tls.crt": "server.crt",
        "tls.key": "locked.key",
        "ca.crt": "servers.crt",
    }.items():
        (folder / name).write_bytes((locked / source).read_bytes())
    prefix = "name its files in place of the folder: "

    with pytest.raises(PasswordError, match="is encrypted") as caught:
        client_material(pki=folder, vocabulary=COMMAND_LINE)
    assert caught.value.hint == (
        f"{prefix}--cert {folder}/tls.crt --key {folder}/tls.key --ca {folder}/ca.crt"
        " --password-file FILE"
    )
    assert client_material(
        cert=folder / "tls.crt",
        key=folder / "tls.key",
        ca=folder / "ca.crt",
        password_file=locked / "word",
    ).credential
    (folder / "ca.crt").unlink()
    with pytest.raises(PasswordError, match="is encrypted") as caught:
        server_material(pki=folder)
    assert caught.value.hint == (
        f"{prefix}cert {folder}/tls.crt, key {folder}/tls.key, password or password_file"
    )
