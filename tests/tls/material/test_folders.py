"""Folders of files, and what else is in a file."""

from __future__ import annotations

import ssl
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.files.pem_blocks import MaterialError
from mtls_echo_server.context import server_context
from mtls_echo_tls.material.errors import ConfigurationError
from mtls_echo_tls.material.load import (
    client_material,
    server_material,
)
from mtls_echo_tls.material.reloader import Reload, Reloader
from tests.support.authorities import CLIENTS, SERVERS
from tests.support.mounts import mount
from tests.support.tls import ALICE, LOCALHOST
from tests.tls.material.material_files import files as files
from tests.tls.material.world import issued


def test_a_folder_of_cas_is_trust(files: Path) -> None:
    folder = files / "folder"
    (folder / "clients.pem").write_bytes(CLIENTS.trust.pem)
    (folder / "servers.crt").write_bytes(SERVERS.trust.pem)

    material = client_material(ca=folder)

    assert material.trust is not None
    assert {*material.trust.anchors} == {*CLIENTS.trust.anchors, *SERVERS.trust.anchors}
    assert material.files.anchors == folder
    assert material.warnings == ()


def test_a_crl_in_a_folder_of_cas_is_used_or_it_is_said_that_it_is_not(files: Path) -> None:
    folder, crl = files / "folder", SERVERS.crl()
    (folder / "servers.crt").write_bytes(SERVERS.trust.pem)
    (folder / "list.crl.txt").write_bytes(crl.public_bytes(Encoding.PEM))
    (folder / "list.der").write_bytes(crl.public_bytes(Encoding.DER))

    assert client_material(ca=folder).warnings == tuple(
        f"{folder / name}: there {what} in it, and it is not read: its name ends in none of .pem,"
        " .crt, .cer and .crl"
        for name, what in (("list.crl.txt", "are CRLs"), ("list.der", "is a DER CRL"))
    )
    listed = client_material(ca=folder, crl=folder / "list.crl.txt")
    assert len(listed.warnings) == 1

    (folder / "list.crl.txt").rename(folder / "LIST.CRL")
    trust = client_material(ca=folder).trust
    assert trust is not None
    assert trust.crls == (crl,)


def test_system_may_be_a_folder(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (files / "folder" / "servers.crt").write_bytes(SERVERS.trust.pem)
    monkeypatch.setattr(
        ssl,
        "get_default_verify_paths",
        lambda: SimpleNamespace(cafile=None, capath=str(files / "folder")),
    )

    assert client_material(ca=Path("system")).trust == SERVERS.trust


@pytest.mark.parametrize("named", ["system", "./system"])
@pytest.mark.parametrize("is_file", [True, False])
def test_system_is_refused_where_something_here_has_that_name(
    files: Path, monkeypatch: pytest.MonkeyPatch, named: str, *, is_file: bool
) -> None:
    monkeypatch.chdir(files)
    if is_file:
        (files / "system").write_bytes(SERVERS.trust.pem)
    else:
        (files / "folder").rename("system")
        (files / "system" / "servers.crt").write_bytes(SERVERS.trust.pem)

    for load in (
        partial(client_material, ca=Path(named)),
        partial(server_material, cert=Path("server.crt"), client_ca=Path(named)),
    ):
        with pytest.raises(
            ConfigurationError, match="a file or folder of that name here"
        ) as caught:
            load()
        assert str(files / "system") in (caught.value.hint or "")
    assert client_material(ca=files / "system").trust == SERVERS.trust


def block(label: str) -> bytes:
    return f"-----BEGIN {label}-----\nAAAA\n-----END {label}-----\n".encode()


@pytest.mark.parametrize(
    ("extra", "what"),
    [
        (ALICE.key_pem, "a private key"),
        (block("CERTIFICATE REQUEST"), "a certificate signing request"),
        (block("PUBLIC KEY"), "a public key"),
        (block("DH PARAMETERS") * 2, "DH PARAMETERS"),
    ],
)
def test_what_is_not_used_of_a_file_is_named_with_its_line(
    files: Path, extra: bytes, what: str
) -> None:
    (files / "more.pem").write_bytes(SERVERS.trust.pem + extra)
    line = SERVERS.trust.pem.count(b"\n") + 1

    assert client_material(ca=files / "more.pem").warnings == (
        f"{files / 'more.pem'}, line {line}: {what}, which is not used",
    )


def test_a_certificate_and_a_key_are_not_left_over_where_they_are_used(files: Path) -> None:
    both, key = files / "both.pem", files / "server.key"
    both.write_bytes(block("EC PARAMETERS") + LOCALHOST.key_pem + LOCALHOST.certificate_pem)

    assert server_material(cert=both).warnings == ()
    line = 4
    assert server_material(cert=both, key=key).warnings == (
        f"{both}, line {line}: a private key, which is not used",
    )


def test_crls_among_the_anchors_are_used_and_said_to_be(files: Path) -> None:
    bundle = files / "bundle.pem"
    bundle.write_bytes(SERVERS.trust.pem + SERVERS.crl().public_bytes(Encoding.PEM))

    material = client_material(ca=bundle)

    assert material.trust is not None
    assert len(material.trust.crls) == 1
    assert material.warnings == (
        f"{bundle}: there are CRLs in it, so revocation is checked, and needs one of each CA",
    )
    assert client_material(ca=bundle, crl=bundle).warnings == ()


@pytest.mark.parametrize(
    ("bundle", "anchors"),
    [("credentialbundle.pem", "ca.crt"), ("credential-bundle.pem", "trust-bundle.pem")],
)
def test_a_pod_certificate_has_its_key_first_and_may_be_a_folder(
    tmp_path: Path, bundle: str, anchors: str
) -> None:
    chain = SERVERS.intermediate().issue(Request.server("localhost"))
    contents = {bundle: chain.key_pem + chain.certificate_pem, anchors: CLIENTS.trust.pem}
    mount(pod := tmp_path / "pod", contents)

    for material in (
        server_material(cert=pod / bundle, client_ca=pod / anchors),
        server_material(pki=pod),
    ):
        assert (material.credential, material.trust) == (chain, CLIENTS.trust)
        assert material.files[:3] == (pod / bundle, pod / bundle, pod / anchors)
        assert material.warnings == ()
    assert client_material(pki=pod, no_cert=True).credential is None

    renewed = SERVERS.issue(Request.server("localhost"))
    contents[bundle] = renewed.key_pem + renewed.certificate_pem
    mount(pod, contents)
    assert server_material(pki=pod).credential == renewed


def test_a_pod_certificate_without_a_trust_bundle_is_enough_for_a_server_only(
    tmp_path: Path,
) -> None:
    bundle = tmp_path / "credentialbundle.pem"
    bundle.write_bytes(LOCALHOST.key_pem + LOCALHOST.certificate_pem)
    bundle.chmod(0o600)

    assert server_material(pki=tmp_path).trust is None
    with pytest.raises(MaterialError, match=r"ca\.crt: does not exist"):
        client_material(pki=tmp_path)


async def test_a_file_that_is_added_changed_or_removed_in_a_folder_is_noticed(
    tmp_path: Path,
) -> None:
    folder, key = tmp_path / "cas", tmp_path / "tls.key"
    folder.mkdir()
    (folder / "one.pem").write_bytes(CLIENTS.trust.pem)
    (tmp_path / "tls.crt").write_bytes((first := issued()).certificate_pem)
    key.write_bytes(first.key_pem)
    reloads: list[Reload] = []
    reloader = Reloader(
        partial(server_material, cert=tmp_path / "tls.crt", key=key, client_ca=folder),
        lambda material: server_context(cast("Credential", material.credential), material.trust),
        settle=0.01,
        tell=reloads.append,
    )

    def trusted() -> set[x509.Certificate]:
        assert reloader.material.trust is not None
        return {*reloader.material.trust.anchors}

    other = Authority.root("other").trust
    (folder / "two.pem").write_bytes(other.pem)
    assert await reloader.check()
    assert trusted() == {*CLIENTS.trust.anchors, *other.anchors}
    (folder / "two.pem").write_bytes(SERVERS.trust.pem)
    assert await reloader.check()
    assert trusted() == {*CLIENTS.trust.anchors, *SERVERS.trust.anchors}
    (folder / "three.pem").write_bytes(b"")
    assert not await reloader.check()
    assert reloads[-1].error == f"{folder / 'three.pem'}: is empty"
    (folder / "three.pem").unlink()
    (folder / "one.pem").unlink()
    assert await reloader.check()
    assert trusted() == {*SERVERS.trust.anchors}
    (folder / "notes.txt").write_text("not read")
    assert not await reloader.check()
    (folder / "two.pem").unlink()
    assert not await reloader.check()
    assert "has no CA certificate in it" in (reloads[-1].error or "")
    assert trusted() == {*SERVERS.trust.anchors}
