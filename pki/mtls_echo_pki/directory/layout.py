"""The layout of a PKI directory: one CA folder and one trust folder per role.

``authorities/servers`` issues the servers that clients accept by ``trust/servers``, and
``authorities/clients`` the clients that servers accept by ``trust/clients``. With a single CA,
``authorities/clients`` is a link to ``servers``. With intermediates, ``tls.crt`` of a CA is
followed by its root, whose key is ``root.key``: on a machine that issues every day it can be taken
away until the root has to sign again, a CRL or its successor.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

from mtls_echo_pki.certificates.request import KeyType
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_pki.directory.ca_state import MODES, CAGeneration, CAState, write_root_keys
from mtls_echo_pki.directory.ledger import empty_ledger, encode_ledger
from mtls_echo_pki.files.atomic_writer import publish
from mtls_echo_pki.files.durable import PUBLIC, is_folder, make_folder, write_file

Role: TypeAlias = Literal["servers", "clients"]

ROLES: tuple[Role, Role] = ("servers", "clients")

# The folders that cannot be a credential's name.
PARTS = frozenset({"authorities", "trust"})


def make_authorities(
    path: Path, key_type: KeyType, single_authority: bool, intermediate: bool
) -> None:
    """Fill a new, empty PKI directory with CAs, and with the trust in them.

    The arguments are those of ``Directory.create``.

    Raises:
        OSError: If it cannot be written.
    """
    for part in sorted(PARTS):
        make_folder(path / part)
    if key_type is KeyType.ED25519:
        key_type = KeyType.P256
    authorities = path / "authorities"
    trusts: dict[Role, Trust] = {}
    for role in ROLES[:1] if single_authority else ROLES:
        kind = kind_of(ROLES if single_authority else (role,))
        generation = CAGeneration.new(kind, key_type, intermediate=intermediate)
        make_folder(authorities / role)
        write_file(authorities / role / "ledger.json", encode_ledger(empty_ledger()), 0o600)
        write_root_keys(authorities / role, CAState(generation))
        publish(authorities / role, CAState(generation).files(), MODES)
        trusts[role] = generation.authority.trust
    if single_authority:
        servers, clients = ROLES
        (authorities / clients).symlink_to(servers)
        trusts[clients] = trusts[servers]
    for role, trust in trusts.items():
        publish(path / "trust" / role, {"ca.crt": trust.pem}, {"ca.crt": PUBLIC})


def credential_folders(path: Path) -> list[Path]:
    """Return the folders of all credentials, sorted."""
    return sorted(
        entry
        for entry in path.iterdir()
        if entry.name not in PARTS and not entry.name.startswith(".") and is_folder(entry)
    )


def kind_of(roles: tuple[Role, ...]) -> str:
    """Return the role in the name of a CA; nothing, if it has both."""
    return roles[0] if len(roles) == 1 else ""
