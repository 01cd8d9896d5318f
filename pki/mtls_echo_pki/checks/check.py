"""Check that a PKI directory works, before a peer connects.

Certificates fail where they are used, on another machine and with a message about
"certificate verify failed". Here the same verdict is reached beforehand.

The simple questions come first: do the files parse, does the key match, is it private,
is the time right, does the path reach a trust anchor. A credential that fails one of
them is not shown to the verifiers (:mod:`mtls_echo_pki.checks.verifiers`) as well, whose answer
would be the same in other words.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from cryptography import x509

from mtls_echo_pki.certificates.authority import utcnow
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.der import UnreadableError
from mtls_echo_pki.certificates.loading import parsing
from mtls_echo_pki.certificates.reading import has_readable_extensions, issuer_name, usage
from mtls_echo_pki.certificates.tbs import is_issued_by
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_pki.checks.authorities import (
    Defect,
    check_anchors,
    check_ca,
    check_crls,
    check_ledger,
    check_lost_crls,
    check_times,
)
from mtls_echo_pki.checks.verifiers import refusal_by_cryptography, refusal_by_openssl
from mtls_echo_pki.directory.ca_folder import CAFolder
from mtls_echo_pki.directory.layout import ROLES, Role
from mtls_echo_pki.directory.recovery import quiescent
from mtls_echo_pki.directory.store import Store
from mtls_echo_pki.files.durable import exists, os_reason
from mtls_echo_pki.files.pem_blocks import MaterialError, show_command
from mtls_echo_pki.files.staging import DirectoryError

__all__ = ["Defect", "check"]


def check(store: Store, *, now: datetime | None = None) -> list[Defect]:
    """Look for everything that would keep a PKI from working, or from being safe.

    What a command that was killed has left unfinished is finished first, if that is permitted.

    Args:
        store: What to check. ``authorities`` may be missing, since a machine that
            only serves needs none.
        now: When it shall work; the present unless given. The verifiers are asked
            about the present in any case.

    Returns:
        What was found, in the order of the files; nothing if all is well.

    Raises:
        DirectoryError: If another process changes the directory, and takes too long.
    """
    now = now or utcnow()
    with quiescent(store.path) as trouble:
        findings = [*_unfinished(store.path, trouble), *_modes(store.path)]
        trusts: dict[Role, Trust] = {}
        for role in ROLES:
            ca = None
            if exists(store.path / "authorities" / role):
                ca = _ca_folder(store, role, findings)
            if ca is not None and ca.roles[0] == role:
                path = ca.folder / "tls.crt"
                findings += _readable(path, check_ca(ca, now))
            path = store.path / "trust" / role / "ca.crt"
            try:
                trusts[role] = store.trust(role)
            except MaterialError as error:
                findings.append(_unusable(error))
                continue
            findings += _readable(path, check_anchors(path, trusts[role], now))
            findings += check_lost_crls(path.with_name("crl.pem"), trusts[role])
            if ca is not None:
                findings += check_ledger(ca, trusts[role])
            unfit = list(check_crls(path.with_name("crl.pem"), trusts[role], ca, now))
            if unfit:
                # Said here, once; not once more of every credential.
                findings += unfit
                trusts[role] = Trust(trusts[role].anchors)
        for name in store.names():
            try:
                credential = store.credential(name)
            except MaterialError as error:
                findings.append(_unusable(error))
            except DirectoryError as error:
                findings.append(Defect(store.path / name, str(error), error.hint or ""))
            else:
                path = store.path / name / "tls.crt"
                findings += _readable(path, _credential(path, credential, trusts, now))
    return findings


def _unfinished(path: Path, trouble: OSError | None) -> Iterator[Defect]:
    if trouble is not None:
        yield Defect(
            Path(trouble.filename2 or trouble.filename or path),
            f"a change was interrupted, and cannot be finished: {os_reason(trouble)}",
            f"put that right, and run again: mtls-echo pki check {shlex.quote(str(path))}",
        )


def _ca_folder(store: Store, role: Role, findings: list[Defect]) -> CAFolder | None:
    """Read a CA's folder; what is wrong with it is added to the findings."""
    try:
        return CAFolder.read(store.path, role)
    except MaterialError as error:
        found = _unusable(error)
    except DirectoryError as error:
        path = store.path / "authorities" / role / "ledger.json"
        found = Defect(path, _without_path(error), error.hint or "")
    if found not in findings:  # two roles may share a CA
        findings.append(found)
    return None


def _readable(path: Path, findings: Iterator[Defect]) -> list[Defect]:
    """Return the findings; or, if a certificate of the file cannot be read, that."""
    try:
        with parsing():
            return list(findings)
    except ValueError:
        return [
            Defect(
                path,
                "a part of a certificate in it cannot be read",
                f"look at it with {show_command(path, 'x509')}",
            )
        ]


def _modes(folder: Path) -> Iterator[Defect]:
    if folder.stat().st_mode & 0o077:
        yield Defect(
            folder,
            f"has mode {_mode(folder)}: others can look into it",
            f"chmod 700 {shlex.quote(str(folder))}",
        )
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for path in (Path(parent, name) for name in sorted(files)):
            if path.suffix == ".key" and not path.is_symlink() and path.stat().st_mode & 0o077:
                yield Defect(
                    path,
                    f"has mode {_mode(path)}: others can read a private key",
                    f"chmod 600 {shlex.quote(str(path))}",
                )


def _credential(
    path: Path, credential: Credential, trusts: dict[Role, Trust], now: datetime
) -> Iterator[Defect]:
    certificates = credential.path
    if not all(map(has_readable_extensions, certificates)):
        raise UnreadableError("an extension")
    late = list(check_times(path, certificates, now))
    yield from late
    roles: list[Role] = [role for role in ROLES if role[:-1] in usage(credential.certificate)]
    if not roles:
        yield Defect(
            path,
            "is good for neither servers nor clients (extendedKeyUsage)",
            "issue another: mtls-echo pki issue DIR NAME IDENTITY --server or --client",
        )
    for role in roles:
        if late or role not in trusts:
            continue  # said already
        missing = _missing_issuer(certificates, trusts[role].anchors)
        if missing is not None:
            yield Defect(
                path,
                f"does not lead to a CA in trust/{role}: no certificate of {missing}",
                "append the intermediate that issued it, or trust its root",
            )
            continue
        for verifier, ask in (
            ("OpenSSL (strict)", refusal_by_openssl),
            ("cryptography", refusal_by_cryptography),
        ):
            refusal = ask(credential, role, trusts[role])
            if refusal is not None:
                yield Defect(
                    path,
                    f"is refused by {verifier}: {refusal}",
                    f"look at it with: mtls-echo pki show {shlex.quote(str(path))}",
                )


def _missing_issuer(
    certificates: tuple[x509.Certificate, ...], anchors: tuple[x509.Certificate, ...]
) -> str | None:
    """Walk from the end-entity towards an anchor; return the issuer where it stops."""
    present, rest = certificates[0], [*certificates[1:]]
    while not any(is_issued_by(present, anchor) or anchor == present for anchor in anchors):
        above = next((candidate for candidate in rest if is_issued_by(present, candidate)), None)
        if above is None:
            return str(issuer_name(present))
        rest.remove(above)
        present = above
    return None


def _unusable(error: MaterialError) -> Defect:
    return Defect(error.path, error.reason, error.hint or "")


def _without_path(error: DirectoryError) -> str:
    return str(error).partition(": ")[2] or str(error)


def _mode(path: Path) -> str:
    return f"{path.stat().st_mode & 0o777:04o}"
