"""The certificates of a run, and the C programs, compiled where there is a compiler.

Two PKIs with P-256 keys: ``one`` CA for both sides, as most set-ups have it, and ``two``, one for
each side, as `mtls-echo pki init` makes it. With one CA OpenSSL builds and verifies the chain of
its own certificate in every handshake. Others, of one CA for each side, are named by their keys.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from mtls_echo_pki.certificates.request import KeyType
from mtls_echo_pki.directory.directory import Directory

SOURCES = Path(__file__).parent / "peers"


class Missing(Exception):
    """Something that is not installed here: the text says what."""


@dataclass(frozen=True)
class Material:
    """A PKI directory, with the paths that servers and clients ask for."""

    folder: Path

    @property
    def server(self) -> tuple[Path, Path, Path]:
        """Certificate, key, and the CA of the clients."""
        return self._of("server", "clients")

    @property
    def client(self) -> tuple[Path, Path, Path]:
        """Certificate, key, and the CA of the servers."""
        return self._of("client", "servers")

    def _of(self, name: str, trusted: str) -> tuple[Path, Path, Path]:
        credential = self.folder / name
        return credential / "tls.crt", credential / "tls.key", self.trust(trusted)

    def trust(self, side: str) -> Path:
        """The CA certificate that verifies this side."""
        return self.folder / "trust" / side / "ca.crt"


@dataclass(frozen=True)
class Workshop:
    """What a run makes before it measures.

    Attributes:
        folder: Where to make it, empty.
    """

    folder: Path

    def material(self, name: str) -> Material:
        """One of the PKIs; made when it is first asked for."""
        folder = self.folder / name
        if not folder.exists():
            key_type = next((kind for kind in KeyType if kind.value == name), KeyType.P256)
            Directory.create(folder, single_authority=name == "one", key_type=key_type)
        return Material(folder)

    def compiled(self, name: str) -> Path:
        """One of the C programs; raises `Missing` without a compiler or OpenSSL's headers."""
        program = self.folder / name
        if program.exists():
            return program
        compiler = shutil.which("cc")
        if compiler is None:
            raise Missing("no C compiler (cc)")
        done = subprocess.run(
            [compiler, "-O2", "-o", program, SOURCES / f"{name}.c", "-lssl", "-lcrypto"],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            first = next((line for line in done.stderr.splitlines() if "error" in line), "")
            raise Missing(f"{name}.c cannot be compiled (OpenSSL's headers?): {first.strip()}")
        return program


def program(name: str) -> str:
    """The path of an installed program; raises `Missing`."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/sbin")
    if found is None:
        raise Missing(f"{name} is not installed")
    return found
