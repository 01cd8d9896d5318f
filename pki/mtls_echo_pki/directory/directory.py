"""A PKI on disk, the folder that servers, clients and their operators share.

::

    DIR/                                0700
      authorities/servers/  tls.crt tls.key, ledger.json    issues servers
      authorities/clients/  tls.crt tls.key, ledger.json    issues clients
      trust/servers/        ca.crt, maybe crl.pem           what a client needs
      trust/clients/        ca.crt, maybe crl.pem           what a server needs
      server/ client/ NAME/ tls.crt tls.key                 the credentials

Servers and clients have *separate* CAs, and each side trusts the other's only: a server's
certificate then never passes as a client's, whatever its usage says. See
:mod:`mtls_echo_pki.directory.layout` for what else there may be,
:mod:`mtls_echo_pki.directory.ca_state` for what there is while a CA is replaced.

Four rules keep it whole:

1. What is read together is published together (:mod:`mtls_echo_pki.files.atomic_writer`).
2. A certificate is in the ledger, on the disk, before it is handed out. After a crash
   the ledger may name one that was never handed out, which does no harm; one that is in use
   but not in the ledger could never be revoked.
3. A folder appears under its final name only when it is complete: it is built beside
   and renamed, and the loser of a race finds the winner's.
4. A change happens in one moment, under ``authorities`` or in one credential's folder; what
   follows from it is published by the next command, if need be
   (:mod:`mtls_echo_pki.directory.recovery`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography import x509

from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import DEFAULT_LIFETIME, KeyType, Request
from mtls_echo_pki.directory.issuing import issue, issue_flawed, renew
from mtls_echo_pki.directory.layout import ROLES, Role, make_authorities
from mtls_echo_pki.directory.revoking import Revoked, publish_crls, revoke
from mtls_echo_pki.directory.rollover import Step, take
from mtls_echo_pki.directory.store import Store
from mtls_echo_pki.files.staging import (
    AlreadyThereError,
    absolute,
    new_folder,
    os_errors_as_directory_errors,
    remove_stale,
)

if TYPE_CHECKING:
    from mtls_echo_pki.flaws.baseline import ValidationInput
    from mtls_echo_pki.flaws.flaw import Flaw

DEFAULT_SERVER_NAMES = ("localhost", "127.0.0.1", "::1")
DEFAULT_CLIENT_NAMES = ("client.test",)


class Directory(Store):
    """A PKI on disk; see the module for its layout."""

    @classmethod
    def create(
        cls,
        path: Path | str,
        *,
        server_names: Sequence[str] = DEFAULT_SERVER_NAMES,
        client_names: Sequence[str] = DEFAULT_CLIENT_NAMES,
        key_type: KeyType = KeyType.P256,
        single_authority: bool = False,
        intermediate: bool = False,
        lifetime: timedelta = DEFAULT_LIFETIME,
    ) -> Directory:
        """Make a new PKI with the credentials ``server`` and ``client``.

        Args:
            path: Must not exist or be an empty folder; its parents are made.
            server_names: Identities of ``server``.
            client_names: Identities of ``client``.
            key_type: Of every key in it; but CAs of Ed25519 credentials have
                P-256 keys, because the web's profile, and with it the verifier of
                ``cryptography``, takes Ed25519 keys but no signatures by one.
            single_authority: Let one CA issue both.
            intermediate: Put an issuing CA below each root.
            lifetime: Of the two credentials.

        Raises:
            DirectoryError: If the path is taken or cannot be written; nothing is
                left behind then.
            ValueError: If an identity has none of the accepted forms.
        """
        # A link is followed: what it points to is replaced, the link stays.
        path = absolute(Path(path))
        requests = {
            "server": Request.server(
                *server_names, subject="server", lifetime=lifetime, key_type=key_type
            ),
            "client": Request.client(
                *client_names, subject="client", lifetime=lifetime, key_type=key_type
            ),
        }
        remove_stale(path.parent, path.name)
        with os_errors_as_directory_errors(path), new_folder(path) as staging:
            make_authorities(staging, key_type, single_authority, intermediate)
            building = cls(staging)
            for name, request in requests.items():
                building.issue(name, request)
        return cls(path)

    @classmethod
    def open_or_create(cls, path: Path | str) -> tuple[Directory, bool]:
        """Open a PKI, or make one with the defaults where there is none.

        Any number of processes may do so at once; all get the same one.

        Returns:
            The directory, and whether this call made it.

        Raises:
            DirectoryError: If the path holds something else or cannot be written.
        """
        try:
            return cls.create(path), True
        except AlreadyThereError:
            return cls(path), False

    def issue(self, name: str, request: Request) -> Credential:
        """Issue a credential and publish it under a new name.

        Args:
            name: The folder to be: letters, digits and ``._@-``, not beginning with a
                dot.
            request: Its usage decides which CA issues.

        Raises:
            DirectoryError: If the name is taken or unusable, or something cannot be
                written; no credential of that name exists then.
            MaterialError: If the CA's files cannot be used.
            ValueError: If it would outlive its CA.
        """
        self._check_name(name)
        return issue(self, name, request)

    def issue_flawed(self, name: str, request: Request, flaw: Flaw) -> ValidationInput:
        """Issue a deliberately bad credential, as :meth:`issue` would a good one.

        Where the verifier must trust something else than ``trust`` says, the credential's folder
        has that too: ``ca.crt``, and ``crl.pem`` where the flaw is one of revocation.

        Raises:
            DirectoryError, MaterialError: As :meth:`issue`.
            ValueError: If the flaw makes no sense for this request.
        """
        self._check_name(name)
        return issue_flawed(self, name, request, flaw)

    def renew(self, name: str, *, rekey: bool, lifetime: timedelta | None = None) -> Credential:
        """Replace a credential by a new one of the same names, from the CA that issues now.

        One that has expired, or was made bad on purpose, becomes a good one.

        Args:
            name: The credential's.
            rekey: Whether to make a new key; see :meth:`Authority.renew`.
            lifetime: From now to notAfter; as long as before unless given.

        Raises:
            DirectoryError: If there is none of that name, no certificate can be asked for that
                says the same, its key was revoked and is to be kept, or it cannot be written; the
                present one stays then.
            MaterialError: If its files, or the CA's, cannot be used.
            ValueError: If it would outlive its CA.
        """
        self._check_name(name)
        return renew(self, name, rekey=rekey, lifetime=lifetime)

    def revoke(
        self,
        name: str,
        *,
        reason: x509.ReasonFlags = x509.ReasonFlags.unspecified,
        present: bool = False,
        serials: Collection[int] = (),
    ) -> Revoked:
        """Revoke the keys that a name had before its present one, or else the present one.

        Every certificate is revoked that is good with such a key, and the CRLs of all
        CAs of its role are published. To revoke again is to do nothing.

        Args:
            name: The credential's, which need not be there any more.
            reason: Why.
            present: Revoke all its keys, the present one included.
            serials: Revoke exactly these certificates.

        Raises:
            DirectoryError: If nothing was ever issued to that name, or not with such a serial
                number; or if it cannot be written.
            MaterialError: If its files, or a CA's, cannot be used.
            ValueError: If the reason is one that does not revoke for good.
        """
        self._check_name(name)
        return revoke(self, name, reason=reason, present=present, serials=serials)

    def publish_crls(self, lifetime: timedelta | None = None) -> tuple[Role, ...]:
        """Publish new CRLs, for all roles.

        Args:
            lifetime: From now to their end, and of those that follow; as before unless given,
                and a week at first.

        Raises:
            DirectoryError: If they cannot be signed or written.
            MaterialError: If a CA's files cannot be used.
            ValueError: If the lifetime is less than a second.
        """
        return publish_crls(self, lifetime)

    def introduce(self, *roles: Role) -> tuple[Role, ...]:
        """Make a new CA that is trusted beside the present one, and issues nothing yet.

        This, :meth:`switch` and :meth:`retire` replace a CA; see
        :mod:`mtls_echo_pki.directory.ca_state`.

        Args:
            roles: Whose CAs; all, unless given.

        Returns:
            The roles for which this call did it; none if all had been done before.

        Raises:
            DirectoryError: If it is not this step's turn, or it cannot be written.
            MaterialError: If a CA's files cannot be used.
        """
        return take(self, Step.INTRODUCE, roles or ROLES)

    def switch(self, *roles: Role) -> tuple[Role, ...]:
        """Let the new CA issue; see :meth:`introduce`."""
        return take(self, Step.SWITCH, roles or ROLES)

    def retire(self, *roles: Role) -> tuple[Role, ...]:
        """No longer trust the old CA, and destroy its key; see :meth:`introduce`.

        Raises:
            DirectoryError: Also if a credential in the directory would be locked out.
        """
        return take(self, Step.RETIRE, roles or ROLES)
