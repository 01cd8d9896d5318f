"""Handshakes between the two ends of a PKI directory."""

from __future__ import annotations

from mtls_echo_pki.directory.directory import Directory
from tests.support.pki import handshake, strict_contexts


def shake_hands(directory: Directory, one: str = "server", other: str = "client") -> None:
    contexts = strict_contexts(
        directory.credential(one),
        directory.trust("servers"),
        directory.credential(other),
        directory.trust("clients"),
    )
    handshake(*contexts, "localhost")
