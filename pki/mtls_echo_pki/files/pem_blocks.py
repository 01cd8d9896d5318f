"""The blocks of a PEM file (RFC 7468), found by their labels; or what the file is instead.

``-----BEGIN label-----`` to ``-----END label-----``; what stands between blocks is commentary.
:func:`blocks` finds them, or says what the file is instead: empty, cut off, DER, PKCS#12, or
nothing that was ever meant for TLS. :func:`blocks_of` finds those of one kind, or says what stands
in their place.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_der_private_key

from mtls_echo_pki.certificates.reading import parsing

_BEGIN = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")

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

# What stands in a file in place of the thing wanted: as the message calls it, and
# the command that gets from it to what is wanted, if there is one.
_OTHERS = {
    "PUBLIC KEY": ("a public key", None),
    "RSA PUBLIC KEY": ("a public key", None),
    "CERTIFICATE REQUEST": ("a certificate signing request", None),
    "NEW CERTIFICATE REQUEST": ("a certificate signing request", None),
    "X509 CRL": ("a CRL", None),
    "PKCS7": ("a PKCS#7 bundle", "openssl pkcs7 -in {} -print_certs"),
    "TRUSTED CERTIFICATE": ("a certificate in OpenSSL's own format", "openssl x509 -in {}"),
    "OPENSSH PRIVATE KEY": ("a key in OpenSSH's format", "ssh-keygen -p -m PKCS8 -f {}"),
    "DSA PRIVATE KEY": ("a DSA key, which TLS 1.3 does not have", None),
}


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


@dataclass(frozen=True)
class Block:
    """One PEM block: its label and its whole text, boundaries included."""

    label: str
    text: bytes


def blocks_of(kind: Kind, pem: bytes, path: Path) -> list[Block]:
    """Return the blocks of a kind, at least one.

    Raises:
        MaterialError: If there is none; says what stands there instead.
    """
    found = blocks(pem, path)
    wanted = [block for block in found if block.label in _LABELS[kind]]
    if not wanted:
        raise _not_the(kind, path, found)
    return wanted


def has(kind: Kind, pem: bytes, path: Path) -> bool:
    """Return whether there is a block of a kind.

    Raises:
        MaterialError: If the file is not PEM.
    """
    return any(block.label in _LABELS[kind] for block in blocks(pem, path))


def blocks(pem: bytes, path: Path) -> list[Block]:
    """Split a file into its PEM blocks, or say why it has none."""
    if not pem.strip():
        raise MaterialError(path, "is empty", "was the program that writes it interrupted?")
    found: list[Block] = []
    position = 0
    while begin := _BEGIN.search(pem, position):
        label = begin[1].decode("ascii")
        end = b"-----END " + begin[1] + b"-----"
        stop = pem.find(end, begin.end())
        following = _BEGIN.search(pem, begin.end())
        if stop < 0 or (following and following.start() < stop):
            raise MaterialError(
                path,
                f'is cut off: "BEGIN {label}" without its "END {label}"',
                "copy the file again, whole",
            )
        position = stop + len(end)
        found.append(Block(label, pem[begin.start() : position] + b"\n"))
    if not found:
        raise _not_pem(pem, path)
    return found


def _not_pem(contents: bytes, path: Path) -> MaterialError:
    """Say what a file without any PEM block is."""
    file = quoted(path)
    # PFX ::= SEQUENCE { version INTEGER (3), … } (RFC 7292 §4), length in 1 to 3 octets
    # or indefinite; no certificate or PKCS#8 key begins so.
    if re.match(rb"\x30(\x80|\x81.|\x82..|\x83...)\x02\x01\x03", contents, re.DOTALL):
        return MaterialError(
            path,
            "is a PKCS#12 file, not PEM",
            f"convert it: openssl pkcs12 -in {file} -nodes -out {file}.pem",
        )
    if contents[:1] == b"\x30":
        if _parses(x509.load_der_x509_certificate, contents):
            return MaterialError(
                path,
                "is a DER certificate, not PEM",
                f"convert it: openssl x509 -inform der -in {file} -out {file}.pem",
            )
        if _parses(x509.load_der_x509_crl, contents):
            return MaterialError(
                path,
                "is a DER CRL, not PEM",
                f"convert it: openssl crl -inform der -in {file} -out {file}.pem",
            )
        if _parses(_load_key, contents):
            return MaterialError(
                path,
                "is a DER private key, not PEM",
                f"convert it: openssl pkey -inform der -in {file} -out {file}.pem",
            )
    return MaterialError(
        path,
        "is not PEM: there is no -----BEGIN …----- line in it",
        f"see what it is with: file {file}",
    )


def _not_the(wanted: Kind, path: Path, found: list[Block]) -> MaterialError:
    """Say what stands where a ``wanted`` belongs."""
    mistaken, way_out = _MISTAKEN[wanted]
    if any(block.label in _LABELS[mistaken] for block in found):
        return MaterialError(path, f"holds a {mistaken} where a {wanted} belongs", way_out)
    for block in found:
        if block.label in _OTHERS:
            what, command = _OTHERS[block.label]
            hint = command and f"convert it: {command.format(quoted(path))}"
            return MaterialError(path, f"holds {what} where a {wanted} belongs", hint)
    labels = ", ".join(sorted({block.label for block in found}))
    return MaterialError(path, f"has no {wanted} in it, only: {labels}")


def _parses(parse: Callable[[bytes], object], contents: bytes) -> bool:
    try:
        with parsing():
            parse(contents)
    except ValueError:
        return False
    return True


def _load_key(der: bytes) -> None:
    with suppress(TypeError):  # an encrypted private key is one, too
        load_der_private_key(der, None)


def show_command(path: Path, command: str) -> str:
    """Return the openssl command that shows what is in a file."""
    return f"openssl {command} -in {quoted(path)} -noout -text"


def quoted(path: Path) -> str:
    """Return a path as a shell takes it."""
    return shlex.quote(str(path))
