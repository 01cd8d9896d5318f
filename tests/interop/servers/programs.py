"""Services written in Go, Java and node against what their standard libraries have for HTTPS."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    load_pem_private_key,
    pkcs12,
)

from tests.interop.foreign_peers import SOURCES
from tests.interop.servers.running import (
    ClientAuth,
    Files,
    Server,
    folder_for,
    give_away,
    saying_its_port,
)
from tests.support.timing import TIMEOUT


@functools.cache
def _compiled(*command: str) -> Path:
    """A folder with the result of a compiler, which writes into ``{}``; once in each process."""
    folder = tempfile.mkdtemp(prefix="mtls-echo-compiled-", dir="/tmp")
    atexit.register(shutil.rmtree, folder)
    environment = {
        **os.environ,
        **{"GOFLAGS": "-mod=mod", "GO111MODULE": "off", "GOCACHE": f"{folder}/cache"},
    }
    done = subprocess.run(
        [part.replace("{}", folder) for part in command],
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    shutil.rmtree(f"{folder}/cache", ignore_errors=True)
    give_away(Path(folder))
    for program in Path(folder).iterdir():
        program.chmod(0o755)
    return Path(folder)


@contextlib.contextmanager
def start_go(
    files: Files, client_auth: ClientAuth = "required", *, extra: str = ""
) -> Iterator[int]:
    """There is nothing extra."""
    compiled = _compiled("go", "build", "-o", "{}/serving", str(SOURCES / "serving.go"))
    with folder_for(files) as (folder, mine):
        command = [str(compiled / "serving"), str(mine.certificate), str(mine.key)]
        with saying_its_port(folder, [*command, str(mine.client_ca), client_auth]) as port:
            yield port


@contextlib.contextmanager
def start_node(
    files: Files, client_auth: ClientAuth = "required", *, extra: str = ""
) -> Iterator[int]:
    """``extra`` is the status that it answers with."""
    with folder_for(files) as (folder, mine):
        source = folder / "serving.mjs"
        shutil.copyfile(SOURCES / "serving.mjs", source)
        give_away(folder)
        command = ["node", str(source), str(mine.certificate), str(mine.key)]
        command += [str(mine.client_ca), client_auth, *extra.split()]
        with saying_its_port(folder, command) as port:
            yield port


@contextlib.contextmanager
def start_java(
    files: Files, client_auth: ClientAuth = "required", *, extra: str = ""
) -> Iterator[int]:
    """There is nothing extra."""
    classes = _compiled("javac", "-d", "{}", str(SOURCES / "Serving.java"))
    with folder_for(files) as (folder, mine):
        (folder / "own.p12").write_bytes(_pkcs12(files))
        give_away(folder)
        command = ["java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", str(classes)]
        command += ["Serving", str(folder / "own.p12"), str(mine.client_ca), client_auth]
        with saying_its_port(folder, command) as port:
            yield port


def _pkcs12(files: Files) -> bytes:
    """The server's certificates and key, as Java reads them."""
    first, *others = x509.load_pem_x509_certificates(files.certificate.read_bytes())
    key = load_pem_private_key(files.key.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey)
    return pkcs12.serialize_key_and_certificates(
        b"own", key, first, others, BestAvailableEncryption(b"secret")
    )


SERVER_GO = Server("go", ("go",), start_go)
SERVER_NODE = Server("node", ("node",), start_node)
SERVER_JAVA = Server("java", ("java", "javac"), start_java)
