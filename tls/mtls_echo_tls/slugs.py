"""A cause in one word, its slug, and in sentences."""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Literal, TypeAlias

import msgspec

# fmt: off
Slug = Literal[
    # dates and names
    "expired", "expired-authority", "not-yet-valid", "not-yet-valid-authority", "clock-skew",
    "wrong-name", "no-san", "wrong-usage",
    # the path and its CAs
    "self-signed", "unknown-authority", "impostor-authority", "missing-intermediate",
    "empty-trust", "not-an-authority", "path-too-long", "name-not-permitted",
    "unknown-critical-extension", "missing-key-identifier", "not-conforming",
    "bad-signature", "weak-key", "weak-signature",
    "revoked", "revoked-authority", "crl-missing", "crl-expired", "crl-not-yet-valid",
    # what client and server have, and have in common
    "no-client-certificate", "no-server-certificate", "key-not-owned",
    "no-common-version", "no-common-cipher", "no-common-group", "no-common-signature-algorithm",
    "no-common-alpn", "unrecognised-name", "plaintext-peer", "plaintext-client",
    # the connection
    "tampered", "protocol-violation", "oversize", "downgrade", "renegotiation",
    "truncated", "reset", "closed-without-alert", "timeout",
    "not-authorised", "no-connection", "altered-echo", "other-protocol", "error-answer",
    "internal-error",
]
# fmt: on

# Causes in the order of how likely they are, unless it says otherwise.
Slugs: TypeAlias = tuple[Slug, ...]


def keep(causes: Iterable[Slug], these: Container[Slug]) -> Slugs:
    """The causes that are among these, in their order."""
    return tuple([slug for slug in causes if slug in these])


def drop(causes: Iterable[Slug], these: Container[Slug]) -> Slugs:
    """The causes that are not among these, in their order."""
    return tuple([slug for slug in causes if slug not in these])


class Cause(msgspec.Struct, frozen=True):
    """One way for a connection to fail (`mtls_echo_tls.causes`).

    Attributes:
        clause: A clause about the owner: "{its} certificate has expired".
        owner, verifier: What the owner of the fault can do, and the side that found it.
        rfc: Where the rule is written.
    """

    clause: str
    owner: str
    verifier: str
    rfc: str
