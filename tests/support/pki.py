"""What the tests of the pki component share."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import KeyType, Request
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_pki.files.atomic_writer import DATA, publish
from tests.support.timing import TIMEOUT

COMMAND = [
    sys.executable,
    "-c",
    "from mtls_echo.commands.pki.group import pki; pki(prog_name='mtls-echo pki')",
]

UNPRIVILEGED_UID = 65534

END_ENTITIES = [
    pytest.param(Request.server("localhost", "127.0.0.1", "::1"), id="server"),
    pytest.param(Request.server("localhost", subject="server"), id="server with a subject"),
    pytest.param(Request.server("*.a.test", "a.test"), id="wildcard server"),
    pytest.param(Request.server("10.0.0.7"), id="server by address"),
    pytest.param(Request.server("bücher.test"), id="internationalised server"),
    pytest.param(Request.server("my_service", "my_service.ns.test"), id="container server"),
    pytest.param(Request.client("client.test"), id="client by host"),
    pytest.param(Request.client("alice@mail.test", subject="alice"), id="client by e-mail"),
    pytest.param(Request.client("spiffe://prod.test/payments"), id="client by SPIFFE ID"),
    *(
        pytest.param(make("both.test", key_type=key_type), id=f"{make.__name__} {key_type.value}")
        for key_type in KeyType
        for make in (Request.server, Request.client)
    ),
]


VERSION = bytes.fromhex("a003020102")  # [0] { INTEGER 2 }: version 3 (RFC 5280 §4.1.2.1)
P256 = bytes.fromhex("06082a8648ce3d030107")
SM2 = bytes.fromhex("06082a811ccf5501822d")  # a curve that no library of ours knows
EXTENDED_KEY_USAGE = bytes.fromhex("0603551d25")
KEY_USAGE = bytes.fromhex("0603551d0f")


def altered(certificate: x509.Certificate, old: bytes, new: bytes) -> bytes:
    """The PEM of a certificate with other bytes in it; its signature is then worth nothing."""
    der = certificate.public_bytes(Encoding.DER)
    assert der.count(old) == 1
    assert len(old) == len(new)
    return ssl.DER_cert_to_PEM_cert(der.replace(old, new)).encode()


def negative_serial(certificate: x509.Certificate) -> bytes:
    """The PEM of a certificate whose serial number is not positive."""
    number = certificate.serial_number
    length = number.bit_length() // 8 + 1
    old, new = (n.to_bytes(length, "big", signed=True) for n in (number, -number))
    return altered(certificate, *(b"\x02" + bytes([length]) + n for n in (old, new)))


def publish_credential(folder: Path, credential: Credential) -> None:
    publish(
        folder,
        {"tls.crt": credential.certificate_pem, "tls.key": credential.key_pem},
        {"tls.crt": 0o644},
    )


def make_plain(pki: Path) -> None:
    """Make of a directory one as version 0.1 left it: plain files, and a ledger that says less."""
    for folder in (pki / "authorities").iterdir():
        if folder.is_symlink():
            continue
        for link in [
            path for path in folder.iterdir() if path.suffix == ".crt" or path.suffix == ".key"
        ]:
            contents, mode = link.read_bytes(), link.stat().st_mode
            link.unlink()
            link.write_bytes(contents)
            link.chmod(mode)
        shutil.rmtree((folder / DATA).resolve())
        (folder / DATA).unlink()
        ledger = json.loads((folder / "ledger.json").read_bytes())
        later = ("key", "issuer", "flaw", "revoked_at", "reason")
        entries = [
            {field: value for field, value in entry.items() if field not in later}
            for entry in ledger["issued"]
        ]
        (folder / "ledger.json").write_text(json.dumps({"issued": entries}))


def reference(request: Request) -> str:
    """A name that a peer could be looking for when it meets this server."""
    return request.names[0].replace("*", "any").replace("bücher", "xn--bcher-kva")


def handshake(server_context: ssl.SSLContext, client_context: ssl.SSLContext, host: str) -> None:
    """Shake hands in memory; raise what either side raises."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    one = client_context.wrap_bio(to_client, to_server, server_hostname=host)
    other = server_context.wrap_bio(to_server, to_client, server_side=True)
    done = False
    for side in (one, other, one, other):
        try:
            side.do_handshake()
            done = side is other
        except ssl.SSLWantReadError:
            pass
    assert done
    assert one.version() == "TLSv1.3"


def strict_contexts(
    server_credential: Credential,
    servers: Trust,
    client_credential: Credential,
    clients: Trust,
) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's and a client's context for mutual TLS, as strict as OpenSSL can be."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.verify_mode = ssl.CERT_REQUIRED
    server_credential.load_into(server_context)
    clients.load_into(server_context)
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_credential.load_into(client_context)
    servers.load_into(client_context)
    for context in (server_context, client_context):
        context.verify_flags |= ssl.VERIFY_X509_STRICT
    return server_context, client_context


def run(
    *arguments: str | Path, cwd: Path, env: dict[str, str] | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run ``mtls-echo pki`` as a process of its own."""
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        input=stdin,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """Without the rights of root, which no permission stops."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(UNPRIVILEGED_UID)
    try:
        yield
    finally:
        os.seteuid(0)


def tree(folder: Path) -> dict[str, tuple[int, bytes | str]]:
    """Everything in a folder: mode and contents, or where a link points."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mode,
            os.readlink(path)
            if path.is_symlink()
            else (b"" if path.is_dir() else path.read_bytes()),
        )
        for path in sorted(folder.rglob("*"))
    }


def on_a_small_disk(disk: Path, script: str) -> None:
    """Run a shell script that mounts a small file system on ``disk``, in a world of its own.

    Args:
        disk: Made; the script's first argument. Its second is the interpreter.
        script: Exits with 77 where mounting is not permitted.
    """
    disk.mkdir()
    apart = ["unshare", "--user", "--map-root-user", "--mount"]
    result = subprocess.run(
        [*apart, "sh", "-c", script, "sh", str(disk), sys.executable],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    if result.returncode == 77 or "unshare" in result.stderr:
        pytest.skip("a file system of one's own is not permitted here")

    assert result.returncode == 0, result.stderr
