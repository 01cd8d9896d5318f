"""Who may vouch for whom is laid out in folders: one authority per role, one trust per role.

``authorities/servers`` issues the servers that ``trust/servers`` makes clients believe, and
``authorities/clients`` the clients that ``trust/clients`` makes servers believe. With a single
authority, ``authorities/clients`` is a link to ``servers``. With intermediates, ``tls.crt`` of an
authority is followed by its root, whose key waits in ``root.key``: on a machine that issues every
day it can be taken away until the intermediate has to be replaced.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Literal, TypeAlias

from mtls_echo_pki.authority import Authority
from mtls_echo_pki.ledger import encode_ledger
from mtls_echo_pki.publication import make_folder, publish, sync_folder, write_file
from mtls_echo_pki.request import KeyType
from mtls_echo_pki.trust import Trust

Role: TypeAlias = Literal["servers", "clients"]

ROLES: tuple[Role, Role] = ("servers", "clients")

# The folders that no credential can be called like.
PARTS = frozenset({"authorities", "trust"})

# The mode of what everybody may read.
PUBLIC = 0o644


def make_authorities(
    path: Path, key_type: KeyType, single_authority: bool, intermediate: bool
) -> None:
    """Fill a new PKI directory with authorities, and with the trust in them.

    Args:
        path: Empty.
        key_type: Of their keys; for Ed25519 they have P-256 keys, see ``Directory.create``.
        single_authority: Let one authority issue both servers and clients.
        intermediate: Put an issuing authority below each root.

    Raises:
        OSError: If it cannot be written.
    """
    for part in sorted(PARTS):
        make_folder(path / part)
    if key_type is KeyType.ED25519:
        key_type = KeyType.P256
    # Every PKI has authorities of its own names: two that share a name but not a key
    # would turn each mix-up of directories into a case of impersonation.
    tag = secrets.token_hex(3)
    authorities = path / "authorities"
    trusts: dict[Role, Trust] = {}
    for role in ROLES[:1] if single_authority else ROLES:
        kind = "" if single_authority else f" {role}"
        root = Authority.root(f"mtls-echo{kind} authority {tag}", key_type=key_type)
        authority = root
        make_folder(authorities / role)
        if intermediate:
            _write(authorities / role, "root", root)
            authority = root.intermediate(
                f"mtls-echo{kind} issuing authority {tag}", key_type=key_type
            )
        _write(authorities / role, "tls", authority)
        write_file(authorities / role / "ledger.json", encode_ledger([]), 0o600)
        sync_folder(authorities / role)
        trusts[role] = root.trust
    if single_authority:
        servers, clients = ROLES
        (authorities / clients).symlink_to(servers)
        trusts[clients] = trusts[servers]
    for role, trust in trusts.items():
        publish(path / "trust" / role, {"ca.crt": trust.pem}, {"ca.crt": PUBLIC})


def _write(folder: Path, name: str, authority: Authority) -> None:
    write_file(folder / f"{name}.crt", authority.certificate_pem, PUBLIC)
    write_file(folder / f"{name}.key", authority.key_pem, 0o600)
