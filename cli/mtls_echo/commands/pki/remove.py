"""`mtls-echo pki remove`: remove what `pki init` and the commands after it have made, no more.

No link is followed, neither that of the directory nor one inside: every folder is opened as what
it is, and what is in it is removed by name from the open folder. Names that no `pki` command gives
stay, with the folders that they are in.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import click

from mtls_echo.commands.pki.errors import as_command_errors, print_done, quiet_option
from mtls_echo.console import PROGRAM, CommandError, print_result

_EPILOG = """\b
examples:
  mtls-echo pki remove ./pki
  mtls-echo pki remove ./pki --yes
  mtls-echo pki remove
      The directory that `serve` and `connect` make where they are told of none.

exit status: 0 removed, 2 wrong arguments, no PKI directory, or it cannot be removed
"""

# Of a CA, a credential, what is trusted: the files, and the links and generations behind them.
_FILE = re.compile(
    r"(tls|next|previous|root|cross|retired|ca)\.crt|(tls|next|previous|root)\.key|crl\.pem"
    r"|root-[0-9a-f]{16}\.key|ledger\.json|\.\.\w[\w.-]*"
)
_GENERATION = re.compile(r"\.\.[0-9]{4}-[\w.-]+")
_PARTS = ("trust", "authorities")  # in this order: without its CAs it is not a PKI any more


@click.command(epilog=_EPILOG)
@click.argument(
    "directory", metavar="[DIR]", type=click.Path(path_type=Path), required=False, default=None
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@quiet_option
def remove(directory: Path | None, yes: bool) -> None:
    """Remove the PKI in DIR: its CAs, keys, certificates and CRLs.

    DIR is the one that `serve` and `connect` share, unless given. What `mtls-echo pki` has not
    made stays, and is listed. A server that runs with it goes on with what it has read.
    """
    from mtls_echo_tls.material.load import default_pki

    place = default_pki() if directory is None else directory
    with as_command_errors():
        names = _credentials(place)
    if not yes:
        _ask(place, names)
    with as_command_errors():
        left = _remove(place, names)
    if not left:
        print_done(f"removed {place}")
        if directory is None and place.parent.name == PROGRAM:
            with suppress(OSError):  # something else is in it
                place.parent.rmdir()
        return
    print_result(f"removed the PKI in {place}; left, because `mtls-echo pki` has not made it:")
    for path in left:
        print_result(f"  {path}")


def _credentials(place: Path) -> list[str]:
    """The names of the credentials, if it is a PKI directory that may be removed."""
    from mtls_echo_pki.directory.directory import Directory
    from mtls_echo_pki.directory.layout import credential_folders
    from mtls_echo_pki.directory.store import neighbours
    from mtls_echo_pki.files.staging import DirectoryError

    if place.is_symlink():
        raise DirectoryError(
            f"{place}: is a link, which is not followed",
            f"name what it points to: mtls-echo pki remove {shlex.quote(os.path.realpath(place))}",
        )
    if not os.path.lexists(place):
        hint = neighbours(place) or "there is nothing to remove"
        raise DirectoryError(f"{place}: does not exist", hint)
    Directory(place)
    if not any(place.glob("authorities/*/ledger.json")):
        raise DirectoryError(
            f"{place}: has no CAs, so it was not made by `mtls-echo pki init`",
            "remove a copy by yourself, when you have looked at what is in it",
        )
    folders = credential_folders(place)
    if place.samefile(os.curdir):
        raise DirectoryError(f"{place}: is the current directory", "remove it from another")
    return [each.name for each in folders if (each / "..data").is_symlink()]


def _ask(place: Path, names: list[str]) -> None:
    if not sys.stdin.isatty():
        raise CommandError(
            f"{place}: not removed: there is no terminal to ask on", "do it without asking: --yes"
        )
    credentials = f"the credentials {', '.join(names)}" if names else "no credentials"
    question = f"Remove {place}, its CAs with their keys, and {credentials}?"
    click.confirm(question, abort=True, err=True)


def _remove(place: Path, names: list[str]) -> list[Path]:
    """Remove it, and return what is left."""
    from mtls_echo_pki.files.durable import locked

    left: list[Path] = []
    with locked(place), _opened(place) as folder:
        for name in (*names, *_PARTS):
            left += _cleared(place / name, folder, name)
        present = {each.parts[len(place.parts)] for each in left}
        left += sorted(place / each for each in os.listdir(folder) if each not in present)
        if not left:
            place.rmdir()
    return left


def _cleared(path: Path, parent: int, name: str, depth: int = 0) -> Iterator[Path]:
    """Remove a folder with all that is known in it; yield what is not, and stays."""
    if not stat.S_ISDIR(os.lstat(name, dir_fd=parent).st_mode):
        yield path
        return
    with _opened(name, parent) as folder:
        for each in sorted(os.listdir(folder)):
            mode = os.lstat(each, dir_fd=folder).st_mode
            if stat.S_ISDIR(mode):
                role = depth == 0 and path.name in _PARTS and each in ("servers", "clients")
                if role or _GENERATION.fullmatch(each):
                    yield from _cleared(path / each, folder, each, depth + 1)
                else:
                    yield path / each
            elif _FILE.fullmatch(each) or (stat.S_ISLNK(mode) and each == "clients"):
                os.unlink(each, dir_fd=folder)
            else:
                yield path / each
    with suppress(OSError):  # something is left in it
        os.rmdir(name, dir_fd=parent)


@contextmanager
def _opened(name: Path | str, parent: int | None = None) -> Generator[int]:
    """A folder's descriptor; a link in its place is an error."""
    descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
