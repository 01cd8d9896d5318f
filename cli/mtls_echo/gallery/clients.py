"""The clients that can be judged by name, of the table ``clients.toml``, and those of a user.

A command is a list of words with placeholders. Each makes one request and says by its exit status
whether it was answered.
"""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import msgspec

from mtls_echo_pki.lookup import look_up

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


def _read(name: str, entry: dict[str, str]) -> ClientCommand:
    """A client of the table, whose commands are written as for a shell."""

    def words(key: str) -> tuple[str, ...]:
        text = entry.get(key, "")
        # What is put in may have spaces.
        return tuple(
            word.replace("{python}", sys.executable).replace("{programs}", str(_PROGRAMS))
            for word in shlex.split(text)
        )

    usual, _, instead = entry.get("address", "").partition(" ")
    return ClientCommand(
        name=name,
        command=words("command") + words("own"),
        with_crl=words("command") + words("crl") if "crl" in entry else (),
        version=words("version"),
        told=entry.get("told", r"\A.+"),
        by_address=(usual, instead),
        build=words("build"),
        needs=words("needs"),
    )


_table = resources.files("mtls_echo.gallery").joinpath("clients.toml").read_bytes()

CLIENTS: dict[str, ClientCommand] = {
    name: _read(name, entry)
    for name, entry in msgspec.toml.decode(_table, type=dict[str, dict[str, str]]).items()
}


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
    # An interpreter says little: "python client.py".
    named = itertools.takewhile(lambda word: word[:1] != "-" and "{" not in word, command[1:])
    name = " ".join(Path(word).name for word in (command[0], *named))
    return ClientCommand(name=name, command=command, with_crl=command if checks else ())


def find_client(name: str) -> ClientCommand:
    """Return the ready-made client of that name.

    Raises:
        ValueError: There is none.
    """
    return look_up("client", name, CLIENTS, "mtls-echo gallery judge --client list")
