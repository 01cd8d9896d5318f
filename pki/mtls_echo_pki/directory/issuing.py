"""Issue and renew credentials in a PKI directory: first into the ledger, then on the disk.

Both for a new name (:func:`issue`) and for an existing credential (:func:`renew`). A
crash between the two leaves an entry for a certificate that was never handed out, which does no
harm. The other way round there would be one that is in use and cannot be revoked.

A new name appears whole or not at all, by the rename of a folder. A renewal takes the place of
what was there by the rename of a link: readers get the old pair of key and certificate or the new
one, and the old generation stays for readers that are still in it. A key that is revoked is
removed from there, too (:mod:`mtls_echo_pki.directory.revoking`).
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING, TypeAlias, cast

from mtls_echo_pki.certificates.authority import utcnow
from mtls_echo_pki.certificates.credential import Credential, key_id
from mtls_echo_pki.certificates.reading import serial_number
from mtls_echo_pki.certificates.request import Request, Usage
from mtls_echo_pki.directory.ca_folder import CAFolder
from mtls_echo_pki.directory.layout import Role
from mtls_echo_pki.directory.ledger import LedgerEntry
from mtls_echo_pki.directory.recovery import LockedPKI, exclusive
from mtls_echo_pki.directory.store import Store
from mtls_echo_pki.files.atomic_writer import publish
from mtls_echo_pki.files.durable import PUBLIC, is_folder
from mtls_echo_pki.files.staging import DirectoryError, new_folder
from mtls_echo_pki.lifetimes import timestamp

if TYPE_CHECKING:
    from mtls_echo_pki.flaws.baseline import ValidationInput
    from mtls_echo_pki.flaws.flaw import Flaw

ROLE_OF: dict[Usage, Role] = {Usage.SERVER: "servers", Usage.CLIENT: "clients"}

# What a maker returns: the credential, and the files beside it.
_Made: TypeAlias = tuple[Credential, dict[str, bytes]]


def issue(store: Store, name: str, request: Request) -> Credential:
    """Issue a credential and publish it under a new name; see :meth:`Directory.issue`."""
    return _issue(store, name, request, lambda ca: (ca.state.issuing.issue(request), {}))


def issue_flawed(store: Store, name: str, request: Request, flaw: Flaw) -> ValidationInput:
    """Issue a deliberately bad credential; see :meth:`Directory.issue_flawed`."""
    inputs: ValidationInput | None = None

    def make(ca: CAFolder) -> _Made:
        nonlocal inputs
        present = ca.state.present
        # A bad path is bad in one respect: no other CA's certificate is sent along.
        authority = store.root(ca.roles[0]) if flaw.needs_root else present.authority
        inputs = flaw.build(authority, request)
        beside: dict[str, bytes] = {}
        if inputs.trust != authority.trust:
            beside["ca.crt"] = inputs.trust.pem
        if inputs.trust.crls:
            beside["crl.pem"] = inputs.trust.crl_pem
        return inputs.credential, beside

    _issue(store, name, request, make, flaw.slug)
    return cast("ValidationInput", inputs)


def renew(
    store: Store, name: str, *, rekey: bool, lifetime: timedelta | None = None
) -> Credential:
    """Replace a credential by one of the same names; see :meth:`Directory.renew`."""
    with exclusive(store.path, store.path / name) as pki:
        present = store.credential(name)
        try:
            request = Request.of(present.certificate)
        except ValueError as error:
            raise DirectoryError(
                f"{store.path / name}: cannot be renewed: {error}",
                "issue another one: mtls-echo pki issue --help",
            ) from error
        if not rekey:
            _refuse_to_revive(store, name, present, pki)
        ca = pki.ca_folder(ROLE_OF[request.usage])
        credential = ca.state.issuing.renew(present, rekey=rekey, lifetime=lifetime)
        _enter(ca, name, credential, None)
        try:
            publish(store.path / name, _files(credential), {"tls.crt": PUBLIC})
        except FileExistsError as error:
            raise DirectoryError(
                f"{error.filename}: was not put there by mtls-echo pki, and is not replaced",
                "renew it where it comes from, or move it away and issue another",
            ) from error
    return credential


def _refuse_to_revive(store: Store, name: str, present: Credential, pki: LockedPKI) -> None:
    """Raise if the present certificate was revoked: another for its key would undo that."""
    serial = f"{serial_number(present.certificate):x}"
    for ca in pki.ca_folders:
        for entry in ca.ledger.issued:
            if entry.serial == serial and entry.revoked_at is not None:
                raise DirectoryError(
                    f"{store.path / name}: cannot be renewed with the same key, which was "
                    f"revoked on {timestamp(entry.revoked_at)} UTC ({entry.reason})",
                    "a thief of the key would be accepted again; renew it with a new one: "
                    f"mtls-echo pki renew {shlex.quote(str(store.path))} {name} --new-key",
                )


def _issue(
    store: Store,
    name: str,
    request: Request,
    make: Callable[[CAFolder], _Made],
    flaw: str | None = None,
) -> Credential:
    if request.usage not in ROLE_OF:
        raise ValueError("a directory issues to servers and clients, not to CAs")
    target = store.path / name
    with exclusive(store.path, target) as pki:
        if os.path.lexists(target) and not (is_folder(target) and not any(target.iterdir())):
            raise DirectoryError(
                f'{store.path}: there is already something named "{name}"',
                "choose another name: nothing is overwritten; to replace it: "
                "mtls-echo pki renew --help",
            )
        ca = pki.ca_folder(ROLE_OF[request.usage])
        credential, beside = make(ca)
        _enter(ca, name, credential, flaw)
        with new_folder(target) as staging:
            publish(
                staging,
                {**_files(credential), **beside},
                {"tls.crt": PUBLIC, **dict.fromkeys(beside, PUBLIC)},
            )
    return credential


def _enter(ca: CAFolder, name: str, credential: Credential, flaw: str | None) -> None:
    """Write an entry for a credential that is about to be published."""
    issuer = ca.state.present.authority.certificate
    ours = credential.certificate.issuer == issuer.subject
    entry = LedgerEntry.of(
        name, credential, utcnow(), issuer=key_id(issuer) if ours else None, flaw=flaw
    )
    ca.write_ledger(ca.ledger.with_entry(entry))


def _files(credential: Credential) -> dict[str, bytes]:
    return {"tls.crt": credential.certificate_pem, "tls.key": credential.key_pem}
