"""What is under ``authorities`` is the truth; what is under ``trust`` follows from it.

An authority's folder has two parts, each replaced by one rename: who issues
(:mod:`mtls_echo_pki.directory.ca_state`), and what was issued, revoked and listed
(:mod:`mtls_echo_pki.directory.ledger`). From both follows what peers are told, ``ca.crt`` and
``crl.pem``: :meth:`Registry.derived`. A change is made in the truth, and only then published;
whoever finds the two at odds publishes again. So nothing has to be written down about changes
under way.

What somebody else has put into ``trust`` is not ours to take away: the certificate of an
authority that never was one of this directory stays, and so do its lists. A list of one of our own
that is later than the ledger knows stays, too. It can only mean that the ledger was put back to
an earlier state, and to publish that would lift revocations.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import key_id
from mtls_echo_pki.certificates.crl import is_list_of, list_number
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_pki.directory.ca_state import (
    MODES,
    Succession,
    read_succession,
    remove_root_keys,
    write_root_keys,
)
from mtls_echo_pki.directory.layout import ROLES, Role
from mtls_echo_pki.directory.ledger import Ledger, encode_ledger, read_ledger
from mtls_echo_pki.files.atomic_writer import publish
from mtls_echo_pki.files.durable import PUBLIC, replace_file
from mtls_echo_pki.files.pem import read_trust
from mtls_echo_pki.files.pem_blocks import MaterialError
from mtls_echo_pki.files.staging import DirectoryError, explained


@dataclass
class Registry:
    """An authority's folder: who issues, and all that was issued, revoked and listed.

    Args:
        pki: The PKI directory.
        folder: ``authorities/ROLE``.
        roles: What is issued here; both, with a single authority.
        succession: Who issues.
        ledger: What was issued.
    """

    pki: Path
    folder: Path
    roles: tuple[Role, ...]
    succession: Succession
    ledger: Ledger

    @classmethod
    def read(cls, pki: Path, role: Role) -> Registry:
        """Read the folder of the authority that issues for a role.

        Raises:
            DirectoryError, MaterialError: If it cannot be used.
        """
        folder = pki / "authorities" / role
        return cls(pki, folder, roles_of(pki, role), read_succession(folder), ledger_in(folder))

    @property
    def signers(self) -> tuple[Authority | x509.Certificate, ...]:
        """All authorities in force; of one whose key was taken away, the certificate."""
        return tuple(signer for line in self.succession.lines for signer in line.signers)

    @property
    def certificates(self) -> tuple[x509.Certificate, ...]:
        """Those of all authorities in force."""
        return tuple(c for line in self.succession.lines for c in line.certificates)

    def latest_list(
        self, certificate: x509.Certificate, published: Trust | None = None
    ) -> x509.CertificateRevocationList | None:
        """Return the last list of an authority, from the ledger or as it was published."""
        candidates = [self.ledger.crl(key_id(certificate))]
        candidates += [
            crl for crl in (published.crls if published else ()) if is_list_of(crl, certificate)
        ]
        lists = [crl for crl in candidates if crl is not None]
        # Of two that are equal the first, which is the ledger's.
        return max(lists, key=lambda crl: (crl.last_update_utc, list_number(crl)), default=None)

    def derived(self, published: Trust | None) -> Trust:
        """Return what is to be published for those who judge what is issued here.

        Args:
            published: What is published now; None if that cannot be read.
        """
        known = {*self.certificates, *self.succession.retired}
        foreign = [
            anchor
            for anchor in (published.anchors if published else ())
            if anchor not in known and not self._is_retired(anchor)
        ]
        anchors = (*self.succession.anchors, *foreign)
        present = published.crls if published else ()
        if not self.ledger.lists:  # not in force: whatever lists there are, are not from here
            return Trust(anchors, present)
        names = {certificate.subject for certificate in known}
        own = [self.latest_list(each, published) for each in self.certificates]
        return Trust(
            anchors,
            (
                *(crl for crl in own if crl is not None),
                *(crl for crl in present if crl.issuer not in names),
            ),
        )

    def _is_retired(self, anchor: x509.Certificate) -> bool:
        try:
            return key_id(anchor) in self.ledger.retired
        except ValueError:
            return False  # of a kind that cannot be read here, so none of ours

    def write_ledger(self, ledger: Ledger) -> None:
        """Replace the ledger: the moment of a revocation."""
        replace_file(self.folder / "ledger.json", encode_ledger(ledger), 0o600)
        self.ledger = ledger

    def write_succession(self, succession: Succession) -> None:
        """Replace who issues: the moment of a step. Keys that are no longer there are gone."""
        write_root_keys(self.folder, succession)
        publish(self.folder, succession.files(), MODES, keep_previous=False)
        remove_root_keys(self.folder, succession)
        self.succession = succession

    def publish(self, *, mend: bool = True) -> None:
        """Publish what follows for each role, where that is not what is published.

        Args:
            mend: Also replace what cannot be read.
        """
        for role in self.roles:
            folder = self.pki / "trust" / role
            present = published_trust(self.pki, role)
            wanted = self.derived(present)
            if wanted != present and (mend or present is not None):
                files = {"ca.crt": wanted.pem}
                if wanted.crls:
                    files["crl.pem"] = wanted.crl_pem
                publish(folder, files, dict.fromkeys(files, PUBLIC))


def registries(pki: Path) -> list[Registry]:
    """Read the folders of all authorities; with a single authority there is one.

    Raises:
        DirectoryError, MaterialError: If one cannot be used.
    """
    return [Registry.read(pki, role) for role in authority_roles(pki)]


def authority_roles(pki: Path) -> list[Role]:
    """Return the roles that have an authority's folder of their own, in a fixed order."""
    folders = {role: pki / "authorities" / role for role in ROLES}
    return [role for role in ROLES if folders[role].is_dir() and roles_of(pki, role)[0] == role]


def roles_of(pki: Path, role: Role) -> tuple[Role, ...]:
    """Return the roles that share an authority with this one, itself included."""
    own = (pki / "authorities" / role).resolve()
    return tuple(each for each in ROLES if (pki / "authorities" / each).resolve() == own)


def published_trust(pki: Path, role: Role) -> Trust | None:
    """Read what is published for a role; None if it is missing or cannot be used."""
    folder = pki / "trust" / role
    try:
        return read_trust(folder / "ca.crt", crl=folder / "crl.pem", crl_required=False)
    except MaterialError:
        return None


def ledger_in(folder: Path) -> Ledger:
    """Read the ledger of an authority's folder.

    Raises:
        DirectoryError: If it is missing or damaged.
    """
    path = folder / "ledger.json"
    with explained(path):
        try:
            return read_ledger(path)
        except ValueError as error:
            raise DirectoryError(
                str(error),
                "restore it from a backup: without it nothing issued so far can be revoked",
            ) from error
