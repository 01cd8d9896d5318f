"""The ledger of a CA: every certificate it has issued, what was revoked, and its last CRLs.

A CRL names serial numbers (RFC 5280 §5.3), so a certificate whose serial was not written down can
never be revoked. Each CA therefore keeps a list of all it has issued, in ``ledger.json``, and
writes an entry before the certificate leaves.

What leaks is not a certificate but a key, so each entry has the key's digest too: all the
certificates that are good with it are found by it, renewals with the same key included.

The last CRL of each CA stands here as well, whole. It is what the next one must go on from, in
number and date, and what is published is a copy of it: a change to the ledger is a single rename,
and makes the revocation and the CRL in one.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import msgspec
from cryptography import x509

from mtls_echo_pki.certificates.credential import Credential, key_id
from mtls_echo_pki.certificates.identifiers import presented_identifiers
from mtls_echo_pki.certificates.loading import parsing
from mtls_echo_pki.certificates.reading import period, serial_number, subject_name, usage

_VERSION = 2


class LedgerEntry(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """One issued certificate.

    Args:
        name: The credential's name in the directory.
        serial: Lower-case hex.
        fingerprint: SHA-256 of the DER, lower-case hex.
        subject: RFC 4514 string.
        identities: The presented identifiers.
        usage: See :func:`mtls_echo_pki.certificates.reading.usage`.
        issued_at: When, to the second.
        key: :func:`~mtls_echo_pki.certificates.credential.key_id` of the certificate; None where a
            ledger of version 1 did not say and the certificate is no longer there.
        issuer: The same of the CA that signed it; None if that is not one of this directory,
            as with some deliberately bad credentials.
        flaw: What is wrong with it on purpose; None for a good one.
        revoked_at: When it was revoked, to the second; None while it was not.
        reason: Why, as RFC 5280 §5.3.1 spells it.
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
    key: str | None = None
    issuer: str | None = None
    flaw: str | None = None
    revoked_at: datetime | None = None
    reason: str | None = None

    @classmethod
    def of(
        cls,
        name: str,
        credential: Credential,
        now: datetime,
        *,
        issuer: str | None = None,
        flaw: str | None = None,
    ) -> LedgerEntry:
        """Return the entry for a credential that is about to be published."""
        certificate = credential.certificate
        return cls(
            name=name,
            serial=f"{serial_number(certificate):x}",
            fingerprint=credential.fingerprint,
            subject=str(subject_name(certificate)),
            identities=presented_identifiers(certificate),
            usage=usage(certificate),
            issued_at=now.replace(microsecond=0),
            not_before=period(certificate)[0],
            not_after=period(certificate)[1],
            key=key_id(certificate),
            issuer=issuer,
            flaw=flaw,
        )


class Ledger(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    omit_defaults=True,
    rename={"crls": "lists", "crl_lifetime": "list_lifetime"},
):
    """All that the CAs of a folder have issued and revoked.

    Args:
        issued: The oldest first.
        version: Of the file's format. 1 had entries only, without ``key`` and ``issuer``.
        crls: The last CRL of each CA, PEM, by the CA's
            :func:`~mtls_echo_pki.certificates.credential.key_id`. Once there is one, CRLs are *in
            force*: a verifier that has CRLs demands one of every CA.
        crl_lifetime: From signing a CRL to its nextUpdate, in seconds; None: as by default.
        retired: Each CA that was ever retired, by its :func:`key_id`: should its
            certificate turn up again in ``trust``, out of a backup, it is not trusted.
    """

    issued: tuple[LedgerEntry, ...]
    version: int = 1
    crls: dict[str, str] = {}
    crl_lifetime: int | None = None
    retired: tuple[str, ...] = ()

    def with_entry(self, entry: LedgerEntry) -> Ledger:
        """Return the ledger with one more certificate."""
        return msgspec.structs.replace(self, issued=(*self.issued, entry))

    @property
    def void(self) -> set[str]:
        """The serial numbers of what is not accepted on purpose: revoked, or flawed."""
        return {e.serial for e in self.issued if e.revoked_at is not None or e.flaw is not None}

    def crl(self, issuer: str) -> x509.CertificateRevocationList | None:
        """Return the last CRL of a CA, by its :func:`key_id`; None before the first.

        Raises:
            ValueError: If it is damaged.
        """
        pem = self.crls.get(issuer)
        if pem is None:
            return None
        with parsing():
            return x509.load_pem_x509_crl(pem.encode())


def read_ledger(path: Path) -> Ledger:
    """Read a ledger.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is damaged, or of a later version; nothing is guessed.
    """
    try:
        ledger = msgspec.json.decode(path.read_bytes(), type=Ledger)
        for issuer in ledger.crls:
            ledger.crl(issuer)
    except (msgspec.DecodeError, ValueError) as error:
        raise ValueError(f"{path}: is damaged: {error}") from error
    if ledger.version > _VERSION:
        raise ValueError(f"{path}: was written by a later version of this program")
    return ledger


def encode_ledger(ledger: Ledger) -> bytes:
    """Return the contents of ``ledger.json``."""
    return msgspec.json.format(msgspec.json.encode(ledger), indent=2) + b"\n"


def empty_ledger() -> Ledger:
    """Return the ledger of a CA that has issued nothing yet."""
    return Ledger(issued=(), version=_VERSION)


def upgraded(
    ledger: Ledger, issuer: x509.Certificate, present: Iterable[x509.Certificate]
) -> Ledger:
    """Return a ledger of version 1 with what it does not say, as far as that can be known.

    Args:
        ledger: Of any version; one of the present version is returned as it is.
        issuer: The only CA there was when version 1 was written.
        present: The certificates that are still in the directory.
    """
    if ledger.version == _VERSION:
        return ledger
    keys = {f"{serial_number(each):x}": key_id(each) for each in present}
    entries = [
        msgspec.structs.replace(entry, issuer=key_id(issuer), key=keys.get(entry.serial))
        for entry in ledger.issued
    ]
    return msgspec.structs.replace(ledger, issued=tuple(entries), version=_VERSION)
