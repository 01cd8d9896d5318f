"""Detect changed files by a digest of their contents.

The time of a file does not show a change: a copy may keep the old one, a clock may be set back,
and two changes may come within one tick. A notification does not either: a mounted Secret is
replaced by renaming a link two folders away from the watched names. The contents do. They are a
few kilobytes; to read and hash them is cheaper than one handshake. The private key is among them,
so only the hash is kept, in memory, and never shown.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from mtls_echo_pki.files.atomic_writer import DATA, read_consistent
from mtls_echo_pki.files.pem_blocks import MaterialError
from mtls_echo_pki.files.trust_anchors import files_meant


class FileDigest(NamedTuple):
    """The state of some files at one moment.

    `digest` is SHA-256 of all their contents, or of why they cannot be read; `atomic`, whether
    each is published together with the others of its folder (`mtls_echo_pki.files.atomic_writer`),
    so that none can be read half written.
    """

    digest: bytes
    atomic: bool


def digest_files(paths: Iterable[Path | None]) -> FileDigest:
    """Read regular files, which may be missing, and return a digest of their state.

    In place of a folder those in it are read that hold trust anchors: which there are counts too.
    Files of one folder are read from one generation. A file that cannot be read is not an error:
    that is one more state it can be in.
    """
    digest, atomic = hashlib.sha256(), True
    named = list(dict.fromkeys(_expanded(paths, digest.update)))
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
            # With its length, so that no two states give the same bytes.
            digest.update(repr((folder, name, contents and len(contents))).encode())
            digest.update(contents or b"")
    return FileDigest(digest.digest(), atomic)


def _expanded(paths: Iterable[Path | None], tell: Callable[[bytes], object]) -> Iterator[Path]:
    """The files that are meant: in place of a folder, those in it that are read."""
    for path in paths:
        try:
            yield from files_meant(path) if path is not None else ()
        except MaterialError as error:
            tell(repr((path, str(error))).encode())


def _are_published(folder: Path, names: Iterable[str]) -> bool:
    try:
        if not (folder / DATA).is_symlink():
            return False
        return all(
            os.readlink(folder / name).startswith(f"{DATA}/")
            for name in names
            # An absent one is published with the next generation, or never.
            if os.path.lexists(folder / name)
        )
    except OSError:
        return False  # a file, not a link; or no access to the folder
