"""Whether files have changed is found out by reading them, and by nothing less.

The time of a file does not say it: a copy may keep the old one, a clock may be set back, and two
changes may come within one tick. A notification does not say it either: a mounted Secret is
exchanged by renaming a link two folders away from the names that anybody watches. The contents do.
They are a few kilobytes; to read and hash them is cheaper than one handshake. The private key is
among them, so only the hash is kept, in memory, and shown to nobody.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from mtls_echo_pki.files.atomic_writer import DATA, read_consistent


class FileDigest(NamedTuple):
    """What is in some files at one moment.

    Attributes:
        digest: SHA-256 over all of them: of their contents, or of why they cannot be read.
        atomic: Whether each is published together with its neighbours, all at once
            (`mtls_echo_pki.files.atomic_writer`), so that nobody can catch one half written.
    """

    digest: bytes
    atomic: bool


def digest_files(paths: Iterable[Path | None]) -> FileDigest:
    """Read files, and forget all but whether they are what they were.

    Files of one folder are read from one generation. What cannot be read is no error here: it is
    one more state that a file can be in.

    Args:
        paths: Regular files, which may be missing; None is skipped.
    """
    digest, atomic = hashlib.sha256(), True
    named = list(dict.fromkeys(path for path in paths if path is not None))
    for folder in dict.fromkeys(path.parent for path in named):
        names = [path.name for path in named if path.parent == folder]
        atomic = atomic and _are_published(folder, names)
        try:
            read = read_consistent(folder, (), optional=names)
        except OSError as error:
            digest.update(repr((folder, error.errno, error.filename)).encode())
            continue
        for name in names:
            contents = read.get(name)
            # With its length, so that no two states run together into the same bytes.
            digest.update(repr((folder, name, contents and len(contents))).encode())
            digest.update(contents or b"")
    return FileDigest(digest.digest(), atomic)


def _are_published(folder: Path, names: Iterable[str]) -> bool:
    try:
        if not (folder / DATA).is_symlink():
            return False
        return all(
            os.readlink(folder / name).startswith(f"{DATA}/")
            for name in names
            # One that is not there is published with the next generation, or never.
            if os.path.lexists(folder / name)
        )
    except OSError:
        return False  # a file and no link; or no access to the folder
