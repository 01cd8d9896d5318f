"""Passwords that can be had only once: typed on the terminal, or read from a pipe.

It is asked for only where there is a terminal: standard input and standard error both. A command
in a pipe, under cron or in a container ends with an error that names ``--password-file`` in its
place. What is typed is not shown, and not logged.

A pipe, such as bash makes of ``<(pass show tls)``, serves a command that reads its files once.
Others read a password file again at each reload, which a pipe cannot be.
"""

from __future__ import annotations

import io
import os
import stat
import sys
from pathlib import Path
from typing import Any

import click

from mtls_echo.console import CommandError, say
from mtls_echo_pki.printable import printable

_STANDARD_INPUT = frozenset({"/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"})

# Far more than openssl reads of a line with a password.
_LONGEST_LINE = 64 * 1024


class HeldPassword:
    """A password that cannot be read again; called, it is given out.

    Args:
        password: What was typed, or came from a pipe.
        once: Forget it then. A command that reads its files again needs it again.
    """

    def __init__(self, password: str | bytes, *, once: bool) -> None:
        self._password = password
        self._once = once

    def __call__(self) -> str | bytes:
        """The password."""
        password = self._password
        if self._once:
            self._password = ""
        return password


def piped_password(file: Path) -> bytes | None:
    """Read the first line of a pipe, or of standard input; None if the file is something else.

    Raises:
        CommandError: If it is empty, or cannot be a password.
    """
    is_input = str(file) in _STANDARD_INPUT and not os.isatty(0)
    try:
        if not is_input and not stat.S_ISFIFO(os.stat(file).st_mode):
            return None
        # What follows the line may be messages, and the pipe standard input. A file that is
        # standard input would be opened anew by its name, and its first line be a message, too.
        with open(0 if is_input else file, "rb", buffering=0, closefd=not is_input) as pipe:
            line = _line_of(pipe)
    except OSError:
        return None  # reading it as a file will say so
    where = "standard input" if is_input else "this pipe"
    if len(line) == _LONGEST_LINE:
        raise CommandError(
            f"{file}: the first line in {where} is too long for a password",
            "end the password with a newline",
        )
    if not line.rstrip(b"\r\n"):
        raise CommandError(f"{file}: there is no password in {where}", "write one to it")

    from mtls_echo_pki.files.passwords import first_line
    from mtls_echo_pki.files.pem_blocks import MaterialError

    try:
        return first_line(line, file)
    except MaterialError as error:
        raise CommandError(str(error), f"write the password to {where} as UTF-8 text") from error


def _line_of(pipe: io.FileIO) -> bytes:
    line = bytearray()
    while len(line) < _LONGEST_LINE and not line.endswith(b"\n"):
        if not (byte := pipe.read(1)):
            break
        line += byte
    return bytes(line)


def ask_for_password(
    cert: Path | None, key: Path | None, password_file: Path | None, *, once: bool = False
) -> HeldPassword | None:
    """Ask for the password of a key that has one, or read it from a pipe.

    Args:
        cert, key: The files; without the second the first has the key in it.
        password_file: Where it is to be read from; a pipe is read here, if it is used once.
        once: Whether it is used once only.

    Returns:
        What was read or typed; None where nothing has to be asked, or nothing can be.

    Raises:
        CommandError: If a pipe is empty, or what was typed cannot be a password.
    """
    file = key or cert
    if file is None:
        return None
    from mtls_echo_pki.files.private_key import is_locked

    if once and password_file is not None:
        piped = piped_password(password_file)
        if piped is not None and not is_locked(file):
            unneeded = f"{file} needs no password: --password-file has no effect"
            say(f"warning: {unneeded}")
        return None if piped is None else HeldPassword(piped, once=True)
    if cert is None or password_file is not None or not _has_terminal():
        return None

    # Of what cannot be used whatever the password is, reading it says why.
    if not is_locked(file) or (file != cert and (_is_pkcs12(file) or _is_pkcs12(cert))):
        return None
    text = f"password of {printable(str(file))}"
    return HeldPassword(typed_password(text, default="", show_default=False, err=True), once=once)


def _is_pkcs12(file: Path) -> bool:
    from mtls_echo_pki.files.durable import read_file
    from mtls_echo_pki.files.formats import is_pkcs12

    try:
        return is_pkcs12(read_file(file))
    except OSError:
        return False


def typed_password(text: str, **options: Any) -> bytes:
    """Return what is typed, unseen, at a prompt.

    Args:
        text: The prompt.
        **options: Of `click.prompt`.

    Raises:
        CommandError: If it is not text in the terminal's encoding. It is not in the error.
    """
    try:
        typed: str = click.prompt(text, hide_input=True, **options)
        encoded = typed.encode()
    except UnicodeError:
        raise CommandError(
            "what was typed is not text in the terminal's encoding",
            "see what that is with: locale charmap",
        ) from None
    if b"\0" in encoded:
        raise CommandError("what was typed has a NUL byte in it", "leave it out")
    return encoded


def _has_terminal() -> bool:
    # Either may be closed.
    return all(each is not None and each.isatty() for each in (sys.stdin, sys.stderr))
