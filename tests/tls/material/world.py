"""The files of a server and of a client, and a reloader that watches them."""

from __future__ import annotations

import ssl
from datetime import timedelta
from pathlib import Path

import pytest

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_server.context import server_context
from mtls_echo_tls.material.load import Material, server_material
from mtls_echo_tls.material.reloader import Reload, Reloader
from tests.support.mounts import mount, secret
from tests.support.pki import handshake

SERVERS, CLIENTS = Authority.root("servers"), Authority.root("clients")

ALICE = CLIENTS.issue(Request.client("alice.test"))


def issued(**dates: timedelta) -> Credential:
    return SERVERS.issue(Request.server("localhost", **dates))  # type: ignore[arg-type]  # dates only


class World:
    """A Secret as cert-manager writes it, with the clients' authority in it, and its reloader."""

    def __init__(self, folder: Path, **options: object) -> None:
        self.folder = folder
        self.built = 0
        self.reloads: list[Reload] = []
        self.warned: list[str] = []
        self.first = issued()
        self.write(self.first)
        self.reloader = Reloader(
            self.load,
            self.build,
            settle=0.01,
            tell=self.reloads.append,
            warn=self.warned.append,
            **options,  # type: ignore[arg-type]  # whatever the test is about
        )

    def load(self) -> Material:
        return server_material(
            cert=self.folder / "tls.crt",
            key=self.folder / "tls.key",
            client_ca=self.folder / "ca.crt",
        )

    def build(self, material: Material) -> ssl.SSLContext:
        self.built += 1
        assert material.credential is not None
        return server_context(material.credential, material.trust)

    def write(self, credential: Credential, trust: Trust = CLIENTS.trust) -> None:
        mount(self.folder, secret(credential, ca_crt=trust.pem))

    def serves(self, credential: Credential) -> bool:
        """Whether a client meets this certificate; a real handshake."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        SERVERS.trust.load_into(context)
        ALICE.load_into(context)
        handshake(self.reloader.current, context, "localhost")
        assert self.reloader.material.credential is not None
        return self.reloader.material.credential.fingerprint == credential.fingerprint


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "mount")
