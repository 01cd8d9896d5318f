"""What an authority has signed it cannot unsign: the ledger is its memory.

A revocation list names serial numbers (RFC 5280 §5.3), so a certificate whose serial
nobody wrote down can never be taken back. Each authority therefore keeps a list of all
it has issued, in ``ledger.json``, and writes an entry before the certificate leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from mtls_echo_pki.credential import Credential
from mtls_echo_pki.description import presented_identifiers, usage


class LedgerEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One issued certificate.

    Args:
        name: The credential's name in the directory.
        serial: Lower-case hex.
        fingerprint: SHA-256 of the DER, lower-case hex.
        subject: RFC 4514 string.
        identities: The presented identifiers.
        usage: As in :class:`~mtls_echo_pki.description.Description`.
        issued_at: When, to the second.
    """

    name: str
    serial: str
    fingerprint: str
    subject: str
    identities: list[str]
    usage: list[str]
    issued_at: datetime
    not_before: datetime
    not_after: datetime

    @classmethod
    def of(cls, name: str, credential: Credential, now: datetime) -> LedgerEntry:
        """Return the entry for a credential that is about to be published."""
        certificate = credential.certificate
        return cls(
            name=name,
            serial=f"{certificate.serial_number:x}",
            fingerprint=credential.fingerprint,
            subject=certificate.subject.rfc4514_string(),
            identities=presented_identifiers(certificate),
            usage=usage(certificate),
            issued_at=now.replace(microsecond=0),
            not_before=certificate.not_valid_before_utc,
            not_after=certificate.not_valid_after_utc,
        )


class _Ledger(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    issued: list[LedgerEntry]


def read_ledger(path: Path) -> list[LedgerEntry]:
    """Read a ledger, the oldest entry first.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is damaged; nothing is guessed.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Ledger).issued
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: is damaged: {error}") from error


def encode_ledger(entries: Sequence[LedgerEntry]) -> bytes:
    """Return the contents of ``ledger.json``."""
    ledger = _Ledger(list(entries))
    return msgspec.json.format(msgspec.json.encode(ledger), indent=2) + b"\n"
