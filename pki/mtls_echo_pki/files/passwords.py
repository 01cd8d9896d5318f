"""Passwords of private keys: where they come from, and what is said when one does not fit.

A password is a value, or is asked for when a key turns out to be encrypted, as with
``SSLContext.load_cert_chain``. It is used to open the key and not kept. A file of a password is
read anew each time: a key and its password may be replaced while a server runs. Its first line
counts, as for ``openssl -passin file:…``, so that an editor's newline at the end does no harm; nor
does its byte-order mark.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from mtls_echo_pki.files.durable import os_reason, read_file
from mtls_echo_pki.files.pem_blocks import MaterialError, quoted

# What openssl reads of a line, with the password of a key or a PKCS#12 file.
OPENSSL_READS = 1023
NUL_BYTE = "has a NUL byte in it: is it UTF-16 text?"

Password: TypeAlias = bytes | str | Callable[[], bytes | str]


class PasswordError(MaterialError):
    """A file that needs a password and got none, or not the right one.

    Args:
        path, reason, hint: As of every `MaterialError`.
        missing: Whether there was none.
    """

    def __init__(self, path: Path, reason: str, hint: str | None, *, missing: bool) -> None:
        super().__init__(path, reason, hint)
        self.missing = missing


def read_password(path: Path) -> bytes:
    """Return the first line of a file, without its end.

    Raises:
        MaterialError: If the file cannot be read, or the line is empty or cannot be a password.
    """
    try:
        contents = read_file(path)
    except FileNotFoundError as error:
        raise MaterialError(path, "does not exist", "check the spelling of the path") from error
    except PermissionError as error:
        hint = f"see who may read it with: ls -l {quoted(path)}"
        raise MaterialError(path, "permission denied", hint) from error
    except OSError as error:
        hint = "name a file with the password in its first line"
        if path.is_fifo():
            hint += "; a pipe can be read once, and the password is read again at every reload"
        raise MaterialError(path, os_reason(error), hint) from error
    return first_line(contents, path)


def first_line(contents: bytes, path: Path) -> bytes:
    """Return the password in the first line of what was read, without its end.

    Raises:
        MaterialError: If the line is empty, or cannot be a password.
    """
    if contents.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        file = quoted(path)
        command = f"(umask 077; iconv -f UTF-16 -t UTF-8 {file} > {file}.txt)"
        raise MaterialError(path, "is UTF-16 text", f"convert it: {command}")
    line = contents.removeprefix(codecs.BOM_UTF8).partition(b"\n")[0]
    password = line.removesuffix(b"\r")
    if not password:
        what = "its first line is empty" if contents else "is empty"
        raise MaterialError(path, f"{what}: there is no password", "write it in the first line")
    if b"\0" in password:
        raise MaterialError(path, f"its first line {NUL_BYTE}", "write it as UTF-8 text")
    return password


def resolve(password: Password | None, path: Path) -> bytes | None:
    """Return the bytes of a password, asking for it if need be; None without one, or an empty.

    Args:
        password: As it was given.
        path: The file that it is to open, for the messages.

    Raises:
        PasswordError: If it cannot be a password. It is not in the error, nor in its cause.
    """
    given = password() if callable(password) else password
    try:
        resolved = given.encode() if isinstance(given, str) else given
    except UnicodeEncodeError:
        what = "the password has a character in it that UTF-8 cannot encode"
        raise PasswordError(path, what, None, missing=False) from None
    if resolved and b"\0" in resolved:
        # cryptography panics at it, with the password in the message.
        raise PasswordError(path, f"the password {NUL_BYTE}", None, missing=False)
    return resolved or None


def too_long(password: bytes) -> str:
    """Return what is to be added of a password that does not fit, if it is a long one."""
    if len(password) <= OPENSSL_READS:
        return ""
    return f": it has {len(password)} bytes, and openssl reads {OPENSSL_READS} of a file's line"
