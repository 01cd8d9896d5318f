"""Certificates for tests and demonstrations of TLS, as a few plain values.

A fresh PKI, and a server and a client that trust each other by it::

    authority = Authority.root()
    authority.issue("localhost").load_into(server_context)
    authority.trust.load_into(client_context)

Layers, each knowing only those before it: :mod:`~mtls_echo_pki.request` (what shall be
signed), :mod:`~mtls_echo_pki.credential` and :mod:`~mtls_echo_pki.trust` (what comes of
it), :mod:`~mtls_echo_pki.authority` (who signs); :mod:`~mtls_echo_pki.publication` (files
that change as one), :mod:`~mtls_echo_pki.pem` (files that explain themselves),
:mod:`~mtls_echo_pki.succession` and :mod:`~mtls_echo_pki.ledger` (who issues, and what was
issued), :mod:`~mtls_echo_pki.registry` (what follows from both), :mod:`~mtls_echo_pki.upkeep`
(what was interrupted is finished), :mod:`~mtls_echo_pki.issuing`,
:mod:`~mtls_echo_pki.revoking` and :mod:`~mtls_echo_pki.rollover` (what is done);
:mod:`~mtls_echo_pki.directory` (a whole PKI on disk). Beside them stands
:mod:`~mtls_echo_pki.flaws`: all of it, deliberately bad, one fault at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mtls_echo_pki.lazy import exporter

if TYPE_CHECKING:
    from mtls_echo_pki.armour import MaterialError
    from mtls_echo_pki.authority import Authority
    from mtls_echo_pki.credential import Credential
    from mtls_echo_pki.directory import Directory
    from mtls_echo_pki.flaw import Flaw
    from mtls_echo_pki.flaws import FLAWS, find_flaw
    from mtls_echo_pki.lifetimes import describe_lifetime, parse_lifetime
    from mtls_echo_pki.pem import read_credential, read_crls, read_trust
    from mtls_echo_pki.placement import DirectoryError
    from mtls_echo_pki.request import KeyType, Request, Usage
    from mtls_echo_pki.revoking import Revoked
    from mtls_echo_pki.sound import Exhibit
    from mtls_echo_pki.succession import Stage
    from mtls_echo_pki.trust import Trust

__all__ = [
    "FLAWS",
    "Authority",
    "Credential",
    "Directory",
    "DirectoryError",
    "Exhibit",
    "Flaw",
    "KeyType",
    "MaterialError",
    "Request",
    "Revoked",
    "Stage",
    "Trust",
    "Usage",
    "describe_lifetime",
    "find_flaw",
    "parse_lifetime",
    "read_credential",
    "read_crls",
    "read_trust",
]

__getattr__ = exporter(
    __name__,
    {
        "armour": ("MaterialError",),
        "authority": ("Authority",),
        "credential": ("Credential",),
        "directory": ("Directory",),
        "flaw": ("Flaw",),
        "flaws": ("FLAWS", "find_flaw"),
        "lifetimes": ("describe_lifetime", "parse_lifetime"),
        "pem": ("read_credential", "read_crls", "read_trust"),
        "placement": ("DirectoryError",),
        "request": ("KeyType", "Request", "Usage"),
        "revoking": ("Revoked",),
        "sound": ("Exhibit",),
        "succession": ("Stage",),
        "trust": ("Trust",),
    },
)
