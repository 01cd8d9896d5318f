"""Durable files: on the disk before they have their name, and never readable by others meanwhile.

Three things can go wrong with a plain ``open(path, "w").write(…)`` of a key or a ledger: between
creation and ``chmod`` others may open it; a crash leaves half of it, or none; and after a power
failure the name may be there and the contents not. So files are created with their mode and never
over another, they are synced before they get their name, and then the folder is.

One writer at a time: the lock is on the folder itself, and the kernel releases it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

# The mode of a file that every user may read.
PUBLIC = 0o644

# A chain of a dozen RSA certificates is some 30 kB; an operating system's whole trust
# store is below 300 kB. A larger file is not what the caller takes it for.
MAX_FILE_SIZE = 1 << 20

# How long another process may take over a change before we give up waiting for it;
# a change takes milliseconds, so one that lasts longer hangs.
_LOCK_TIMEOUT = 10.0
_LOCK_INTERVAL = 0.01


def os_reason(error: Exception) -> str:
    """Return what the operating system says about an error, in lower case."""
    return (getattr(error, "strerror", None) or str(error)).lower()


def exists(path: Path) -> bool:
    """Whether there is something at a path, links followed.

    `Path.exists`, `is_dir` and `is_file` say False of what cannot be looked at, since Python 3.14
    also where a folder above it may not be searched: what is there, and protected, would count as
    absent.

    Raises:
        OSError: If that cannot be seen, for want of permission say.
    """
    return _mode(path) is not None


def is_folder(path: Path) -> bool:
    """Whether a path leads to a folder; raises as `exists` does."""
    mode = _mode(path)
    return mode is not None and stat.S_ISDIR(mode)


def is_regular(path: Path) -> bool:
    """Whether a path leads to a regular file; raises as `exists` does."""
    mode = _mode(path)
    return mode is not None and stat.S_ISREG(mode)


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except OSError as error:
        # The last is a link that leads to itself.
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise


def read_file(path: Path) -> bytes:
    """Read a regular file of bounded size.

    Raises:
        OSError: See :func:`read_consistent`.
    """
    # Without O_NONBLOCK the open of a FIFO would wait for its writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            # It is read again at every reload, which a pipe cannot be.
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        with open(descriptor, "rb", closefd=False) as file:
            contents = file.read(MAX_FILE_SIZE + 1)
    finally:
        os.close(descriptor)
    if len(contents) > MAX_FILE_SIZE:
        raise OSError(errno.EFBIG, "larger than 1 MiB", str(path))
    return contents


def write_file(path: Path, contents: bytes, mode: int) -> None:
    """Create a file with exactly these permissions, and have it on the disk.

    Raises:
        FileExistsError: If it exists: nothing is overwritten.
        OSError: If it cannot be written; nothing is left of it then.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode & 0o600)
    try:
        with open(descriptor, "wb") as file:
            os.fchmod(descriptor, mode)  # the umask may have taken bits away
            file.write(contents)
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def replace_file(path: Path, contents: bytes, mode: int) -> None:
    """Replace one file atomically; readers see the old contents or the new.

    Raises:
        OSError: If it cannot be written. The old file then stays.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.unlink(missing_ok=True)
    write_file(temporary, contents, mode)
    temporary.replace(path)
    sync_folder(path.parent)


def make_folder(path: Path, *, exist_ok: bool = False) -> None:
    """Create a folder with mode 0700, whatever the umask."""
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        if not exist_ok or not is_folder(path):
            raise
    else:
        path.chmod(0o700)


def sync_folder(folder: Path) -> None:
    """Have a folder's entries on the disk; syncing a file alone does not name it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked(folder: Path, *, timeout: float | None = None) -> Generator[None]:
    """Keep other writers of ``folder`` out; readers need no lock.

    The lock is on the folder itself, so that no lock file appears in it, and the
    kernel releases it even if this process is killed.

    Args:
        folder: Must exist.
        timeout: How long to wait for it, in seconds; ten unless given.

    Raises:
        OSError: ``EBUSY``, if another process holds it for longer than that.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + (_LOCK_TIMEOUT if timeout is None else timeout)
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise OSError(errno.EBUSY, "locked by another process", str(folder)) from None
                time.sleep(_LOCK_INTERVAL)
        yield
    finally:
        os.close(descriptor)
