"""Read a PKI directory: its credentials, its trust, its CAs and their ledgers.

See :mod:`mtls_echo_pki.directory.directory` for the layout. What changes a directory
(:mod:`mtls_echo_pki.directory.issuing`, :mod:`mtls_echo_pki.directory.revoking`,
:mod:`mtls_echo_pki.directory.rollover`) reads it through a :class:`Store`.
"""

from __future__ import annotations

import os
import re
import shlex
from contextlib import suppress
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_pki.directory.ca_folder import ledger_in
from mtls_echo_pki.directory.ca_state import RolloverStage, read_ca_state
from mtls_echo_pki.directory.layout import PARTS, Role, credential_folders
from mtls_echo_pki.directory.ledger import LedgerEntry
from mtls_echo_pki.files.durable import exists, is_folder
from mtls_echo_pki.files.pem import read_credential
from mtls_echo_pki.files.pem_blocks import MaterialError
from mtls_echo_pki.files.staging import DirectoryError, os_errors_as_directory_errors
from mtls_echo_pki.files.trust_anchors import read_trust

# A name becomes a folder and a common name (at most 64 characters, RFC 5280 A.1).
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@-]{0,63}")

# Of the PKI directories beside one that does not exist, how many a hint names.
_MOST_NAMED = 3


class Store:
    """A PKI directory that is read; a `Directory` is one that is changed, too.

    It may lack ``authorities``: a copy for a machine that only serves should.

    Args:
        path: The folder.

    Raises:
        DirectoryError: If there is no such PKI.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        with os_errors_as_directory_errors(self.path):
            there = exists(self.path)
            is_pki = any(is_folder(self.path / part) for part in PARTS)
        if not is_pki:
            if there:
                hint = "name a directory made by: mtls-echo pki init"
                raise DirectoryError(f"{self.path}: is not a PKI directory", hint)
            near, make = neighbours(self.path), f"mtls-echo pki init {shlex.quote(str(self.path))}"
            hint = f"{near}, or make one: {make}" if near else f"make one: {make}"
            raise DirectoryError(f"{self.path}: does not exist", hint)

    def credential(self, name: str, side: Literal["server", "client"] = "client") -> Credential:
        """Read a credential, never a key of one generation with another's certificate.

        Args:
            name: Its folder.
            side: Who is to present it, for the hint where there is none.

        Raises:
            DirectoryError: If there is none of that name.
            MaterialError: If its files cannot be used.
        """
        self._check_name(name)
        folder = self.path / name
        if not os.path.lexists(folder / "tls.crt"):
            raise DirectoryError(
                f'{self.path}: has no credential named "{name}"',
                f"it has: {', '.join(self.names()) or 'none'}; for another: "
                f"mtls-echo pki issue {shlex.quote(str(self.path))} {name} IDENTITY --{side}",
            )
        return read_credential(folder / "tls.crt", folder / "tls.key")

    def trust(self, role: Role) -> Trust:
        """Read the trust anchors for verifying servers, or those for clients.

        With them, from the same generation, come the CRLs of ``crl.pem``, if there
        is one; it need not be there.

        Raises:
            MaterialError: If they cannot be used.
        """
        folder = self.path / "trust" / role
        return read_trust(folder / "ca.crt", crl=folder / "crl.pem", crl_required=False)

    def authority(self, role: Role) -> Authority:
        """Read the CA that issues servers, or the one that issues clients.

        Raises:
            MaterialError: If its files cannot be used.
        """
        return read_ca_state(self.path / "authorities" / role).issuing

    def root(self, role: Role) -> Authority:
        """Read the root above the CA of a role; the CA itself, if it is one.

        Raises:
            MaterialError: If its files cannot be used, or its key was taken away.
        """
        folder = self.path / "authorities" / role
        root = read_ca_state(folder).present.root
        if root is None:
            raise MaterialError(
                folder / "root.key", "does not exist", "put it back for as long as this takes"
            )
        return root

    def stage(self, role: Role) -> RolloverStage:
        """Read where the replacement of a CA stands.

        Raises:
            MaterialError: If its files cannot be used.
        """
        return read_ca_state(self.path / "authorities" / role).stage

    def names(self) -> list[str]:
        """Return the names of all credentials, sorted."""
        with os_errors_as_directory_errors(self.path):
            folders = credential_folders(self.path)
            return [each.name for each in folders if os.path.lexists(each / "tls.crt")]

    def ledger(self, role: Role) -> list[LedgerEntry]:
        """Return every certificate a CA has issued, the oldest first.

        Raises:
            DirectoryError: If the ledger is missing or damaged.
        """
        return [*ledger_in(self.path / "authorities" / role).issued]

    def _check_name(self, name: str) -> None:
        if name in PARTS:
            raise DirectoryError(
                f'"{name}" is a part of every PKI directory, not a name', "choose another"
            )
        if not _NAME.fullmatch(name):
            raise DirectoryError(
                f'"{name}" cannot name a credential',
                "use up to 64 letters, digits and . _ @ -, not beginning with a dot or a hyphen",
            )


def neighbours(path: Path) -> str | None:
    """The PKI directories beside a path that does not exist, as a hint; None if there are none."""
    with suppress(OSError):
        found = path.absolute().parent.glob("*/trust/servers")
        names = sorted(each.parts[-3] for each in found)
        close = get_close_matches(path.name, names, n=1)
        near = [shlex.quote(str(path.parent / name)) for name in close or names[:_MOST_NAMED]]
        if near:
            return f"{' and '.join(near)} {'is' if len(near) == 1 else 'are'} there"
    return None
