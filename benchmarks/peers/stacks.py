"""The foreign stacks: what each can do, and the command that makes it one end of a connection.

Go, Java, node and Python run the programs under `tests/interop/peers`, which speak one protocol;
openssl, curl and GnuTLS are the tools of those names. A folder holds what such an end has:
``me.crt``, ``me.key`` and ``me.p12``, its intermediates alone as ``chain.crt``, the anchors as
``servers.crt`` and ``clients.crt``, and ``settings.json`` with what the case asks for.
``gnutls-serv`` has no option for an address to listen at, so it gets a network namespace of its
own, with nothing but a loopback interface.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.worlds import BOTH, Side

PROGRAMS = Path(__file__).parents[2] / "tests" / "interop" / "peers"

# What a client sends, unless its own program decides. ``s_server -rev`` answers with each line
# back to front: a palindrome is an echo there too.
MESSAGE = "noon"

_STATIC_RSA = {"openssl": "AES128-GCM-SHA256", "iana": "TLS_RSA_WITH_AES_128_GCM_SHA256"}
_CCM = "TLS_AES_128_CCM_SHA256"
_NO_ED25519 = "RSA-PSS+SHA256:ECDSA+SHA256:RSA+SHA256"
_JAVA_NO_ED25519 = "rsa_pss_rsae_sha256,ecdsa_secp256r1_sha256,rsa_pkcs1_sha256"
_GNUTLS_PORT = 5556
_PRIVATE_NETWORK = (
    "unshare",
    "--map-root-user",
    "--net",
    "sh",
    "-c",
    'ip link set lo up; exec "$@"',
)


@dataclass(frozen=True)
class Part:
    """What the foreign end is to be in one case.

    Attributes:
        side: Its role.
        tls: Its only version: ``1.2`` or ``1.3``.
        presents: Whether it has a certificate.
        crl: Whether ``crl.pem`` in its folder is to be looked at.
        cipher: Whether it is to offer nothing but a cipher suite that ours does not.
        weak: Whether its own key is below its own security level.
        refuses_ed25519: Whether it is to accept no Ed25519 signatures.
        strict: Whether it is to verify as RFC 5280 has it.
    """

    side: Side
    tls: str
    presents: bool = True
    crl: bool = False
    cipher: bool = False
    weak: bool = False
    refuses_ed25519: bool = False
    strict: bool = False

    @property
    def version(self) -> str:
        """As the programs under `PROGRAMS` spell it."""
        return f"TLSv{self.tls}"


@dataclass(frozen=True)
class Stack:
    """A TLS implementation, and how to have it play a part.

    Attributes:
        name: As `--peers` takes it.
        programs: What must be installed.
        asked: Prints the version.
        command: The command for a part, given its folder and, for a client, the port.
        sides: Its roles.
        can: What it can be asked for; see `Part`. ``cipher 1.3`` is about that version, ``crls``
            about those of intermediates.
        port: Finds the port in what a server prints.
        private: Whether its server runs in a network namespace.
    """

    name: str
    programs: tuple[str, ...]
    asked: tuple[str, ...]
    command: Callable[[Part, Path, int], list[str]]
    can: frozenset[str]
    sides: tuple[Side, ...] = BOTH
    port: str = r"port\t.*\t(\d+)"
    private: bool = False

    def missing(self) -> str | None:
        """Why it cannot take part."""
        absent = [program for program in self.programs if shutil.which(program) is None]
        return f"{' and '.join(absent)} not installed" if absent else None

    def version(self) -> str:
        """As the program says it."""
        done = subprocess.run(self.asked, capture_output=True, text=True, check=False)
        found = re.search(r"\d+\.\d+[\w.]*", done.stdout + done.stderr)
        return found[0] if found else "?"

    def plays(self, side: Side, need: str) -> bool:
        """Whether it has this role, and can do what a case needs; empty: nothing special."""
        return side in self.sides and (not need or need in self.can)


def settings(stack: str, part: Part, folder: Path) -> bytes | None:
    """The contents of ``settings.json``; None for programs that read none."""
    found: dict[str, object] = {}
    if stack == "go" and part.cipher:
        found["cipher"] = 0x009C
    if stack in ("node", "python"):
        if part.cipher:
            found["ciphers"] = _CCM if part.tls == "1.3" else _STATIC_RSA["openssl"]
        if part.weak:
            found["ciphers"] = "DEFAULT@SECLEVEL=0"
        if part.crl:
            found["crl"] = str(folder / "crl.pem")
        if part.refuses_ed25519:
            found["sigalgs"] = _NO_ED25519
        if part.strict:
            found["strict"] = True
    return json.dumps(found).encode() if found else None


# --- programs of ours ----------------------------------------------------------------------------


def _arguments(part: Part, folder: Path, port: int) -> list[str]:
    case = f"{part.version}/{'me' if part.presents else 'none'}"
    if part.side == "server":
        return ["server", str(folder), case]
    return ["client", str(folder), str(port), f"{case}/6/1"]


class Built:
    """The programs that have to be compiled, once, into a folder that the run removes."""

    folder: Path

    @classmethod
    def build(cls, folder: Path, names: set[str]) -> None:
        """Compile those that are asked for."""
        cls.folder = folder
        if "go" in names:
            output = ("-o", str(folder / "refused"))
            subprocess.run(["go", "build", *output, str(PROGRAMS / "refused.go")], check=True)
        if "java" in names:
            source = str(PROGRAMS / "Refused.java")
            subprocess.run(["javac", "-d", str(folder), source], check=True)


def _go(part: Part, folder: Path, port: int) -> list[str]:
    return [str(Built.folder / "refused"), *_arguments(part, folder, port)]


def _java(part: Part, folder: Path, port: int) -> list[str]:
    options = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]
    if part.cipher:
        options.append(f"-Djdk.tls.{part.side}.cipherSuites={_STATIC_RSA['iana']}")
    if part.refuses_ed25519:
        options.append(f"-Djdk.tls.{part.side}.SignatureSchemes={_JAVA_NO_ED25519}")
    return ["java", *options, "-cp", str(Built.folder), "Refused", *_arguments(part, folder, port)]


def _node(part: Part, folder: Path, port: int) -> list[str]:
    return ["node", str(PROGRAMS / "refused.mjs"), *_arguments(part, folder, port)]


def _python(part: Part, folder: Path, port: int) -> list[str]:
    return [sys.executable, str(PROGRAMS / "refused.py"), *_arguments(part, folder, port)]


# --- tools ---------------------------------------------------------------------------------------


def _openssl(part: Part, folder: Path, port: int) -> list[str]:
    if part.side == "client":
        found = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-quiet", "-no_ign_eof"]
        found += ["-servername", "localhost", "-verify_hostname", "localhost"]
    else:
        found = ["openssl", "s_server", "-accept", "127.0.0.1:0", "-rev", "-Verify", "3"]
    anchors = str(folder / f"{'servers' if part.side == 'client' else 'clients'}.crt")
    found += [f"-tls1_{part.tls[-1]}", "-CAfile", anchors, "-verify_return_error"]
    if part.presents:
        found += ["-cert", str(folder / "me.crt"), "-key", str(folder / "me.key")]
        if (folder / "chain.crt").exists():
            found += ["-cert_chain", str(folder / "chain.crt")]
    if part.crl:
        found += ["-crl_check", "-CRL", str(folder / "crl.pem")]
    if part.cipher and part.tls == "1.3":
        found += ["-ciphersuites", _CCM]
    elif part.cipher:
        found += ["-cipher", _STATIC_RSA["openssl"]]
    elif part.weak:
        found += ["-cipher", "DEFAULT@SECLEVEL=0"]
    if part.refuses_ed25519:
        found += ["-sigalgs" if part.side == "client" else "-client_sigalgs", _NO_ED25519]
    return [*found, "-x509_strict"] if part.strict else found


def _curl(part: Part, folder: Path, port: int) -> list[str]:
    found = ["curl", "--disable", "--noproxy", "*", "--silent", "--show-error", "--http0.9"]
    found += ["--no-buffer", "--max-time", "20", "--resolve", f"localhost:{port}:127.0.0.1"]
    found += [f"--tlsv{part.tls}", "--tls-max", part.tls, "--cacert", str(folder / "servers.crt")]
    if part.presents:
        found += ["--cert", str(folder / "me.crt"), "--key", str(folder / "me.key")]
    if part.crl:
        found += ["--crlfile", str(folder / "crl.pem")]
    if part.cipher and part.tls == "1.3":
        found += ["--tls13-ciphers", _CCM]
    elif part.cipher:
        found += ["--ciphers", _STATIC_RSA["openssl"]]
    return [*found, f"https://localhost:{port}/"]


def _gnutls(part: Part, folder: Path, port: int) -> list[str]:
    priority = f"NORMAL:-VERS-ALL:+VERS-TLS{part.tls}"
    if part.cipher and part.tls == "1.3":
        priority += ":-CIPHER-ALL:+AES-128-CCM"
    elif part.cipher:
        priority += ":-KX-ALL:+RSA"
    if part.refuses_ed25519:
        priority += ":-SIGN-EDDSA-ED25519"
    if part.side == "client":
        found = ["gnutls-cli", "--port", str(port), "localhost"]
        anchors = "servers.crt"
    else:
        found = [*_PRIVATE_NETWORK, "sh", "gnutls-serv", "--port", str(_GNUTLS_PORT), "--echo"]
        found += ["--require-client-cert", "--verify-client-cert"]
        anchors = "clients.crt"
    found += ["--priority", priority, "--x509cafile", str(folder / anchors)]
    if part.presents:
        found += ["--x509certfile", str(folder / "me.crt")]
        found += ["--x509keyfile", str(folder / "me.key")]
    return [*found, "--x509crlfile", str(folder / "crl.pem")] if part.crl else found


_EVERYTHING = frozenset(("crl", "crls", "weak-key", "key-type", "strict", "cipher", "cipher 1.3"))

STACKS = (
    Stack("go", ("go",), ("go", "version"), _go, frozenset(("cipher", "weak-key"))),
    Stack(
        *("java", ("java", "javac"), ("java", "-version"), _java),
        frozenset(("cipher", "key-type", "weak-key")),
    ),
    Stack("node", ("node",), ("node", "--version"), _node, _EVERYTHING - {"strict"}),
    Stack(
        *("curl", ("curl",), ("curl", "--version"), _curl),
        _EVERYTHING - {"strict", "key-type", "weak-key"},
        sides=("client",),
    ),
    Stack(
        *("gnutls", ("gnutls-cli", "gnutls-serv"), ("gnutls-cli", "--version"), _gnutls),
        # It loads no CRL but an anchor's.
        _EVERYTHING - {"strict", "crls"},
        port=r"listening on IPv4 .* port (\d+)",
        private=True,
    ),
    Stack(
        *("openssl", ("openssl",), ("openssl", "version"), _openssl),
        _EVERYTHING,
        port=r"ACCEPT .*:(\d+)",
    ),
    Stack(
        *("python", (sys.executable,), (sys.executable, "--version"), _python),
        _EVERYTHING - {"key-type", "cipher 1.3"},
    ),
)
