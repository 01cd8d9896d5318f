"""Publish several files as one, by a single rename, and read them as one (AtomicWriter).

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
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from mtls_echo_pki.files.durable import locked, make_folder, read_file, sync_folder, write_file

DATA = "..data"
_DATA_TMP = "..data_tmp"
GENERATION = "..2"  # every generation begins with the year it was made in
_STAMP = "..%Y-%m-%dT%H-%M-%S."
# How our own generations are called; what else lies in a folder is left alone.
_GENERATION = re.compile(r"\.\.2\d{3}-\d\d-\d\dT\d\d-\d\d-\d\d\..+")

# Each attempt fails only if two whole generations were published during it.
_MAX_ATTEMPTS = 100


def publish(
    folder: Path,
    files: Mapping[str, bytes],
    modes: Mapping[str, int],
    *,
    keep_previous: bool = True,
    adopt: bool = False,
) -> None:
    """Replace the contents of ``folder`` by ``files``, all at once.

    Power may fail at any point: a reader finds the old files or the new ones. What a writer
    leaves unfinished that is killed after the rename, :func:`tidy` finishes.

    Args:
        folder: Created (0700) if missing.
        files: File name to contents.
        modes: File name to permission bits, whatever the umask; 0600 if not named.
        keep_previous: Keep the previous generation for readers that are still in it. Without it
            they begin again, and a key that is no longer published is no longer there.
        adopt: Take plain files of these names for published ones, if they say the same.

    Raises:
        OSError: If it cannot be written. The files published before then stay.
        FileExistsError: If a name is taken by a file that was not published so.
    """
    make_folder(folder, exist_ok=True)
    with locked(folder):
        for name, contents in files.items():
            _refuse_foreign(folder / name, contents if adopt else None)
        previous = _current(folder)
        stamp = datetime.now(UTC).strftime(_STAMP)
        generation = Path(tempfile.mkdtemp(prefix=stamp, dir=folder))
        generation.chmod(0o700)  # the umask may have taken bits away
        stale: list[str] = []
        try:
            for name, contents in files.items():
                write_file(generation / name, contents, modes.get(name, 0o600))
            sync_folder(generation)
            # Before the change: after it they would lead nowhere, as they do where a file was
            # lost. Until then, a reader of whole generations finds these files in it.
            stale = _stale_links(folder, set(files))
            _remove(folder, stale)
            temporary = folder / _DATA_TMP
            temporary.unlink(missing_ok=True)  # of a writer that was killed
            temporary.symlink_to(generation.name)
            temporary.replace(folder / DATA)
        except BaseException:
            shutil.rmtree(generation, ignore_errors=True)
            with suppress(OSError):  # tidy() does what cannot be done now
                for name in stale:
                    _link(folder, name)
            raise
        for name in files:
            _link(folder, name)
        sync_folder(folder)
        kept = {generation.name, previous if keep_previous else None}
        _remove(folder, _superfluous(folder, kept))


def tidy(folder: Path, *, keep_previous: bool = True) -> bool:
    """Finish what a writer that was killed began in ``folder``, if one did.

    Args:
        folder: One made by :func:`publish`; anything else is left alone.
        keep_previous: As it was published.

    Returns:
        Whether there was anything to finish. If not, nothing was written.

    Raises:
        OSError: If it cannot be finished.
    """
    if not _unfinished(folder, keep_previous):
        return False
    with locked(folder):
        missing, superfluous = _unfinished(folder, keep_previous) or ([], [])
        _remove(folder, superfluous)
        for name in missing:
            _link(folder, name)
        sync_folder(folder)
    return True


def read_consistent(
    folder: Path, names: Sequence[str], *, optional: Sequence[str] = ()
) -> dict[str, bytes]:
    """Read several files of one generation, while others may write.

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
                # It did not vanish, it never had such a file: it is a plain file of the folder.
                return _read_until_stable(folder, names, optional)
            continue
        missing = [name for name in optional if name not in read]
        # It may be missing because the generation was being removed, or be a plain file.
        if missing and _current(folder) != generation:
            continue
        if any(os.path.lexists(folder / name) for name in missing):
            return _read_until_stable(folder, names, optional)
        return read
    raise OSError(errno.EBUSY, "is replaced faster than it can be read", str(folder))


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


def _refuse_foreign(path: Path, adopted: bytes | None) -> None:
    """Raise unless ``path`` is free, one of our links, or a file that says what is adopted."""
    try:
        ours = os.readlink(path) == f"{DATA}/{path.name}"
    except FileNotFoundError:
        return
    except OSError:  # EINVAL: not a link
        ours = adopted is not None and read_file(path) == adopted
    if not ours:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))


def _link(folder: Path, name: str) -> None:
    """Let ``name`` lead into the present generation; a plain file there says the same."""
    if (folder / name).is_symlink():
        return
    temporary = folder / f"..{name}_tmp"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(f"{DATA}/{name}")
    temporary.replace(folder / name)


def _unfinished(folder: Path, keep_previous: bool) -> tuple[list[str], list[str]] | None:
    """Return the links that are missing and the entries that are too many; None if all is well."""
    current = _current(folder)
    try:
        names = set(os.listdir(folder / current)) if current else None
    except FileNotFoundError:
        names = None
    if current is None or names is None:
        # Nothing that was interrupted looks so, and what is left may be all there is.
        return None
    kept = {current, _previous(folder, current) if keep_previous else None}
    missing = sorted(name for name in names if not os.path.lexists(folder / name))
    superfluous = _superfluous(folder, kept)
    return (missing, superfluous) if missing or superfluous else None


def _previous(folder: Path, current: str) -> str | None:
    """Return the generation before: the last one that was not begun after the present one."""
    times = {
        entry.name: entry.stat(follow_symlinks=False).st_mtime_ns
        for entry in os.scandir(folder)
        if _GENERATION.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
    }
    present = times.pop(current, 0)
    earlier = [name for name, time_ns in times.items() if time_ns <= present]
    return max(earlier, key=lambda name: times[name], default=None)


def _superfluous(folder: Path, generations: set[str | None]) -> list[str]:
    """Return other generations, and links that were begun."""
    found: list[str] = []
    for entry in os.scandir(folder):
        if entry.is_symlink():
            if entry.name.startswith("..") and entry.name.endswith("_tmp"):
                found.append(entry.name)
        elif _GENERATION.fullmatch(entry.name) and entry.name not in generations:
            found.append(entry.name)
    return sorted(found)


def _stale_links(folder: Path, names: set[str]) -> list[str]:
    """Return our links that lead to files other than these."""
    return [
        entry.name
        for entry in os.scandir(folder)
        if entry.is_symlink()
        and entry.name not in names
        and os.readlink(entry.path) == f"{DATA}/{entry.name}"
    ]


def _remove(folder: Path, names: list[str]) -> None:
    for name in names:
        if (folder / name).is_symlink():
            (folder / name).unlink()
        else:
            # A reader still in it notices and begins again.
            shutil.rmtree(folder / name)
