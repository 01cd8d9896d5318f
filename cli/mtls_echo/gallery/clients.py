"""The clients that can be judged by name: how each is called, and what has to be there for it.

A command is a list of words with placeholders (`PLACEHOLDERS`). Each makes one request and says
by its exit status whether it was answered. How it verifies is its own affair: these are the
defaults, given a file of trust anchors and nothing else.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

# What a word may contain, and what that stands for.
PLACEHOLDERS = {
    "url": "https://localhost:PORT/, or with an address where one is asked for",
    "host": "localhost, or that address",
    "port": "the port",
    "ca": "a file with the trust anchors, PEM",
    "crl": "a file with a CRL of each CA, PEM",
    "cert": "a client's certificate, PEM",
    "key": "its key, PEM",
    "dir": "a folder with what was built of the client",
}

# The sources of clients that are libraries.
_PROGRAMS = Path(__file__).parent / "programs"


@dataclass(frozen=True, kw_only=True)
class Client:
    """A client, and how it is called.

    Attributes:
        name: By which it is chosen.
        command: Its words; ``with_crl`` when it is to check for revocation, if it can.
        version: What prints its version.
        for_address: Words that stand in place of others when the server is asked for by address.
        build: What has to be run once, before.
        needs: Programs on PATH, and ``modules`` of this Python.
    """

    name: str
    command: tuple[str, ...]
    with_crl: tuple[str, ...] = ()
    version: tuple[str, ...] = ()
    for_address: tuple[tuple[str, str], ...] = ()
    build: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()

    def takes(self, placeholder: str) -> bool:
        """Whether the command has a use for it."""
        return any("{" + placeholder + "}" in word for word in self.command)

    @property
    def missing(self) -> str:
        """What is not installed, or nothing."""
        programs = [each for each in self.needs if shutil.which(each) is None]
        modules = [each for each in self.modules if importlib.util.find_spec(each) is None]
        return ", ".join(programs + modules)

    def read_version(self) -> str:
        """The first line in which it says its version; empty if it does not."""
        if not self.version:
            return ""
        ran = subprocess.run(  # noqa: S603  a command of the table below
            self.version, capture_output=True, text=True, timeout=20, check=False
        )
        return (ran.stdout or ran.stderr).strip().partition("\n")[0]


def _python(library: str, *modules: str) -> Client:
    shown = "import ssl; print(ssl.OPENSSL_VERSION)"
    if modules:
        shown = f"import {library}; print('{library}', {library}.__version__)"
    return Client(
        name=library if modules else "python",
        command=(sys.executable, str(_PROGRAMS / "client.py"), library, "{url}", "{ca}"),
        version=(sys.executable, "-c", shown),
        modules=modules,
    )


_REQUEST = ("--silent", "--show-error", "--output", "/dev/null", "--max-time", "8")
_WGET = ("wget", "--quiet", "--output-document", "/dev/null", "--tries", "1", "--timeout", "8",
         "--ca-certificate", "{ca}")  # fmt: skip
_S_CLIENT = ("openssl", "s_client", "-quiet", "-verify_return_error")
_S_CLIENT_TO = ("-verify_hostname", "{host}", "-connect", "127.0.0.1:{port}",
                "-servername", "{host}", "-CAfile", "{ca}")  # fmt: skip

CLIENTS: dict[str, Client] = {
    each.name: each
    for each in (
        Client(
            name="curl",
            command=("curl", *_REQUEST, "--cacert", "{ca}", "--cert", "{cert}", "--key", "{key}",
                     "{url}"),
            with_crl=("curl", *_REQUEST, "--cacert", "{ca}", "--crlfile", "{crl}", "{url}"),
            version=("curl", "--version"),
            needs=("curl",),
        ),
        Client(
            name="openssl",
            command=(*_S_CLIENT, *_S_CLIENT_TO),
            with_crl=(*_S_CLIENT, "-crl_check_all", "-CRL", "{crl}", *_S_CLIENT_TO),
            version=("openssl", "version"),
            for_address=(("-verify_hostname", "-verify_ip"),),
            needs=("openssl",),
        ),
        Client(
            name="gnutls",
            command=("gnutls-cli", "--x509cafile", "{ca}", "--port", "{port}", "{host}"),
            with_crl=("gnutls-cli", "--x509cafile", "{ca}", "--x509crlfile", "{crl}",
                      "--port", "{port}", "{host}"),
            version=("gnutls-cli", "--version"),
            needs=("gnutls-cli",),
        ),
        Client(
            name="wget",
            command=(*_WGET, "{url}"),
            with_crl=(*_WGET, "--crl-file", "{crl}", "{url}"),
            version=("wget", "--version"),
            needs=("wget",),
        ),
        _python("ssl"),
        _python("requests", "requests"),
        _python("httpx", "httpx"),
        _python("aiohttp", "aiohttp"),
        Client(
            name="node",
            command=("node", str(_PROGRAMS / "client.js"), "{url}", "{ca}"),
            version=("node", "--version"),
            needs=("node",),
        ),
        Client(
            name="go",
            command=("{dir}/client", "{url}", "{ca}"),
            version=("go", "version"),
            build=("go", "build", "-o", "{dir}/client", str(_PROGRAMS / "client.go")),
            needs=("go",),
        ),
        Client(
            name="java",
            command=("java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto", "-cp",
                     "{dir}", "Client", "{url}", "{ca}"),
            version=("java", "--version"),
            build=("javac", "-d", "{dir}", str(_PROGRAMS / "Client.java")),
            needs=("java", "javac"),
        ),
    )
}  # fmt: skip


def own_client(command: tuple[str, ...]) -> Client:
    """A client of the user's own, which checks for revocation if it takes a CRL.

    Raises:
        ValueError: It takes neither ``{url}`` nor ``{port}``, or something that there is not.
    """
    words = " ".join(command)
    client = Client(
        name=Path(command[0]).name,
        command=command,
        with_crl=command if "{crl}" in words else (),
    )
    if not client.takes("url") and not client.takes("port"):
        raise ValueError("the command has neither {url} nor {port}, so it would meet no exhibit")
    return client


def find_client(name: str) -> Client:
    """Return the ready-made client of that name.

    Raises:
        ValueError: There is none.
    """
    if name not in CLIENTS:
        raise ValueError(f'there is no client "{name}"; there are {", ".join(CLIENTS)}')
    return CLIENTS[name]
