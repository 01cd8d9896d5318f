"""Ask for the password of a private key on the terminal, before anything else happens.

Only where there is one: standard input and standard error both. A command in a pipe, under cron or
in a container ends with an error that names ``--password-file`` in its place. What is typed is not
shown, and not logged.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from mtls_echo_pki.printable import printable


class AskedPassword:
    """A password that was typed; called, it is given out.

    Args:
        password: What was typed.
        once: Forget it then. A command that reads its files again needs it again.
    """

    def __init__(self, password: str, *, once: bool) -> None:
        self._password = password
        self._once = once

    def __call__(self) -> str:
        """The password."""
        password = self._password
        if self._once:
            self._password = ""
        return password


def ask_for_password(
    cert: Path | None, key: Path | None, password_file: Path | None, *, once: bool = False
) -> AskedPassword | None:
    """Ask for the password of a key that has one.

    Args:
        cert, key: The files; without the second the first has the key in it.
        password_file: Where it is to be read from, if not here.
        once: Whether it is used once only.

    Returns:
        What was typed; None where nothing has to be asked, or nothing can be.
    """
    file = key or cert
    if file is None or password_file is not None or not _has_terminal():
        return None

    from mtls_echo_pki.files.private_key import is_locked

    if not is_locked(file):
        return None
    text = f"password of {printable(str(file))}"
    typed: str = click.prompt(text, hide_input=True, default="", show_default=False, err=True)
    return AskedPassword(typed, once=once)


def _has_terminal() -> bool:
    # Either may be closed.
    return all(each is not None and each.isatty() for each in (sys.stdin, sys.stderr))
