"""Build a folder under a hidden name, and give it its own by one rename when it is complete.

A reader sees nothing meanwhile; if the builder fails, or the disk is full, nothing is left; and
when two build at once, one rename succeeds and the other raises. POSIX lets
``rename`` replace an *empty* directory, and nothing else: existing files are never at risk.

A builder that is killed leaves the hidden folder behind, with private keys in it. It held a
lock on it, which the kernel released: :func:`remove_stale` removes what is not locked.
"""

from __future__ import annotations

import errno
import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from mtls_echo_pki.files.durable import (
    exists,
    is_folder,
    locked,
    make_folder,
    os_reason,
    sync_folder,
)

# What is to be NAME is built as .new-NAME.xxxxxxxx/NAME; the eight characters are mkdtemp's.
_STAGING = re.compile(r"\.new-(.+)\.[a-z0-9_]{8}")


class DirectoryError(Exception):
    """A PKI directory that cannot be used or changed as asked.

    Args:
        message: Lower case, names the path.
        hint: What to do about it, where that is known.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class AlreadyThereError(DirectoryError):
    """It exists already."""


@contextmanager
def new_folder(path: Path) -> Generator[Path]:
    """Build a folder and put it in place when the block ends without an exception.

    Args:
        path: Absolute; free, or an empty folder. Its parents are made.

    Yields:
        Where to build it, with mode 0700 whatever the umask.

    Raises:
        AlreadyThereError: If there is something already, or by the time it is built.
        DirectoryError: If the path cannot be replaced.
        OSError: If it cannot be written.
    """
    _refuse_taken(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    hidden = Path(tempfile.mkdtemp(prefix=f".new-{path.name}.", dir=path.parent))
    try:
        hidden.chmod(0o700)
        with locked(hidden):
            staging = hidden / path.name
            make_folder(staging)
            yield staging
            _rename(staging, path)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
    sync_folder(path.parent)


def remove_stale(parent: Path, name: str | None = None, *, alone: bool = False) -> None:
    """Remove what builders that were killed have left in ``parent``, as far as we may.

    Args:
        parent: Where they were building.
        name: What it was to be; whatever it was, unless given.
        alone: Whether no other process can be building there now.
    """
    with suppress(OSError):  # there is no such folder, or we may not look into it
        for hidden in list(parent.iterdir()):
            was_to_be = _STAGING.fullmatch(hidden.name)
            if was_to_be and name in (None, was_to_be[1]):
                _remove_if_stale(hidden, was_to_be[1], alone)


def _remove_if_stale(hidden: Path, name: str, alone: bool) -> None:
    # The lock of a process at work on it keeps us out.
    with suppress(OSError), locked(hidden, timeout=0):
        ours = hidden.lstat().st_uid == os.geteuid() and not hidden.is_symlink()
        # One that is still empty may not have been locked yet; and no secret is in it.
        if ours and os.listdir(hidden) in ([[name], []] if alone else [[name]]):
            shutil.rmtree(hidden, ignore_errors=True)


def absolute(path: Path) -> Path:
    """Return the path that a path leads to, links followed.

    Raises:
        DirectoryError: If it starts from a current directory that was deleted.
    """
    try:
        # Not Path.resolve: on a loop of links it raises RuntimeError before Python 3.13.
        return Path(os.path.realpath(path))
    except FileNotFoundError as error:
        raise DirectoryError(
            f"{path}: the current directory, which it starts from, was deleted",
            "change to another, or name an absolute path",
        ) from error


@contextmanager
def os_errors_as_directory_errors(path: Path) -> Generator[None]:
    """Turn what the operating system refuses into an error that names the file.

    Args:
        path: Named where the operating system names none, such as on a full disk.
    """
    try:
        yield
    except OSError as error:
        hint = "name another directory"
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            barrier = _unreadable(Path(error.filename or path))
            hint = "name a directory you may write to"
            if barrier is not None:
                hint = f"see who may read it with: ls -ld {shlex.quote(str(barrier))}"
        elif error.errno in (errno.ENOSPC, errno.EDQUOT):
            hint = "make room and try again: nothing was changed"
        where = Path(error.filename2 or error.filename or path)
        # The hidden folder is gone: name what was to come of it.
        visible = Path(*(part for part in where.parts if not _STAGING.fullmatch(part)))
        reason = os_reason(error)
        raise DirectoryError(f"{visible}: {reason}", hint) from error


def _unreadable(path: Path) -> Path | None:
    """The file, or the folder above it, that we may not read; None if that is not the trouble."""
    for place in (*reversed(path.parents), path):
        if not os.path.lexists(place):
            return None
        wanted = os.X_OK if place != path else os.R_OK
        if os.path.isdir(place):
            wanted |= os.X_OK
        if not os.access(place, wanted, effective_ids=os.access in os.supports_effective_ids):
            return place
    return None


def _refuse_taken(path: Path) -> None:
    """Raise if ``path`` is anything but free or an empty folder we may replace."""
    if is_folder(path):
        if any(path.iterdir()):
            raise _taken(path)
        if path.samefile(os.curdir):
            # Renaming onto it would leave the caller's shell in a deleted folder.
            raise DirectoryError(
                f"{path}: is the current directory, which cannot be replaced",
                "name a new one inside it: mtls-echo pki init ./pki",
            )
    elif path.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    elif exists(path):
        raise DirectoryError(f"{path}: is a file", "name a directory that does not exist yet")


def _rename(staging: Path, path: Path) -> None:
    try:
        staging.rename(path)
    except OSError as error:
        # Also when another process was faster: then its folder is complete.
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise _taken(path) from error
        if error.errno in (errno.EBUSY, errno.EXDEV):
            raise DirectoryError(
                f"{path}: is a mount point, which cannot be replaced",
                f"name a new one inside it: mtls-echo pki init {shlex.quote(str(path / 'pki'))}",
            ) from error
        raise


def _taken(path: Path) -> AlreadyThereError:
    return AlreadyThereError(
        f"{path}: exists and is not empty",
        "name a new directory, or issue into this one: mtls-echo pki issue",
    )
