"""The folder of a CA, and the trust that is published from it.

A CA's folder under ``authorities`` has two parts, each replaced by one rename: who issues
(:mod:`mtls_echo_pki.directory.ca_state`), and what was issued and revoked
(:mod:`mtls_echo_pki.directory.ledger`). What peers get under ``trust``, ``ca.crt`` and
``crl.pem``, follows from both: :meth:`CAFolder.trust_to_publish`. A change is made under
``authorities``, and only then published; any later command that finds the two at odds publishes
again. So nothing has to be written down about changes under way.

What others have put into ``trust`` is not ours to take away: the certificate of a CA that never
was one of this directory stays, and so do its CRLs. A CRL of one of our own that is later than the
ledger knows stays, too. It can only mean that the ledger was put back to an earlier state, and to
publish that would lift revocations.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from cryptography import x509

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import key_id
from mtls_echo_pki.certificates.crl import crl_number, is_crl_of
from mtls_echo_pki.certificates.reading import issuer_name, period, subject_name
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_pki.directory.ca_state import (
    MODES,
    CAState,
    read_ca_state,
    remove_root_keys,
    write_root_keys,
)
from mtls_echo_pki.directory.layout import ROLES, Role
from mtls_echo_pki.directory.ledger import Ledger, encode_ledger, read_ledger
from mtls_echo_pki.files.atomic_writer import publish
from mtls_echo_pki.files.durable import PUBLIC, is_folder, replace_file
from mtls_echo_pki.files.pem_blocks import MaterialError
from mtls_echo_pki.files.staging import DirectoryError, os_errors_as_directory_errors
from mtls_echo_pki.files.trust_anchors import read_trust


class CAFolder(msgspec.Struct):
    """A CA's folder: which CA issues, and all that was issued and revoked.

    Args:
        folder: ``authorities/ROLE`` of the PKI directory.
        roles: What is issued here; both, with a single CA.
    """

    pki: Path
    folder: Path
    roles: tuple[Role, ...]
    state: CAState
    ledger: Ledger

    @classmethod
    def read(cls, pki: Path, role: Role) -> CAFolder:
        """Read the folder of the CA that issues for a role.

        Raises:
            DirectoryError, MaterialError: If it cannot be used.
        """
        folder = pki / "authorities" / role
        return cls(pki, folder, roles_of(pki, role), read_ca_state(folder), ledger_in(folder))

    @property
    def signers(self) -> tuple[Authority | x509.Certificate, ...]:
        """All CAs in force; of one whose key was taken away, the certificate."""
        return tuple(
            signer for generation in self.state.generations for signer in generation.signers
        )

    @property
    def certificates(self) -> tuple[x509.Certificate, ...]:
        """Those of all CAs in force."""
        return tuple(c for generation in self.state.generations for c in generation.certificates)

    def latest_crl(
        self, certificate: x509.Certificate, published: Trust | None = None
    ) -> x509.CertificateRevocationList | None:
        """Return the last CRL of a CA, from the ledger or as it was published."""
        own = self.ledger.crl(key_id(certificate))
        crls = [] if own is None else [own]
        crls += [
            crl for crl in (published.crls if published else ()) if is_crl_of(crl, certificate)
        ]
        # Of two that are equal the first, which is the ledger's.
        return max(crls, key=lambda crl: (period(crl)[0], crl_number(crl)), default=None)

    def trust_to_publish(self, published: Trust | None) -> Trust:
        """Return the trust to publish for verifiers of what is issued here.

        Args:
            published: What is published now; None if that cannot be read.
        """
        known = {*self.certificates, *self.state.retired}
        foreign = [
            anchor
            for anchor in (published.anchors if published else ())
            if anchor not in known and not self._is_retired(anchor)
        ]
        anchors = (*self.state.anchors, *foreign)
        present = published.crls if published else ()
        if not self.ledger.crls:  # not in force: any CRLs are not from here
            return Trust(anchors, present)
        names = {subject_name(certificate) for certificate in known}
        own = [self.latest_crl(each, published) for each in self.certificates]
        return Trust(
            anchors,
            (
                *(crl for crl in own if crl is not None),
                *(crl for crl in present if issuer_name(crl) not in names),
            ),
        )

    def _is_retired(self, anchor: x509.Certificate) -> bool:
        try:
            return key_id(anchor) in self.ledger.retired
        except ValueError:
            return False  # of a kind that cannot be read here, so not one of ours

    def write_ledger(self, ledger: Ledger) -> None:
        """Replace the ledger: the moment of a revocation."""
        replace_file(self.folder / "ledger.json", encode_ledger(ledger), 0o600)
        self.ledger = ledger

    def write_state(self, state: CAState) -> None:
        """Replace the state: the moment of a step. Keys that are not in it are destroyed."""
        write_root_keys(self.folder, state)
        publish(self.folder, state.files(), MODES, keep_previous=False)
        remove_root_keys(self.folder, state)
        self.state = state

    def publish(self, *, repair: bool = True) -> None:
        """Publish what follows for each role, where that is not what is published.

        Args:
            repair: Also replace unreadable files.
        """
        for role in self.roles:
            folder = self.pki / "trust" / role
            present = published_trust(self.pki, role)
            wanted = self.trust_to_publish(present)
            if wanted != present and (repair or present is not None):
                files = {"ca.crt": wanted.pem}
                if wanted.crls:
                    files["crl.pem"] = wanted.crl_pem
                publish(folder, files, dict.fromkeys(files, PUBLIC))


def ca_folders(pki: Path) -> list[CAFolder]:
    """Read the folders of all CAs; with a single CA there is one.

    Raises:
        DirectoryError, MaterialError: If one cannot be used.
    """
    return [CAFolder.read(pki, role) for role in ca_roles(pki)]


def ca_roles(pki: Path) -> list[Role]:
    """Return the roles that have a CA folder of their own, in a fixed order."""
    folders = {role: pki / "authorities" / role for role in ROLES}
    return [role for role in ROLES if is_folder(folders[role]) and roles_of(pki, role)[0] == role]


def roles_of(pki: Path, role: Role) -> tuple[Role, ...]:
    """Return the roles that share a CA with this one, itself included."""
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
    """Read the ledger of a CA's folder.

    Raises:
        DirectoryError: If it is missing or damaged.
    """
    path = folder / "ledger.json"
    with os_errors_as_directory_errors(path):
        try:
            return read_ledger(path)
        except ValueError as error:
            raise DirectoryError(
                str(error),
                "restore it from a backup: without it nothing issued so far can be revoked",
            ) from error
