"""Crash recovery: every command first completes what a killed one left unfinished.

Every change has one moment in which it happens: a rename, of ``ledger.json`` or of a ``..data``
link. A command that is killed before has changed nothing and leaves some debris; one that is
killed after it has left others to publish what follows from the change. Both are put right by
looking at what there is, without any record of what was under way (:func:`recover`):

* debris is removed: half-built folders, generations that never were published, temporary files;
* links of a publication that are missing are made;
* ``trust`` is published again where it is not what the CAs say
  (:mod:`mtls_echo_pki.directory.ca_folder`).

All of it under the lock of the directory, which the kernel releases when a process is killed.
"""

from __future__ import annotations

import shlex
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec
from cryptography import x509

from mtls_echo_pki.directory.ca_folder import CAFolder, ca_roles
from mtls_echo_pki.directory.ca_state import FILES, MODES, remove_root_keys
from mtls_echo_pki.directory.crls import with_current_crls
from mtls_echo_pki.directory.layout import ROLES, Role, credential_folders
from mtls_echo_pki.directory.ledger import upgraded
from mtls_echo_pki.files.atomic_writer import publish, read_consistent, tidy
from mtls_echo_pki.files.durable import is_folder, is_regular, locked, os_reason
from mtls_echo_pki.files.pem import read_credential
from mtls_echo_pki.files.pem_blocks import MaterialError
from mtls_echo_pki.files.staging import DirectoryError, os_errors_as_directory_errors, remove_stale


class LockedPKI(msgspec.Struct):
    """A PKI directory under its lock, and those of its CA folders that can be used."""

    path: Path
    readable: list[CAFolder]

    def ca_folder(self, role: Role) -> CAFolder:
        """Return the folder of the CA that issues for a role.

        Raises:
            DirectoryError, MaterialError: If it cannot be used.
        """
        for ca in self.readable:
            if role in ca.roles:
                return ca
        return CAFolder.read(self.path, role)

    @property
    def ca_folders(self) -> list[CAFolder]:
        """The folders of all CAs.

        Raises:
            DirectoryError, MaterialError: If one cannot be used.
        """
        return [self.ca_folder(role) for role in ca_roles(self.path)]


@contextmanager
def exclusive(pki: Path, concerning: Path | None = None) -> Generator[LockedPKI]:
    """Lock a PKI directory for a change, and recover it first.

    Directories made by an earlier version become such as are made now, and CRLs past
    half of their life are renewed.

    Args:
        pki: The directory.
        concerning: Named where the operating system names no file; the directory, unless given.

    Raises:
        DirectoryError: If it is held by another process for too long, or cannot be written.
    """
    with os_errors_as_directory_errors(concerning or pki), locked(pki):
        for role in ca_roles(pki):
            _publish_plain_files(pki / "authorities" / role)
        readable = recover(pki)
        for ca in readable:
            _upgrade(ca)
            if ca.ledger.crls:
                ledger = with_current_crls(ca, ca.ledger, lenient=True)
                if ledger.crls != ca.ledger.crls:
                    ca.write_ledger(ledger)
                    ca.publish()
        yield LockedPKI(pki, readable)


@contextmanager
def quiescent(pki: Path) -> Generator[OSError | None]:
    """Lock a PKI directory for reading, and recover it first, as far as permitted.

    Yields:
        Why it could not be finished; None if it was, or nothing had to be.
    """
    with os_errors_as_directory_errors(pki), locked(pki):
        trouble = None
        try:
            recover(pki)
        except OSError as error:
            trouble = error
        yield trouble


@contextmanager
def after_commit(pki: Path, *, again: str | None = None) -> Generator[None]:
    """Turn an error after the change into one that says so: it has happened, or a part of it.

    Args:
        pki: The directory.
        again: What to run to have the rest of it; ``pki check``, unless given, finishes what is
            not yet published.

    Raises:
        DirectoryError: In place of what the operating system says.
    """
    try:
        yield
    except OSError as error:
        where = error.filename2 or error.filename or pki
        state = "the change is made, but not yet published to all roles that need it"
        if again is not None:
            state = "a part of the change is made, and stays"
        raise DirectoryError(
            f"{where}: {os_reason(error)}",
            f"{state}: put this right, then run: mtls-echo pki "
            f"{again or f'check {shlex.quote(str(pki))}'}",
        ) from error


def recover(pki: Path) -> list[CAFolder]:
    """Finish what was interrupted; the caller holds the lock.

    What cannot be read is left as it is: nothing that was interrupted looks so.

    Returns:
        The CA folders that can be used.

    Raises:
        OSError: If something is to be written and cannot be.
    """
    remove_stale(pki, alone=True)
    readable: list[CAFolder] = []
    for role in ca_roles(pki):
        folder = pki / "authorities" / role
        (folder / ".ledger.json.tmp").unlink(missing_ok=True)
        tidy(folder, keep_previous=False)
        with suppress(MaterialError, DirectoryError):  # what needs it will say so
            readable.append(CAFolder.read(pki, role))
            remove_root_keys(folder, readable[-1].state)
    for folder in (*(pki / "trust" / role for role in ROLES), *credential_folders(pki)):
        if is_folder(folder):
            tidy(folder)
    for ca in readable:
        ca.publish(repair=False)
    return readable


def _publish_plain_files(folder: Path) -> None:
    """Publish the files of a CA that an earlier version wrote one by one.

    Readers see the same contents at any moment: first the generation appears, with what the
    plain files say, then a link takes the place of each.
    """
    present = [name for name in FILES if is_regular(folder / name)]
    if any(not (folder / name).is_symlink() for name in present):
        contents = read_consistent(folder, (), optional=present)
        publish(folder, contents, MODES, keep_previous=False, adopt=True)


def _upgrade(ca: CAFolder) -> None:
    issuer = ca.state.present.authority.certificate
    ledger = upgraded(ca.ledger, issuer, _certificates(ca.pki))
    if ledger is not ca.ledger:
        ca.write_ledger(ledger)


def _certificates(pki: Path) -> Iterator[x509.Certificate]:
    for folder in credential_folders(pki):
        with suppress(MaterialError):
            yield read_credential(folder / "tls.crt", folder / "tls.key").certificate
