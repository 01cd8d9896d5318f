"""Half of all TLS trouble is a file that is not what its name says.

OpenSSL's answer to all of it is ``[SSL] PEM lib (_ssl.c:3895)``, whether the file is
missing a certificate, holds DER, or is a key where a certificate belongs. So files
are looked at before they are handed on, and every failure names the file, the reason
and the command that would put it right.

PEM (RFC 7468) is text around blocks, ``-----BEGIN label-----`` to ``-----END
label-----``; what stands between blocks is commentary, and the label says what a
block is. Reasons are told apart by labels and structure, never by the message of
another library, which changes from one version to the next.

An encrypted key is refused rather than asked about: a server that stops at a prompt
nobody sees, after a reload at night, is worse than one that does not start.
"""

from __future__ import annotations

import re
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    load_der_private_key,
    load_pem_private_key,
)

from mtls_echo_pki.credential import Credential, PrivateKey, is_key_of
from mtls_echo_pki.publication import read_consistent
from mtls_echo_pki.trust import Trust

_BEGIN = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----")
_CERTIFICATES = frozenset({"CERTIFICATE", "X509 CERTIFICATE"})
_KEYS = frozenset({"PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY", "ENCRYPTED PRIVATE KEY"})

# What stands in a file in place of the thing wanted: as the message calls it, and
# the command that gets from it to what is wanted, if there is one.
_OTHERS = {
    "PUBLIC KEY": ("a public key", None),
    "RSA PUBLIC KEY": ("a public key", None),
    "CERTIFICATE REQUEST": ("a certificate signing request", None),
    "NEW CERTIFICATE REQUEST": ("a certificate signing request", None),
    "X509 CRL": ("a certificate revocation list", None),
    "PKCS7": ("a PKCS#7 bundle", "openssl pkcs7 -in {} -print_certs"),
    "TRUSTED CERTIFICATE": ("a certificate in OpenSSL's own format", "openssl x509 -in {}"),
    "OPENSSH PRIVATE KEY": ("a key in OpenSSH's format", "ssh-keygen -p -m PKCS8 -f {}"),
    "DSA PRIVATE KEY": ("a DSA key, which TLS 1.3 does not have", None),
}

# Plain files that do not match may be caught between two writes. They are read again
# until they have not changed for this long, in seconds, but not for ever.
_SETTLE = 0.05
_SETTLE_ATTEMPTS = 20

_T = TypeVar("_T")


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
class _Block:
    """One PEM block: its label and its whole text, boundaries included."""

    label: str
    text: bytes


def read_credential(certificate: Path, key: Path, *, password: bytes | None = None) -> Credential:
    """Read a certificate chain and its private key, never one without the other.

    Two files in one folder are read from the same generation (see
    :mod:`mtls_echo_pki.publication`). Both may be the same file.

    Args:
        certificate: PEM, the end-entity certificate first, then intermediates.
        key: PEM, PKCS#8 or the traditional form.
        password: Of an encrypted key.

    Raises:
        MaterialError: If either cannot be used, or they do not match.
    """
    return _read_settled(
        (certificate, key),
        lambda contents: parse_credential(
            contents[certificate],
            contents[key],
            certificate_path=certificate,
            key_path=key,
            password=password,
        ),
    )


def read_trust(path: Path) -> Trust:
    """Read trust anchors.

    Raises:
        MaterialError: If the file cannot be used or has no certificate in it.
    """
    return _read_settled((path,), lambda contents: parse_trust(contents[path], path=path))


def read_certificates(path: Path) -> list[x509.Certificate]:
    """Read all the certificates of a file, in their order.

    Raises:
        MaterialError: If the file cannot be used or has no certificate in it.
    """
    return _read_settled((path,), lambda contents: parse_certificates(contents[path], path=path))


def parse_credential(
    certificate_pem: bytes,
    key_pem: bytes,
    *,
    certificate_path: Path,
    key_path: Path,
    password: bytes | None = None,
) -> Credential:
    """Parse what was read elsewhere; the paths are for the messages.

    Raises:
        MaterialError: As :func:`read_credential`.
    """
    certificates = parse_certificates(certificate_pem, path=certificate_path)
    key = _parse_key(key_pem, key_path, password)
    first, *rest = certificates
    if is_key_of(key, first):
        return Credential(key, first, tuple(rest))
    for position, certificate in enumerate(rest, start=2):
        if is_key_of(key, certificate):
            raise MaterialError(
                certificate_path,
                f"the private key in {key_path} matches certificate {position} of "
                f"{len(certificates)}, not the first",
                "put the end-entity certificate first, then each issuer after what it issued",
            )
    raise MaterialError(
        key_path,
        f"the private key does not match the certificate in {certificate_path}",
        "the two must come from the same issuance; compare the output of "
        f"`openssl pkey -pubout -in {_quoted(key_path)}` and "
        f"`openssl x509 -pubkey -noout -in {_quoted(certificate_path)}`",
    )


def parse_trust(pem: bytes, *, path: Path) -> Trust:
    """Parse trust anchors that were read elsewhere; the path is for the messages.

    An end-entity certificate is no error here: it may be pinned on purpose.

    Raises:
        MaterialError: As :func:`read_trust`.
    """
    return Trust(tuple(dict.fromkeys(parse_certificates(pem, path=path))))


def parse_certificates(pem: bytes, *, path: Path) -> list[x509.Certificate]:
    """Parse all the certificates of a file, at least one, in their order.

    Raises:
        MaterialError: If there is none, or a damaged one.
    """
    blocks = _blocks(pem, path)
    wanted = [block for block in blocks if block.label in _CERTIFICATES]
    if not wanted:
        if any(block.label in _KEYS for block in blocks):
            raise MaterialError(
                path,
                "holds a private key where a certificate belongs",
                "are the certificate and the key file swapped?",
            )
        raise _not(path, blocks, "certificate")
    try:
        return [x509.load_pem_x509_certificate(block.text) for block in wanted]
    except ValueError as error:
        raise MaterialError(
            path, "a certificate in it is damaged", f"look at it with {_show(path, 'x509')}"
        ) from error


def _parse_key(pem: bytes, path: Path, password: bytes | None) -> PrivateKey:
    blocks = _blocks(pem, path)
    wanted = [block for block in blocks if block.label in _KEYS]
    if not wanted:
        if any(block.label in _CERTIFICATES for block in blocks):
            raise MaterialError(
                path,
                "holds a certificate where a private key belongs",
                "are the certificate and the key file swapped?",
            )
        raise _not(path, blocks, "private key")
    block = wanted[0]
    # The traditional form marks encryption in a header (RFC 1421 §4.6.1.1).
    encrypted = block.label == "ENCRYPTED PRIVATE KEY" or b"Proc-Type: 4,ENCRYPTED" in block.text
    if encrypted and password is None:
        raise MaterialError(
            path,
            "the private key is encrypted",
            f"decrypt it into a file only you can read: "
            f"(umask 077; openssl pkey -in {_quoted(path)} -out {_quoted(path)}.plain)",
        )
    try:
        key = load_pem_private_key(block.text, password if encrypted else None)
    except (ValueError, TypeError) as error:
        if encrypted:
            raise MaterialError(path, "the password does not decrypt the private key") from error
        raise MaterialError(
            path, "the private key is damaged", f"look at it with {_show(path, 'pkey')}"
        ) from error
    except UnsupportedAlgorithm as error:
        raise _unsupported(path) from error
    if not isinstance(key, PrivateKey):
        raise _unsupported(path)
    return key


def _blocks(pem: bytes, path: Path) -> list[_Block]:
    """Split a file into its PEM blocks, or say why it has none."""
    if not pem.strip():
        raise MaterialError(path, "is empty", "was the program that writes it interrupted?")
    blocks: list[_Block] = []
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
        blocks.append(_Block(label, pem[begin.start() : position] + b"\n"))
    if not blocks:
        raise _not_pem(pem, path)
    return blocks


def _not_pem(contents: bytes, path: Path) -> MaterialError:
    """Say what a file without any PEM block is."""
    quoted = _quoted(path)
    # PFX ::= SEQUENCE { version INTEGER (3), … } (RFC 7292 §4), length in 1 to 3 octets
    # or indefinite; no certificate or PKCS#8 key begins so.
    if re.match(rb"\x30(\x80|\x81.|\x82..|\x83...)\x02\x01\x03", contents, re.DOTALL):
        return MaterialError(
            path,
            "is a PKCS#12 file, not PEM",
            f"convert it: openssl pkcs12 -in {quoted} -nodes -out {quoted}.pem",
        )
    if contents[:1] == b"\x30":
        if _parses(x509.load_der_x509_certificate, contents):
            return MaterialError(
                path,
                "is a DER certificate, not PEM",
                f"convert it: openssl x509 -inform der -in {quoted} -out {quoted}.pem",
            )
        if _parses(lambda der: load_der_private_key(der, None), contents):
            return MaterialError(
                path,
                "is a DER private key, not PEM",
                f"convert it: openssl pkey -inform der -in {quoted} -out {quoted}.pem",
            )
    return MaterialError(
        path,
        "is not PEM: there is no -----BEGIN …----- line in it",
        f"see what it is with: file {quoted}",
    )


def _not(path: Path, blocks: list[_Block], wanted: str) -> MaterialError:
    """Say what stands where a ``wanted`` belongs."""
    for block in blocks:
        if block.label in _OTHERS:
            what, command = _OTHERS[block.label]
            hint = command and f"convert it: {command.format(_quoted(path))}"
            return MaterialError(path, f"holds {what} where a {wanted} belongs", hint)
    labels = ", ".join(sorted({block.label for block in blocks}))
    return MaterialError(path, f"has no {wanted} in it, only: {labels}")


def _unsupported(path: Path) -> MaterialError:
    return MaterialError(
        path,
        "the private key is neither EC, Ed25519 nor RSA",
        "have a certificate issued for an EC key: openssl ecparam -name prime256v1 -genkey",
    )


def _parses(parse: Callable[[bytes], object], contents: bytes) -> bool:
    try:
        parse(contents)
    except TypeError:  # an encrypted private key is one, too
        return True
    except (ValueError, UnsupportedAlgorithm):
        return False
    return True


def _read_settled(paths: tuple[Path, ...], parse: Callable[[dict[Path, bytes]], _T]) -> _T:
    """Read and parse; what may have been caught half-written is read again."""
    contents = _read(paths)
    for _ in range(_SETTLE_ATTEMPTS):
        try:
            return parse(contents)
        except MaterialError:
            time.sleep(_SETTLE)
            again = _read(paths)
            if again == contents:  # not half-written: wrong
                raise
            contents = again
    return parse(contents)


def _read(paths: tuple[Path, ...]) -> dict[Path, bytes]:
    folders = {path.parent for path in paths}
    contents: dict[Path, bytes] = {}
    for folder in folders:
        here = [path for path in paths if path.parent == folder]
        try:
            read = read_consistent(folder, [path.name for path in here])
        except OSError as error:
            raise _unreadable(error, here[0]) from error
        contents.update({path: read[path.name] for path in here})
    return contents


def _unreadable(error: OSError, default: Path) -> MaterialError:
    path = Path(error.filename) if error.filename else default
    if isinstance(error, FileNotFoundError):
        if path.is_symlink():
            return MaterialError(path, "is a link to a file that does not exist")
        return MaterialError(path, "does not exist", "check the spelling of the path")
    if isinstance(error, IsADirectoryError):
        return MaterialError(path, "is a directory", "name the file inside it")
    if isinstance(error, PermissionError):
        return MaterialError(
            path, "permission denied", f"see who may read it with: ls -l {_quoted(path)}"
        )
    return MaterialError(path, (error.strerror or str(error)).lower())


def _show(path: Path, command: str) -> str:
    return f"openssl {command} -in {_quoted(path)} -noout -text"


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
