"""Private keys: PEM, in the clear or encrypted, as PKCS#8 (RFC 5958) or in the traditional form.

An encrypted key is refused without a password, and never asked about here: a server that stops at
an unseen prompt, after a reload at night, is worse than one that does not start. An application
may ask beforehand (`is_locked`).
"""

from __future__ import annotations

import base64
import re
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from mtls_echo_pki.certificates.der import first
from mtls_echo_pki.certificates.request import PrivateKey
from mtls_echo_pki.files.durable import read_file
from mtls_echo_pki.files.formats import is_pkcs12
from mtls_echo_pki.files.passwords import Password, PasswordError, resolve, too_long
from mtls_echo_pki.files.pem_blocks import (
    Block,
    MaterialError,
    blocks_of,
    quoted,
    show_command,
)
from mtls_echo_pki.files.pkcs12 import is_whole, needs_password

# The AES ciphers of NIST, des-EDE3-CBC, and pbeWithSHAAnd3-KeyTripleDES-CBC, which names its own.
_USUAL_CIPHERS = tuple(
    map(
        bytes.fromhex,
        ("06096086480165030401", "06082a864886f70d0307", "060a2a864886f70d010c0103"),
    )
)


def is_locked(path: Path) -> bool:
    """Return whether a file of a private key can only be read with a password.

    False of one that cannot be used at all: reading it says why.
    """
    try:
        contents = read_file(path)
        if is_pkcs12(contents):
            is_whole(contents, path)
            return needs_password(contents)
        block = blocks_of("private key", contents, path)[0]
        if not _is_encrypted(block):
            return False
        _is_intact(block, path)
        return True
    except (OSError, MaterialError):
        return False


def parse_key(pem: bytes, *, path: Path, password: Password | None = None) -> PrivateKey:
    """Parse a private key that was read elsewhere; the path is for the messages.

    Raises:
        PasswordError: If it is encrypted, and the password missing or wrong.
        MaterialError: If there is none, or one that cannot be used.
    """
    block = blocks_of("private key", pem, path)[0]
    if _is_encrypted(block):
        _is_intact(block, path)
    given = resolve(password, path) if _is_encrypted(block) else None
    if _is_encrypted(block) and given is None:
        raise PasswordError(
            path,
            "the private key is encrypted",
            f"decrypt it into a file only you can read: "
            f"(umask 077; openssl pkey -in {quoted(path)} -out {quoted(path)}.plain)",
            missing=True,
        )
    try:
        key = load_pem_private_key(block.text, given)
    except (ValueError, TypeError) as error:
        if given is not None:
            raise _not_decrypted(block, path, given, error) from error
        raise MaterialError(
            path, "the private key is damaged", f"look at it with {show_command(path, 'pkey')}"
        ) from error
    except UnsupportedAlgorithm as error:
        if given is not None:
            raise _not_decrypted(block, path, given, error) from error
        raise unsupported_key(
            path, "is of a kind, or on a curve, that is not supported"
        ) from error
    if not isinstance(key, PrivateKey):
        raise unsupported_key(path, "is neither EC, Ed25519 nor RSA")
    return key


def _is_intact(block: Block, path: Path) -> None:
    """Refuse an encrypted key that no password can open.

    Raises:
        MaterialError: If it is damaged.
    """
    lines = block.text.split(b"\n")[1:-2]
    if block.label != "ENCRYPTED PRIVATE KEY":
        # Headers, each of a name and a value, stand first (RFC 1421 §4.4).
        lines = [line for line in lines if b":" not in line]
    what = "it is not base64"
    try:
        der = base64.b64decode(b"".join(b"".join(lines).split()), validate=True)
        if block.label == "ENCRYPTED PRIVATE KEY":
            what = "part of it is missing"
            first(der)
    except ValueError as error:
        reason = f"the private key is damaged: {what}"
        raise MaterialError(path, reason, "copy the file again, whole") from error


def _is_encrypted(block: Block) -> bool:
    # The traditional form marks encryption in a header (RFC 1421 §4.6.1.1).
    return block.label == "ENCRYPTED PRIVATE KEY" or b"Proc-Type: 4,ENCRYPTED" in block.text


def _not_decrypted(block: Block, path: Path, password: bytes, error: Exception) -> PasswordError:
    reason = "the password does not decrypt the private key"
    file = quoted(path)
    hint = f"try it: openssl pkey -in {file} -noout"
    if not _is_usually_read(block):
        reason += ", or its encryption, an unusual one, cannot be read here"
        hint = (
            "encrypt it anew: (umask 077; openssl pkcs8 -topk8 -provider legacy -provider default"
            f" -in {file} -out {file}.aes)"
        )
    else:
        # One wrong password in 256 seems to be right, until what it decrypts is read: its last
        # byte, the length of the padding, is then 1.
        if not str(error).startswith("Incorrect password"):
            reason += ", or the key, or its encryption, cannot be used here"
        reason += too_long(password)
    return PasswordError(path, reason, hint, missing=False)


def _is_usually_read(block: Block) -> bool:
    """Whether a key is encrypted with AES or triple DES."""
    if block.label != "ENCRYPTED PRIVATE KEY":
        return re.search(rb"DEK-Info: (AES|DES-EDE3)-", block.text) is not None
    # The algorithms stand before the encrypted part.
    return any(oid in block.der[:200] for oid in _USUAL_CIPHERS)


def unsupported_key(path: Path, what: str) -> MaterialError:
    """Return the error about a key of which no credential can be made here."""
    return MaterialError(
        path,
        f"the private key {what}",
        "have a certificate issued for an EC key: openssl ecparam -name prime256v1 -genkey",
    )
