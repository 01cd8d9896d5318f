"""Our own certificate and key, opened with a password where they need one.

The password is a value, what returns it when it is needed, or the first line of a file, which is
read anew each time. It is used here, to open the key, and kept nowhere.
"""

from __future__ import annotations

import os
import shlex
from functools import cache
from pathlib import Path

from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.files.passwords import Password, PasswordError, read_password
from mtls_echo_pki.files.pem import read_credential
from mtls_echo_pki.files.pem_blocks import quoted
from mtls_echo_pki.files.private_key import is_locked
from mtls_echo_tls.material.warnings import exposure_warnings
from mtls_echo_tls.sides import Side
from mtls_echo_tls.vocabulary import Vocabulary


def read_own(
    cert: Path,
    key: Path,
    *,
    password: Password | None,
    password_file: Path | None,
    vocabulary: Vocabulary,
) -> Credential:
    """Read a certificate and its key; PKCS#12 if both are the same file of that kind.

    Raises:
        MaterialError: A file cannot be used, or the password is missing or wrong.
    """
    if password_file is not None:
        password = read_password(password_file)
    elif callable(password):
        # Files that change meanwhile are read again: ask once all the same.
        password = cache(password)
    try:
        return read_credential(cert, key, password=password)
    except PasswordError as error:
        hint = error.hint
        if error.missing and vocabulary.unlock:
            hint = vocabulary.complete("give its password: {unlock}{file}")
        elif hint and password_file is not None:
            file = f"-in {quoted(error.path)}"
            command = hint.replace(file, f"{file} -passin {shlex.quote(f'file:{password_file}')}")
            joint = "then" if hint.startswith("try it") else "or"
            hint = f"correct the first line of {password_file}, {joint} {command}"
        raise PasswordError(error.path, error.reason, hint, missing=error.missing) from error


def read_mounted(
    cert: Path, key: Path, anchors: Path, side: Side, *, vocabulary: Vocabulary
) -> Credential:
    """Read a certificate and its key from a mounted folder, to which no password belongs.

    Raises:
        MaterialError: A file cannot be used, or the key has a password.
    """
    try:
        return read_credential(cert, key)
    except PasswordError as error:
        if not vocabulary.unlock:
            raise
        trust = vocabulary.ca if side == "client" else vocabulary.client_ca
        named = {vocabulary.cert: cert, vocabulary.key: key, trust: anchors}
        settings = [f"{name} {quoted(path)}" for name, path in named.items() if path.exists()]
        settings.append(vocabulary.complete("{unlock}{file}"))
        between = " " if vocabulary.file else ", "
        hint = f"name its files in place of the folder: {between.join(settings)}"
        raise PasswordError(error.path, error.reason, hint, missing=True) from error


def secret_warnings(
    key: Path | None, password_file: Path | None, vocabulary: Vocabulary
) -> tuple[str, ...]:
    """Who else can read a key that is not encrypted, or the file of its password."""
    if password_file is not None and password_file.is_relative_to("/dev"):
        password_file = Path(os.path.realpath(password_file))  # standard input, from a file
    exposed = exposure_warnings(password_file, "password file")
    if key is None or is_locked(key):
        return exposed
    exposed = (*exposure_warnings(key, "private key"), *exposed)
    if password_file is None:
        return exposed
    return (*exposed, f"{key} needs no password: {vocabulary.unlock_file} has no effect")
