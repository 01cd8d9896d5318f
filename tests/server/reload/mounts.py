"""The files of a server as volumes mount them, and clients that see what it serves."""

from __future__ import annotations

import shutil
import ssl
import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.trust import Trust
from tests.support.mounts import mount, secret
from tests.support.servers import ServeProcess

QUICK = ("--reload-interval", "0.05")

TLS13 = ssl.TLSVersion.TLSv1_3

REVOKED = "SSLV3_ALERT_CERTIFICATE_REVOKED"

SERVERS, CLIENTS = Authority.root("servers"), Authority.root("clients")

ALICE = CLIENTS.issue(Request.client("alice.test"))


def issued(**dates: timedelta) -> Credential:
    return SERVERS.issue(Request.server("localhost", **dates))  # type: ignore[arg-type]  # dates only


def client_of(
    credential: Credential, version: ssl.TLSVersion = TLS13, trust: Trust = SERVERS.trust
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = context.maximum_version = version
    trust.load_into(context)
    credential.load_into(context)
    return context


class Mounts:
    """What a pod sees: cert-manager's Secret, trust-manager's bundle, and lists, each a volume."""

    def __init__(self, folder: Path) -> None:
        self.tls, self.trust, self.lists = folder / "tls", folder / "trust", folder / "lists"
        self.options = (
            *("--cert", str(self.tls / "tls.crt"), "--key", str(self.tls / "tls.key")),
            *("--client-ca", str(self.trust / "bundle.pem")),
            *("--crl", str(self.lists / "crl.pem")),
        )
        self.first = issued()
        self.revoked = Authority(CLIENTS.certificate, CLIENTS.key)
        self.anew()

    def anew(self, credential: Credential | None = None) -> None:
        """Mount everything afresh, whatever was done to it."""
        for folder in (self.tls, self.trust, self.lists):
            shutil.rmtree(folder, ignore_errors=True)
        mount(self.tls, secret(credential or self.first, ca_crt=SERVERS.trust.pem))
        mount(self.trust, {"bundle.pem": CLIENTS.trust.pem})
        self.publish_list()

    def publish_list(self, *, days: int = 7) -> None:
        crl = self.revoked.crl(timedelta(days=days))
        mount(self.lists, {"crl.pem": crl.public_bytes(Encoding.PEM)})


@pytest.fixture
def mounts() -> Iterator[Mounts]:
    # Where a server without rights may read.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Mounts(Path(folder))


def served(running: ServeProcess, context: ssl.SSLContext) -> bytes | None:
    """The certificate that the server shows to a client that it serves."""
    with running.connect(context) as tls:
        tls.sendall(b"hello")
        assert tls.recv(5) == b"hello"
        shown = tls.getpeercert(binary_form=True)
        tls.unwrap().close()
        return shown


def shown_by(credential: Credential) -> bytes:
    return credential.chain_der[0]


def refused(running: ServeProcess, context: ssl.SSLContext) -> str:
    """The alert with which the server refuses a client."""

    def talk() -> None:
        with running.connect(context) as tls:
            tls.sendall(b"hello")
            tls.recv(5)

    with pytest.raises(ssl.SSLError) as refusal:
        talk()
    return str(refusal.value.reason)
