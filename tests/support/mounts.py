"""Files as others put them there: mounted Secrets, and programs that write as they please."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from mtls_echo_pki.certificates.credential import Credential


def mount(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a volume exactly as kubelet does (its AtomicWriter): the old generation goes at once.

    A new dated folder, a link to it beside ``..data``, one rename, then the links that users see,
    and no previous generation for a reader that is late.
    """
    folder.mkdir(exist_ok=True)
    data = folder / "..data"
    old = os.readlink(data) if data.is_symlink() else None
    made = Path(tempfile.mkdtemp(prefix="..2026_01_02_03_04_05.", dir=folder))
    made.chmod(0o755)
    for name, contents in files.items():
        (made / name).write_bytes(contents)
    temporary = folder / "..data_tmp"
    temporary.symlink_to(made.name)
    temporary.rename(data)
    for name in files:
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(f"..data/{name}")
    for link in folder.iterdir():
        if link.is_symlink() and not link.name.startswith("..") and link.name not in files:
            link.unlink()
    if old is not None:
        shutil.rmtree(folder / old)


def in_place(path: Path, contents: bytes) -> None:
    """Write over a file, as most programs do."""
    path.write_bytes(contents)


def by_rename(path: Path, contents: bytes) -> None:
    """Replace a file atomically, as careful programs do."""
    beside = path.with_name(f"{path.name}.new")
    beside.write_bytes(contents)
    beside.rename(path)


def secret(credential: Credential, **more: bytes) -> dict[str, bytes]:
    """A Secret of type kubernetes.io/tls, as cert-manager fills it; ``ca_crt`` for one with it."""
    beside = {name.replace("_", "."): contents for name, contents in more.items()}
    return {"tls.crt": credential.certificate_pem, "tls.key": credential.key_pem, **beside}
