"""Write PKCS#12 files, for software that does not read PEM: browsers, Java, Windows.

The file holds a private key, so it is created 0600 and never over another file. Its
password comes from a file, an environment variable or the terminal, never from the
command line, which every user of the machine can see, and it is never printed.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mtls_echo.console import CommandError
from mtls_echo.password import piped_password, typed_password

if TYPE_CHECKING:
    from mtls_echo_pki.certificates.credential import Credential

PASSWORD_VARIABLE = "MTLS_ECHO_PKCS12_PASSWORD"  # noqa: S105 - a variable's name, no password


def read_password(file: Path | None) -> bytes:
    """Return the password: a file's first line, the variable's value, or the answer.

    Args:
        file: Goes before the variable, which goes before asking on the terminal.

    Raises:
        CommandError: If it is empty, or there is no terminal to ask on.
        MaterialError: If the file cannot be read.
    """
    from mtls_echo_pki.files import passwords

    if file is not None:
        return piped_password(file) or passwords.read_password(file)
    if PASSWORD_VARIABLE in os.environ:
        password = os.environb[PASSWORD_VARIABLE.encode()]
    elif sys.stdin.isatty():
        return typed_password("PKCS#12 password", confirmation_prompt=True)
    else:
        raise CommandError(
            "there is no password for the PKCS#12 file and no terminal to ask on",
            f"set {PASSWORD_VARIABLE} or give --pkcs12-password-file FILE",
        )
    if not password:
        raise CommandError(f"{PASSWORD_VARIABLE}: the PKCS#12 password is empty", "choose one")
    return password


@contextmanager
def reserved(path: Path) -> Generator[None]:
    """Hold a new, empty file; take it back if what it was for fails."""
    from mtls_echo_pki.files.durable import write_file

    write_file(path, b"", 0o600)
    try:
        yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def write(path: Path, credential: Credential, password: bytes, name: str, folder: Path) -> None:
    """Fill the reserved file; if that fails, say how to write it from what was issued.

    Raises:
        CommandError: If the file cannot be written. It is removed then.
    """
    from mtls_echo_pki.files.durable import os_reason, replace_file

    try:
        replace_file(path, credential.pkcs12(password, name=name), 0o600)
    except OSError as error:
        path.unlink(missing_ok=True)
        certificate, key = (shlex.quote(str(folder / file)) for file in ("tls.crt", "tls.key"))
        reason = os_reason(error)
        raise CommandError(
            f"{folder} was issued, but {path} cannot be written: {reason}",
            f"write it later: openssl pkcs12 -export -in {certificate} -inkey {key} -out FILE",
        ) from error
