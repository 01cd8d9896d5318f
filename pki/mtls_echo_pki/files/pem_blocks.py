"""The blocks of a PEM file (RFC 7468), found by their labels.

``-----BEGIN label-----`` to ``-----END label-----``, each a line of its own; what stands between
blocks is commentary. :func:`blocks` finds them as OpenSSL does, and refuses where OpenSSL would
find fewer: a boundary that is indented, or shares a line with another, or has four dashes. A file
that has no blocks is told apart in :mod:`mtls_echo_pki.files.formats`. :func:`blocks_of` finds the
blocks of one kind, or says what stands in their place.
"""

from __future__ import annotations

import base64
import re
import shlex
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import msgspec

from mtls_echo_pki.files.foreign_files import of_openssh
from mtls_echo_pki.files.formats import (
    PUBLIC_KEY_HINT,
    REQUEST_HINT,
    guarded,
    not_pem,
    unusual_text,
)

# A boundary, and what was meant to be one: other dashes, blanks, lower case, a byte-order mark.
_BOUNDARY = re.compile(r"-----(BEGIN|END) ([A-Z0-9 ]+)-----")
_DASH = r"[-\u2010-\u2015\u2212]"
_NEARLY = re.compile(
    rf"\W*{_DASH}\W*(BEGIN|END)\s+([A-Z0-9 ]*?(?:CERTIFICATE|KEY|CRL|REQUEST|PKCS7))\W*",
    re.IGNORECASE,
)
_CORRECTION = (
    "awk 'toupper($0) ~ /^[^A-Z0-9]*(BEGIN|END)[^A-Z0-9]+.*(CERTIFICATE|KEY|CRL)[^A-Z0-9]*$/ "
    r'{ gsub(/^[^A-Za-z0-9]+|[^A-Za-z0-9]+$/, ""); gsub(/[^A-Za-z0-9]+/, " "); '
    """$0 = "-----" toupper($0) "-----" } 1'"""
)
_BASE64 = re.compile(r"\s*[A-Za-z0-9+/]{40,}={0,2}\s*")

# What a file can be wanted for, and the labels of the blocks that are it.
Kind: TypeAlias = Literal["certificate", "private key", "CRL"]
_LABELS: dict[Kind, frozenset[str]] = {
    "certificate": frozenset({"CERTIFICATE", "X509 CERTIFICATE"}),
    "private key": frozenset(
        {"PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY"}
    ),
    "CRL": frozenset({"X509 CRL"}),
}

# What each is most often mistaken for, and what to do.
_SWAPPED = "are the certificate and the key file swapped?"
_MISTAKEN: dict[Kind, tuple[Kind, str]] = {
    "certificate": ("private key", _SWAPPED),
    "private key": ("certificate", _SWAPPED),
    "CRL": (
        "certificate",
        "a CRL begins with -----BEGIN X509 CRL-----; ask the CA for it",
    ),
}

_OPENSSH = "OPENSSH PRIVATE KEY"
_NOT_FOR_TLS = "name the file that your CA sent, or that you made a request with"

# What stands in a file in place of the thing wanted: as the message calls it, and how to get from
# it to what is wanted, if that is known.
_OTHERS = {
    "PUBLIC KEY": ("a public key", PUBLIC_KEY_HINT),
    "RSA PUBLIC KEY": ("a public key", PUBLIC_KEY_HINT),
    "CERTIFICATE REQUEST": ("a certificate signing request", REQUEST_HINT),
    "NEW CERTIFICATE REQUEST": ("a certificate signing request", REQUEST_HINT),
    "X509 CRL": ("a CRL", None),
    "PKCS7": ("a PKCS#7 bundle", "convert it: openssl pkcs7 -in {0} -print_certs -out {0}.pem"),
    "TRUSTED CERTIFICATE": (
        "a certificate in OpenSSL's own format",
        "convert it: openssl x509 -in {0} -out {0}.pem",
    ),
    _OPENSSH: ("a key in OpenSSH's format", None),
    "PGP PUBLIC KEY BLOCK": ("a PGP key", _NOT_FOR_TLS),
    "PGP PRIVATE KEY BLOCK": ("a PGP key", _NOT_FOR_TLS),
    "PGP MESSAGE": ("what PGP has encrypted", "decrypt it: (umask 077; gpg -o {0}.pem -d {0})"),
    "AGE ENCRYPTED FILE": (
        "what age has encrypted",
        "decrypt it: (umask 077; age -d -i IDENTITY -o {0}.pem {0})",
    ),
    "DSA PRIVATE KEY": ("a DSA key, which TLS 1.3 does not have", None),
}

# OpenSSH's keys come without an X.509 certificate.
_NO_CA = "name the file of the certificate that your CA issued for the key"

# What OpenSSL writes before a key.
_KEY_PARAMETERS = frozenset({"EC PARAMETERS", "DSA PARAMETERS"})

# Certificates under another label: to leave one out of a bundle would go unnoticed.
_OTHER_CERTIFICATES = frozenset({"TRUSTED CERTIFICATE", "PKCS7"})


class MaterialError(Exception):
    """A file that cannot be used, with the reason and a way out.

    Args:
        path: The file.
        reason: What is wrong with it, lower case.
        hint: What to do about it, where that is known.
    """

    def __init__(self, path: Path, reason: str, hint: str | None = None) -> None:
        super().__init__(path, reason, hint)
        self.path = path
        self.reason = reason
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class Block(msgspec.Struct, frozen=True):
    """One PEM block: its label, its whole text, boundaries included, and its first line."""

    label: str
    text: bytes
    line: int

    @property
    def der(self) -> bytes:
        """What the lines between the boundaries stand for.

        Raises:
            ValueError: If they are not base64.
        """
        return base64.b64decode(b"".join(self.text.split(b"\n")[1:-2]))


def blocks_of(kind: Kind, pem: bytes, path: Path) -> list[Block]:
    """Return the blocks of a kind, at least one.

    Raises:
        MaterialError: If there is none; says what stands there instead.
    """
    found = blocks(pem, path)
    wanted = [block for block in found if block.label in _LABELS[kind]]
    if not wanted:
        raise _not_the(kind, path, found)
    for block in found if kind == "certificate" else ():
        if block.label in _OTHER_CERTIFICATES:
            what, _ = _OTHERS[block.label]
            file = quoted(path)
            raise MaterialError(
                path,
                f"line {block.line}: {what} among others, which would be left out",
                f"convert all of them: openssl storeutl -certs {file} > {file}.pem",
            )
    return wanted


def has(kind: Kind, pem: bytes, path: Path) -> bool:
    """Return whether there is a block of a kind.

    Raises:
        MaterialError: If the file is not PEM.
    """
    return any(block.label in _LABELS[kind] for block in blocks(pem, path))


def blocks_beside(kinds: Collection[Kind], pem: bytes, path: Path) -> dict[str, int]:
    """Return what there is beside blocks of some kinds, each with the line of its first block.

    Parameters of a key are part of it.

    Raises:
        MaterialError: If the file is not PEM.
    """
    own = frozenset[str]().union(*(_LABELS[kind] for kind in kinds))
    found: dict[str, int] = {}
    for block in blocks(pem, path):
        if block.label not in own and block.label not in _KEY_PARAMETERS:
            found.setdefault(_called(block.label), block.line)
    return found


def _called(label: str) -> str:
    for kind, labels in _LABELS.items():
        if label in labels:
            return f"a {kind}"
    what, _ = _OTHERS.get(label, (label, None))
    return what


def blocks(pem: bytes, path: Path) -> list[Block]:
    """Split a file into its PEM blocks.

    Raises:
        MaterialError: If there is none, one is cut off, or OpenSSL would not find one.
    """
    unusual = unusual_text(pem, quoted(path))
    if unusual is not None:
        raise MaterialError(path, *unusual)
    # A byte-order mark before the first line does no harm here.
    lines = pem.decode("utf-8", "replace").removeprefix("\ufeff").split("\n")
    found: list[Block] = []
    begin, label = 0, ""
    for number, line in enumerate(lines, start=1):
        boundary = _BOUNDARY.fullmatch(line.rstrip())
        if boundary is None:
            if label and (cut := _BOUNDARY.search(line)) and cut[1] == "BEGIN" and cut.start():
                raise _cut_off(path, begin, label)
            finding = _nearly_boundary(lines, number, bool(label))
            if finding is not None:
                command = guarded(f"{finding[1]} {quoted(path)} > {quoted(path)}.pem", pem)
                raise MaterialError(path, f"line {number} {finding[0]}", f"correct it: {command}")
        elif boundary[1] == "BEGIN":
            if label:
                raise _cut_off(path, begin, label)
            begin, label = number, boundary[2]
        elif label and boundary[2] != label:
            raise MaterialError(
                path,
                f'"END {boundary[2]}" in line {number} does not match "BEGIN {label}" in line '
                f"{begin}",
                "were two files mixed? copy each again, whole",
            )
        elif label:
            body = [each.strip() for each in lines[begin:number]]
            text = "\n".join((f"-----BEGIN {label}-----", *body)) + "\n"
            found.append(Block(label, text.encode(), begin))
            label = ""
    if label:
        raise _cut_off(path, begin, label)
    if not found:
        raise MaterialError(path, *not_pem(pem, quoted(path)))
    return found


def _cut_off(path: Path, line: int, label: str) -> MaterialError:
    return MaterialError(
        path,
        f'is cut off: "BEGIN {label}" in line {line} without its "END {label}"',
        "copy the file again, whole",
    )


def _nearly_boundary(lines: Sequence[str], number: int, inside: bool) -> tuple[str, str] | None:
    """Say why OpenSSL does not take a line for the boundary it was meant to be.

    Returns:
        The reason, and the command that makes one of it; None if it is commentary.
    """
    line = lines[number - 1]
    # Outside of a block, and without base64 behind it, it is commentary.
    counts = inside or any(map(_BASE64.fullmatch, lines[number : number + 1]))
    if counts and _BOUNDARY.fullmatch(line.strip()):
        return "is indented, so OpenSSL finds no boundary in it", "sed 's/^[[:space:]]*//'"
    if counts and _BOUNDARY.search(line):
        return (
            "has more than a boundary in it, so OpenSSL refuses it: a file that was copied there "
            "may not have ended with a newline",
            r"""awk '{gsub(/-----(BEGIN|END)/, "\n&"); sub(/^\n/, "")} 1'""",
        )
    nearly = _NEARLY.fullmatch(line.strip())
    if nearly is None or not counts:
        return None
    right = f"-----{nearly[1]} {' '.join(nearly[2].split())}-----".upper()
    return f"is nearly a boundary, and has to be: {right}", _CORRECTION


def _not_the(wanted: Kind, path: Path, found: list[Block]) -> MaterialError:
    """Say what stands where a ``wanted`` belongs."""
    mistaken, way_out = _MISTAKEN[wanted]
    if any(block.label in _LABELS[mistaken] for block in found):
        return MaterialError(path, f"holds a {mistaken} where a {wanted} belongs", way_out)
    for block in found:
        if block.label in _OTHERS:
            what, hint = _OTHERS[block.label]
            hint = hint and hint.format(quoted(path))
            if block.label == _OPENSSH:
                hint = of_openssh(block.der, quoted(path)) if wanted == "private key" else _NO_CA
            return MaterialError(path, f"holds {what} where a {wanted} belongs", hint)
    labels = ", ".join(sorted({block.label for block in found}))
    return MaterialError(path, f"has no {wanted} in it, only: {labels}", "name another file")


def show_command(path: Path, command: str) -> str:
    """Return the openssl command that shows what is in a file."""
    return f"openssl {command} -in {quoted(path)} -noout -text"


def quoted(path: Path) -> str:
    """Return a path as a shell takes it, and a command that it does not look like an option to."""
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)
