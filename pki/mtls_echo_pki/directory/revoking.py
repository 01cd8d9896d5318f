"""Revoke keys: every certificate that is good with a leaked one.

A certificate is public; a thief of it can do nothing with it. With its private key a thief can,
for as long as any certificate for that key is trusted, and renewals with the same key are such
certificates. Revoking one serial number of three would lock the owner out and leave the thief in.

Which key is meant follows from the order in which things are done. A leaked key is first replaced
(``renew --new-key``) and then revoked: so of a name that has had several keys, all but the present
one are meant. A name that has had only one key has not been renewed yet, and that one is meant.
Keys count that have not expired, and those that were revoked: so to revoke again is to do nothing,
today, when the revoked certificates have expired, and when their CA was retired.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta

import msgspec
from cryptography import x509

from mtls_echo_pki.certificates.authority import utcnow
from mtls_echo_pki.certificates.credential import key_id
from mtls_echo_pki.certificates.crl import REASONS
from mtls_echo_pki.directory.ca_folder import CAFolder
from mtls_echo_pki.directory.crls import with_current_crls
from mtls_echo_pki.directory.layout import Role
from mtls_echo_pki.directory.ledger import LedgerEntry
from mtls_echo_pki.directory.recovery import LockedPKI, after_commit, exclusive
from mtls_echo_pki.directory.store import Store
from mtls_echo_pki.files.atomic_writer import tidy
from mtls_echo_pki.files.durable import is_folder
from mtls_echo_pki.files.staging import DirectoryError


class Revoked(msgspec.Struct, frozen=True):
    """The result of a revocation.

    Args:
        now: The certificates that were revoked just now; none, if all had been.
        before: Those of the name that had been revoked earlier and have not expired.
        valid: Those of the name that are still trusted.
        present: The :func:`~mtls_echo_pki.certificates.credential.key_id` of the name's present
            key; None if there is no credential of that name any more, or it was not asked.
        roles: The roles for which CRLs were published.
    """

    now: tuple[LedgerEntry, ...]
    before: tuple[LedgerEntry, ...]
    valid: tuple[LedgerEntry, ...]
    present: str | None
    roles: tuple[Role, ...]


def revoke(
    store: Store,
    name: str,
    *,
    reason: x509.ReasonFlags = x509.ReasonFlags.unspecified,
    present: bool = False,
    serials: Collection[int] = (),
) -> Revoked:
    """Revoke certificates of a name; see :meth:`Directory.revoke`."""
    if reason.value not in REASONS:
        raise ValueError(
            f"{reason.value} does not revoke for good; give one of {', '.join(REASONS)}"
        )
    with exclusive(store.path) as pki:
        now = utcnow()
        _require_cas(pki)
        known = _certificates_of(pki, name)
        if not known:
            raise DirectoryError(
                f'{store.path}: has never issued anything to "{name}"',
                f"it has: {', '.join(store.names()) or 'none'}",
            )
        own = _present_key(store, name) if not (present or serials) else None
        counted = [e for _, e in known if e.not_after > now or e.revoked_at is not None]
        chosen = {e.serial for e in _chosen(store, name, counted, own, present, serials)}
        done: list[LedgerEntry] = []
        roles: list[Role] = []
        for ca in pki.ca_folders:
            due = {
                e.serial
                for r, e in known
                if r is ca and e.serial in chosen and _is_trusted(r, e, now)
            }
            if due:
                _enter(ca, due, now, reason)
                done += [e for e in ca.ledger.issued if e.serial in due]
                roles += ca.roles
        if done and is_folder(store.path / name):
            with after_commit(store.path):
                # A key that must not be used any more is not kept.
                tidy(store.path / name, keep_previous=False)
        revoked = {entry.serial for entry in done}
        return Revoked(
            tuple(done),
            tuple(e for e in counted if e.revoked_at is not None and e.not_after > now),
            tuple(e for r, e in known if _is_trusted(r, e, now) and e.serial not in revoked),
            own,
            tuple(roles),
        )


def publish_crls(store: Store, lifetime: timedelta | None = None) -> tuple[Role, ...]:
    """Sign and publish new CRLs; see :meth:`Directory.publish_crls`."""
    if lifetime is not None and lifetime < timedelta(seconds=1):
        raise ValueError("a CRL needs a lifetime of at least a second")
    with exclusive(store.path) as pki:
        _require_cas(pki)
        for ca in pki.ca_folders:
            ledger = with_current_crls(ca, ca.ledger, lifetime=lifetime, fresh=True)
            if ledger != ca.ledger:
                ca.write_ledger(ledger)
            with after_commit(store.path):
                ca.publish()
        return tuple(role for ca in pki.ca_folders for role in ca.roles)


def _require_cas(pki: LockedPKI) -> None:
    if not pki.ca_folders:
        raise DirectoryError(
            f"{pki.path}: has no CAs", "do this in the directory that it is a copy of"
        )


def _certificates_of(pki: LockedPKI, name: str) -> list[tuple[CAFolder, LedgerEntry]]:
    return [
        (ca, entry) for ca in pki.ca_folders for entry in ca.ledger.issued if entry.name == name
    ]


def _is_trusted(ca: CAFolder, entry: LedgerEntry, now: datetime) -> bool:
    """Return whether a certificate is trusted, and so can be revoked.

    What a retired CA issued is not trusted, and cannot be revoked any more.
    """
    return (
        entry.not_after > now
        and entry.revoked_at is None
        and entry.issuer in {key_id(certificate) for certificate in ca.certificates}
    )


def _present_key(store: Store, name: str) -> str | None:
    if name not in store.names():
        return None
    return key_id(store.credential(name).certificate)


def _chosen(
    store: Store,
    name: str,
    counted: list[LedgerEntry],
    own: str | None,
    present: bool,
    serials: Collection[int],
) -> Iterable[LedgerEntry]:
    if serials:
        by_serial = {int(entry.serial, 16): entry for entry in counted}
        unknown = [serial for serial in serials if serial not in by_serial]
        if unknown:
            raise DirectoryError(
                f'{store.path}: no valid certificate of "{name}" has the serial number '
                f"{unknown[0]:x}",
                f"it has: {', '.join(entry.serial for entry in counted) or 'none'}",
            )
        return [by_serial[serial] for serial in serials]
    if present:
        return counted
    # A key that is not known cannot be the present one.
    earlier = [entry for entry in counted if entry.key is None or entry.key != own]
    return earlier or counted


def _enter(
    ca: CAFolder, serials: Collection[str], now: datetime, reason: x509.ReasonFlags
) -> None:
    """Revoke, in one moment: the entries, and the CRLs that follow from them."""
    entries = tuple(
        msgspec.structs.replace(entry, revoked_at=now.replace(microsecond=0), reason=reason.value)
        if entry.serial in serials
        else entry
        for entry in ca.ledger.issued
    )
    ledger = msgspec.structs.replace(ca.ledger, issued=entries)
    ca.write_ledger(with_current_crls(ca, ledger))
    with after_commit(ca.pki):
        ca.publish()
