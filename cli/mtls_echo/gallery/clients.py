"""The clients that can be judged by name: how each is called, and what has to be there for it.

A command is a list of words with placeholders. Each makes one request and says by its exit status
whether it was answered. How it verifies is its own affair: these are the defaults, given a file of
trust anchors and nothing else.
"""

from __future__ import annotations

import contextlib
import importlib.util
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

# What a word of a command may contain: an address, files, and a folder of the client's own;
# `mtls-echo gallery judge --help` says what they stand for.
PLACEHOLDERS = frozenset({"url", "host", "port", "ca", "crl", "trust", "cert", "key", "dir"})

# The sources of clients that are libraries.
_PROGRAMS = Path(__file__).parent / "programs"


@dataclass(frozen=True, kw_only=True)
class ClientCommand:
    """A client, and how it is called.

    Attributes:
        name: By which it is chosen.
        command: Its words.
        with_crl: Its words when it is to check for revocation; none where it cannot.
        version: What prints its version.
        told: What of that is told, by a regular expression.
        by_address: A word for another, where the server is asked for by address.
        build: What has to be run once, before.
        needs: Programs on PATH, and modules of this Python.
    """

    name: str
    command: tuple[str, ...]
    with_crl: tuple[str, ...] = ()
    version: tuple[str, ...] = ()
    told: str = r"\A.+"
    by_address: tuple[str, str] = ("", "")
    build: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()

    @property
    def missing(self) -> str:
        """What is not installed, or nothing."""
        return ", ".join(
            each
            for each in self.needs
            if shutil.which(each) is None and importlib.util.find_spec(each) is None
        )

    def read_version(self) -> str:
        """What it says of its version; empty if it does not."""
        if not self.version:
            return ""
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            ran = subprocess.run(  # noqa: S603  a command of the table below
                self.version, capture_output=True, text=True, timeout=20, check=False
            )
            return ", ".join(dict.fromkeys(re.findall(self.told, ran.stdout or ran.stderr)))
        return ""


def takes(words: tuple[str, ...], placeholder: str) -> bool:
    """Whether a command has a use for it."""
    return any("{" + placeholder + "}" in word for word in words)


def _program(suffix: str) -> str:
    return str(_PROGRAMS / f"client.{suffix}")


def _python(library: str, *, crl: bool = True) -> ClientCommand:
    called = (sys.executable, _program("py"), library, "{url}")
    shown = f"'{library}', {library}.__version__"
    if library == "ssl":
        shown = "'Python', sys.version.split()[0] + ',', ssl.OPENSSL_VERSION.rsplit(None, 3)[0]"
    return ClientCommand(
        name="python" if library == "ssl" else library,
        command=(*called, "{ca}", "{cert}", "{key}"),
        with_crl=(*called, "{trust}") if crl else (),
        version=(sys.executable, "-c", f"import sys, {library}; print({shown})"),
        needs=(library,),
    )


_CURL = ("curl", "--disable", "--silent", "--show-error", "--output", "/dev/null", "--max-time",
         "8", "--cacert", "{ca}")  # fmt: skip
_WGET = ("wget", "--no-config", "--no-verbose", "--output-document", "/dev/null", "--tries", "1",
         "--timeout", "8", "--ca-certificate", "{ca}")  # fmt: skip
_OPENSSL = ("openssl", "s_client", "-quiet", "-verify_return_error", "-verify_hostname", "{host}",
            "-connect", "127.0.0.1:{port}", "-servername", "{host}", "-CAfile")  # fmt: skip
_GNUTLS = ("gnutls-cli", "--x509cafile", "{ca}", "--port", "{port}")
_JAVA = ("java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", "{dir}", "Client")

CLIENTS: dict[str, ClientCommand] = {
    each.name: each
    for each in (
        ClientCommand(
            name="curl",
            command=(*_CURL, "--cert", "{cert}", "--key", "{key}", "{url}"),
            with_crl=(*_CURL, "--crlfile", "{crl}", "{url}"),
            version=("curl", "--version"),
            told=r"curl \d\S+|(?:OpenSSL|GnuTLS|LibreSSL|BoringSSL|rustls)[^\s)]*",
            needs=("curl",),
        ),
        ClientCommand(
            name="openssl",
            command=(*_OPENSSL, "{ca}", "-cert", "{cert}", "-key", "{key}"),
            with_crl=(*_OPENSSL, "{trust}", "-crl_check_all"),
            version=("openssl", "version"),
            told=r"\AOpenSSL \S+",
            by_address=("-verify_hostname", "-verify_ip"),
            needs=("openssl",),
        ),
        ClientCommand(
            name="gnutls",
            command=(*_GNUTLS, "--x509certfile", "{cert}", "--x509keyfile", "{key}", "{host}"),
            with_crl=(*_GNUTLS, "--x509crlfile", "{crl}", "{host}"),
            version=("gnutls-cli", "--version"),
            needs=("gnutls-cli",),
        ),
        ClientCommand(
            name="wget",
            command=(*_WGET, "--certificate", "{cert}", "--private-key", "{key}", "{url}"),
            with_crl=(*_WGET, "--crl-file", "{crl}", "{url}"),
            version=("wget", "--version"),
            told=r"\A.*Wget \S+|(?<=\+)ssl/\w+",
            needs=("wget",),
        ),
        _python("ssl"),
        _python("requests", crl=False),
        _python("httpx"),
        _python("aiohttp"),
        ClientCommand(
            name="node",
            command=("node", _program("js"), "{url}", "{ca}", "{cert}", "{key}"),
            with_crl=("node", _program("js"), "{url}", "{ca}", "{crl}"),
            version=("node", "--print",
                     "`node ${process.version}, OpenSSL ${process.versions.openssl}`"),
            needs=("node",),
        ),
        ClientCommand(
            name="go",
            command=("{dir}/client", "{url}", "{ca}", "{cert}", "{key}"),
            version=("go", "version"),
            told=r"go\d\S*",
            build=("go", "build", "-o", "{dir}/client", _program("go")),
            needs=("go",),
        ),
        ClientCommand(
            name="java",
            command=(*_JAVA, "{url}", "{ca}"),
            version=("java", "--version"),
            build=("javac", "-d", "{dir}", str(_PROGRAMS / "Client.java")),
            needs=("java", "javac"),
        ),
        ClientCommand(
            name="chromium",
            command=("sh", str(_PROGRAMS / "chromium.sh"), "{url}", "{ca}", "{dir}"),
            version=("chromium", "--version"),
            told=r"\AChromium [\d.]+",
            needs=("chromium", "certutil"),
        ),
    )
}  # fmt: skip


def own_client(command: tuple[str, ...]) -> ClientCommand:
    """A client of the user's own, which checks for revocation if it takes a CRL.

    Raises:
        ValueError: It takes neither ``{url}`` nor ``{port}``, or a placeholder that there is not.
    """
    if not takes(command, "url") and not takes(command, "port"):
        raise ValueError("the command has neither {url} nor {port}, so it would meet no exhibit")
    unknown = set(re.findall(r"\{([a-z]+)\}", " ".join(command))) - PLACEHOLDERS
    if unknown:
        raise ValueError(f"there is no placeholder {{{min(unknown)}}}")
    checks = takes(command, "crl") or takes(command, "trust")
    return ClientCommand(
        name=Path(command[0]).name, command=command, with_crl=command if checks else ()
    )


def find_client(name: str) -> ClientCommand:
    """Return the ready-made client of that name.

    Raises:
        ValueError: There is none.
    """
    if name not in CLIENTS:
        raise ValueError(f'there is no client "{name}"; there are {", ".join(CLIENTS)}')
    return CLIENTS[name]
