"""A folder appears under its name when it is complete, and not before.

It is built beside, under a hidden name, and put in place by one rename. Whoever looks
meanwhile sees nothing; if the builder fails, or the disk is full, nothing is left; and
when two build at once, the rename succeeds for one of them and the other is told. POSIX
lets ``rename`` replace an *empty* directory, and nothing else: what somebody has put
there is never at risk.
"""

from __future__ import annotations

import errno
import shlex
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from mtls_echo_pki.publication import sync_folder

# What a folder is called until it is complete begins with this.
STAGING = ".new-"


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
    """Somebody made it first."""


@contextmanager
def new_folder(path: Path) -> Generator[Path]:
    """Build a folder and put it in place when the block ends well.

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
    staging = Path(tempfile.mkdtemp(prefix=f"{STAGING}{path.name}.", dir=path.parent))
    try:
        staging.chmod(0o700)
        yield staging
        _rename(staging, path)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    sync_folder(path.parent)


@contextmanager
def explained() -> Generator[None]:
    """Turn what the operating system refuses into an error that names the file."""
    try:
        yield
    except OSError as error:
        hint = None
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            hint = "name a directory you may write to"
        elif error.errno in (errno.ENOSPC, errno.EDQUOT):
            hint = "make room and try again: nothing was changed"
        where = error.filename2 or error.filename
        reason = (error.strerror or str(error)).lower()
        raise DirectoryError(f"{where}: {reason}" if where else reason, hint) from error


def _refuse_taken(path: Path) -> None:
    """Raise if ``path`` is anything but free or an empty folder we may replace."""
    if path.is_dir():
        if any(path.iterdir()):
            raise _taken(path)
        if path == Path.cwd():
            # Renaming onto it would leave the caller's shell in a deleted folder.
            raise DirectoryError(
                f"{path}: is the current directory, which cannot be replaced",
                "name a new one inside it: mtls-echo pki init ./pki",
            )
    elif path.exists():
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
