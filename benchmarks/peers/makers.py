"""The CA and the sound certificates of a profile, by its own tool where that is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from benchmarks.peers.profiles import Issued, Key, KeyType, Profile
from benchmarks.worlds import Side

CLIENT_NAME = "cli.acme.test"
SERVER_NAME = "localhost"

# Debian does not put it on the path.
_EASY_RSA = "/usr/share/easy-rsa/easyrsa"


@dataclass(frozen=True)
class Made:
    """What a tool made: a root, and what it issued to each side.

    Attributes:
        by: The tool and its version.
    """

    by: str
    root: Issued
    end_entities: dict[Side, Issued]


def make(profile: Profile) -> Made | None:
    """Have the profile's tool make them; None: it is not installed, or not asked."""
    maker = _MAKERS.get(profile.name)
    with tempfile.TemporaryDirectory() as folder:
        return maker(Path(folder)) if maker else None


def new_key(key_type: KeyType, bits: int = 2048) -> Key:
    """A private key."""
    if key_type == "RSA":
        return rsa.generate_private_key(65537, bits)
    return ec.generate_private_key(ec.SECP256R1())


def _openssl(folder: Path) -> Made | None:
    program = shutil.which("openssl")
    if program is None:
        return None

    def run(*arguments: str) -> str:
        return _output(folder, {}, program, *arguments)

    key = ("-newkey", "rsa:2048", "-nodes", "-keyout")
    run(
        "req",
        "-x509",
        *key,
        "ca.key",
        "-out",
        "ca.crt",
        "-days",
        "365",
        "-subj",
        "/O=Acme/CN=Acme CA",
    )
    ends: dict[Side, tuple[str, str]] = {}
    for side, common_name in (("server", SERVER_NAME), ("client", CLIENT_NAME)):
        subject = f"/O=Acme/CN={common_name}"
        run("req", *key, f"{side}.key", "-out", f"{side}.csr", "-subj", subject)
        (folder / "names").write_text(f"subjectAltName = DNS:{common_name}\n")
        signing = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "90")
        files = ("-in", f"{side}.csr", "-out", f"{side}.crt", "-extfile", "names")
        run("x509", "-req", *files, *signing)
        ends["server" if side == "server" else "client"] = (f"{side}.crt", f"{side}.key")
    return _made(run("version").split(" (")[0].strip(), folder, ("ca.crt", "ca.key"), ends)


def _easy_rsa(folder: Path) -> Made | None:
    program = shutil.which("easyrsa") or _EASY_RSA
    if not os.access(program, os.X_OK):
        return None

    def run(*arguments: str, **settings: str) -> str:
        given = {"EASYRSA_BATCH": "1", "EASYRSA_PKI": str(folder / "pki"), **settings}
        return _output(folder, given, program, *arguments)

    run("init-pki")
    run("build-ca", "nopass", EASYRSA_REQ_CN="Easy-RSA CA")
    run(f"--subject-alt-name=DNS:{SERVER_NAME}", "build-server-full", SERVER_NAME, "nopass")
    run(f"--subject-alt-name=DNS:{CLIENT_NAME}", "build-client-full", CLIENT_NAME, "nopass")
    named: dict[Side, str] = {"server": SERVER_NAME, "client": CLIENT_NAME}
    ends: dict[Side, tuple[str, str]] = {
        side: (f"pki/issued/{name}.crt", f"pki/private/{name}.key") for side, name in named.items()
    }
    version = next(line for line in run("--version").splitlines() if "Version:" in line)
    root = ("pki/ca.crt", "pki/private/ca.key")
    return _made(f"Easy-RSA {version.split()[-1]}", folder, root, ends)


_MAKERS: dict[str, Callable[[Path], Made | None]] = {"openssl": _openssl, "easy-rsa": _easy_rsa}


def _output(folder: Path, settings: dict[str, str], *command: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env={"PATH": os.environ.get("PATH", ""), "HOME": str(folder), **settings},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def _made(by: str, folder: Path, root: tuple[str, str], ends: dict[Side, tuple[str, str]]) -> Made:
    found = _load(folder, *root)
    return Made(by, found, {side: _load(folder, *files, found) for side, files in ends.items()})


def _load(folder: Path, certificate: str, key: str, issuer: Issued | None = None) -> Issued:
    # easy-rsa writes the certificate as text before the PEM block: only the latter is read.
    loaded = x509.load_pem_x509_certificate((folder / certificate).read_bytes())
    private = load_pem_private_key((folder / key).read_bytes(), None)
    assert isinstance(private, rsa.RSAPrivateKey)
    return Issued(loaded, private, issuer)
