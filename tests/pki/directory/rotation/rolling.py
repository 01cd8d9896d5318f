"""Old and new peers of a PKI directory, and what they say of each other."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from mtls_echo_client.context import client_context
from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_pki.directory.directory import Directory
from mtls_echo_pki.directory.layout import Role
from mtls_echo_server.context import server_context

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}

ROLES: tuple[Role, Role] = ("servers", "clients")


def verdict(credential: Credential, role: Role, trust: Trust, tls: str = "1.3") -> int | None:
    """The verify code of a peer that goes by ``trust``, in a real handshake; None: accepted."""
    stage = Authority.root("stage")
    version = VERSIONS[tls]
    # The server's credential and trust, and the client's trust and credential.
    if role == "servers":
        presenting, verifying = (
            (credential, stage.trust),
            (trust, stage.issue(Request.client("a.test"))),
        )
    else:
        presenting, verifying = (stage.issue("localhost"), trust), (stage.trust, credential)
    one = server_context(*presenting, minimum_version=version, maximum_version=version)
    other = client_context(*verifying, minimum_version=version, maximum_version=version)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    calling = other.wrap_bio(to_client, to_server, server_hostname="localhost")
    called = one.wrap_bio(to_server, to_client, server_side=True)
    done = set[ssl.SSLObject]()
    for side in (calling, called) * 3:
        try:
            side.do_handshake()
            done.add(side)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLCertVerificationError as error:
            return error.verify_code
    assert done == {calling, called}
    return None


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    return Directory.create(tmp_path / "pki")


def renew_all(directory: Directory) -> None:
    for name in directory.names():
        directory.renew(name, rekey=False)
