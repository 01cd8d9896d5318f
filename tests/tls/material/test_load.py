"""The files of a server or a client are read, or the reason says which is wrong."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.files.atomic_writer import publish
from mtls_echo_pki.files.pem_blocks import MaterialError
from mtls_echo_pki.files.staging import DirectoryError
from mtls_echo_tls.material.errors import ConfigurationError
from mtls_echo_tls.material.load import (
    client_material,
    default_pki,
    server_material,
)
from tests.support.authorities import CLIENTS, SERVERS
from tests.support.timing import TIMEOUT
from tests.support.tls import LOCALHOST
from tests.tls.material.material_files import files as files


def test_a_servers_files_are_read(files: Path) -> None:
    material = server_material(
        cert=files / "server.crt", key=files / "server.key", client_ca=files / "clients.crt"
    )
    assert material.credential is not None
    assert material.credential.fingerprint == LOCALHOST.fingerprint
    assert material.trust is not None
    assert material.trust.anchors == CLIENTS.trust.anchors
    assert material.warnings == ()
    assert material.not_after == LOCALHOST.certificate.not_valid_after_utc
    assert material.source == str(files / "server.crt")
    assert not material.created


def test_a_client_may_come_without_a_certificate(files: Path) -> None:
    material = client_material(ca=files / "servers.crt")
    assert material.credential is None
    assert material.not_after is None
    assert material.trust is not None


def test_a_generation_changes_with_the_material_and_only_then(files: Path) -> None:
    def read() -> str:
        return client_material(
            cert=files / "client.crt", key=files / "client.key", ca=files / "servers.crt"
        ).generation

    first = read()
    assert read() == first
    other = CLIENTS.issue(Request.client("alice.test"))
    (files / "client.crt").write_bytes(other.certificate_pem)
    (files / "client.key").write_bytes(other.key_pem)
    second = read()
    assert second != first
    (files / "servers.crt").write_bytes(CLIENTS.trust.pem)
    assert read() not in (first, second)


@pytest.mark.parametrize(
    ("cert", "key", "blamed"),
    [
        ("missing", "server.key", "missing"),
        ("server.crt", "missing", "missing"),
        ("folder", "server.key", "folder"),
        ("empty", "server.key", "empty"),
        ("server.crt", "empty", "empty"),
        ("text", "server.key", "text"),
        ("cut", "server.key", "cut"),
        ("server.der", "server.key", "server.der"),
        ("server.key", "server.key", "server.key"),
        ("server.crt", "server.crt", "server.crt"),
        ("server.crt", "locked.key", "locked.key"),
        ("server.crt", "client.key", "client.key"),
    ],
)
def test_a_wrong_file_is_named_with_a_reason_and_no_passphrase_is_asked_for(
    files: Path, cert: str, key: str, blamed: str
) -> None:
    with pytest.raises(MaterialError) as caught:
        server_material(cert=files / cert, key=files / key)
    assert caught.value.path == files / blamed
    assert caught.value.reason
    assert "PEM lib" not in str(caught.value)
    assert not caught.value.reason.endswith(".")


@pytest.mark.parametrize("name", ["missing", "folder", "empty", "text", "server.key", "cut"])
def test_a_wrong_file_of_trust_anchors_is_named(files: Path, name: str) -> None:
    with pytest.raises(MaterialError) as caught:
        client_material(ca=files / name)
    assert caught.value.path == files / name


def test_an_encrypted_key_is_an_error_and_not_a_prompt(files: Path) -> None:
    # In a process of its own: a prompt would read the terminal, and hang without one.
    program = (
        "from pathlib import Path\n"
        "from mtls_echo import MaterialError\n"
        "from mtls_echo_tls.material.load import server_material\n"
        "try: server_material(cert=Path('server.crt'), key=Path('locked.key'))\n"
        "except MaterialError as error: print(error)\n"
    )
    finished = subprocess.run(
        [sys.executable, "-c", program],
        cwd=files,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=True,
    )
    assert "encrypted" in finished.stdout
    assert "pass phrase" not in (finished.stdout + finished.stderr).lower()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        pytest.param({"cert": "server.crt"}, "key is missing", id="no key"),
        pytest.param({"key": "server.key"}, "cert is missing", id="no certificate"),
        pytest.param({"client_ca": "clients.crt"}, "cert is missing", id="only a CA"),
        pytest.param(
            {"pki": "pki", "client_ca": "clients.crt"}, "pki and client_ca exclude", id="mixed"
        ),
    ],
)
def test_a_servers_incomplete_or_mixed_options_are_refused(
    files: Path, arguments: dict[str, str], complaint: str
) -> None:
    with pytest.raises(ConfigurationError, match=complaint) as caught:
        server_material(**{name: files / path for name, path in arguments.items()})  # type: ignore[arg-type]  # paths only
    assert caught.value.hint
    assert not (files / "pki").exists()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        pytest.param({"cert": "client.crt", "key": "client.key"}, "ca is missing", id="no CA"),
        pytest.param({"ca": "servers.crt", "cert": "client.crt"}, "key is missing", id="no key"),
        pytest.param(
            {"ca": "servers.crt", "key": "client.key"}, "cert is missing", id="no certificate"
        ),
        pytest.param({"pki": "pki", "ca": "servers.crt"}, "pki and ca exclude", id="mixed"),
    ],
)
def test_a_clients_incomplete_or_mixed_options_are_refused(
    files: Path, arguments: dict[str, str], complaint: str
) -> None:
    with pytest.raises(ConfigurationError, match=complaint):
        client_material(**{name: files / path for name, path in arguments.items()})  # type: ignore[arg-type]  # paths only


def test_no_certificate_and_a_certificate_exclude_each_other(files: Path) -> None:
    with pytest.raises(ConfigurationError, match="no_cert contradicts cert"):
        client_material(
            ca=files / "servers.crt",
            cert=files / "client.crt",
            key=files / "client.key",
            no_cert=True,
        )


def test_a_directory_is_made_once_and_serves_both_ends(tmp_path: Path) -> None:
    one = server_material(pki=tmp_path / "pki")
    other = client_material(pki=tmp_path / "pki")
    assert one.created
    assert not other.created
    assert one.credential is not None
    assert other.credential is not None
    assert one.trust is not None
    assert other.trust is not None
    assert one.credential.certificate.issuer == other.trust.anchors[0].subject
    assert other.credential.certificate.issuer == one.trust.anchors[0].subject
    assert client_material(pki=tmp_path / "pki", no_cert=True).credential is None
    with pytest.raises((DirectoryError, MaterialError)):
        client_material(pki=tmp_path / "pki", name="absent")


def test_the_default_directory_follows_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MTLS_ECHO_PKI", os.fspath(tmp_path / "here"))
    assert default_pki() == tmp_path / "here"
    assert server_material().created
    monkeypatch.delenv("MTLS_ECHO_PKI")
    assert default_pki().name == "pki"


def test_a_certificates_file_may_have_the_key_in_it(files: Path) -> None:
    both = files / "both.pem"
    both.write_bytes(LOCALHOST.certificate_pem + LOCALHOST.key_pem)

    server = server_material(cert=both, client_ca=files / "clients.crt")
    client = client_material(cert=both, ca=files / "servers.crt")

    for material in (server, client):
        assert material.credential is not None
        assert material.credential.fingerprint == LOCALHOST.fingerprint
        assert material.files.key == both


def test_a_file_in_another_form_is_named_where_no_key_is_given(files: Path) -> None:
    with pytest.raises(MaterialError, match="is a DER certificate"):
        server_material(cert=files / "server.der")


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    contents = {
        "tls.crt": LOCALHOST.certificate_pem,
        "tls.key": LOCALHOST.key_pem,
        "ca.crt": CLIENTS.trust.pem,
    }
    publish(tmp_path / "secret", contents, {})
    return tmp_path / "secret"


def test_a_mounted_secret_takes_the_place_of_a_directory(secret: Path) -> None:
    server = server_material(pki=secret)
    client = client_material(pki=secret, no_cert=True)

    assert server.credential is not None
    assert server.credential.fingerprint == LOCALHOST.fingerprint
    assert server.trust == client.trust == CLIENTS.trust
    assert server.files.anchors == secret / "ca.crt"
    assert client.credential is None
    assert not server.created


def test_a_secret_without_a_ca_is_enough_for_a_server_only(files: Path) -> None:
    for suffix in ("crt", "key"):
        (files / f"server.{suffix}").rename(files / f"tls.{suffix}")

    assert server_material(pki=files).trust is None
    with pytest.raises(MaterialError, match=r"ca\.crt: does not exist"):
        client_material(pki=files)


def test_system_is_the_trust_of_the_operating_system(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(files / "servers.crt"))

    assert client_material(ca=Path("system")).trust == SERVERS.trust

    monkeypatch.setenv("SSL_CERT_FILE", str(files / "missing"))
    monkeypatch.setattr(
        ssl, "get_default_verify_paths", lambda: SimpleNamespace(cafile=None, capath=None)
    )
    with pytest.raises(ConfigurationError, match="no file with the trust anchors") as caught:
        client_material(ca=Path("system"))
    assert "SSL_CERT_FILE" in str(caught.value.hint)


def test_a_key_that_every_user_can_read_is_warned_of(files: Path) -> None:
    key = files / "server.key"
    key.chmod(0o604)

    material = server_material(cert=files / "server.crt", key=key)

    assert material.warnings == (
        f"every user of this machine can read the private key {key}: chmod 600 {key}",
    )


def test_a_mounted_key_has_the_mode_of_its_mount(secret: Path) -> None:
    (secret / "tls.key").resolve().chmod(0o644)

    assert server_material(pki=secret).warnings == ()
