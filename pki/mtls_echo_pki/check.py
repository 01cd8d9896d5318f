"""Whether a PKI works is asked where it can still be mended: before anybody connects.

Certificates fail where they are used, on another machine and with a message about
"certificate verify failed". Here the same judgement is made beforehand.

The simple questions come first: do the files parse, does the key match, is it private,
is the time right, does the path reach a trust anchor. A credential that fails one of
them is not shown to the verifiers (:mod:`mtls_echo_pki.verifiers`) as well, whose answer
would be the same in other words.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from mtls_echo_pki.armour import MaterialError, show_command
from mtls_echo_pki.authority import utcnow
from mtls_echo_pki.credential import Credential
from mtls_echo_pki.description import is_authority, presented_identifiers, usage, validity
from mtls_echo_pki.directory import Directory
from mtls_echo_pki.layout import ROLES, Role
from mtls_echo_pki.parsing import UNREADABLE, parsing
from mtls_echo_pki.placement import DirectoryError
from mtls_echo_pki.publication import GENERATION
from mtls_echo_pki.signing import PublicKey
from mtls_echo_pki.trust import Trust
from mtls_echo_pki.verifiers import refusal_by_cryptography, refusal_by_openssl


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong.

    Args:
        path: The file or folder.
        what: What is wrong with it.
        hint: What to do about it.
    """

    path: Path
    what: str
    hint: str


def check(directory: Directory, *, now: datetime | None = None) -> list[Finding]:
    """Look for everything that would keep a PKI from working, or from being safe.

    Args:
        directory: What to check. ``authorities`` may be missing, since a machine that
            only serves needs none.
        now: When it shall work; the present unless given. The verifiers are asked
            about the present in any case.

    Returns:
        What was found, in the order of the files; nothing if all is well.
    """
    now = now or utcnow()
    findings = [*_modes(directory.path)]
    trusts: dict[Role, Trust] = {}
    for role in ROLES:
        if (directory.path / "authorities" / role).exists():
            findings += _authority(directory, role, now)
        path = directory.path / "trust" / role / "ca.crt"
        try:
            trusts[role] = directory.trust(role)
        except MaterialError as error:
            findings.append(_unusable(error))
        else:
            findings += _readable(path, _anchors(path, trusts[role], now))
            findings += _lost_lists(path.with_name("crl.pem"), trusts[role])
            unfit = list(_lists(path.with_name("crl.pem"), trusts[role], now))
            if unfit:
                # Said here, once; not once more of every credential.
                findings += unfit
                trusts[role] = Trust(trusts[role].anchors)
    for name in directory.names():
        try:
            credential = directory.credential(name)
        except MaterialError as error:
            findings.append(_unusable(error))
        except DirectoryError as error:
            findings.append(Finding(directory.path / name, str(error), error.hint or ""))
        else:
            path = directory.path / name / "tls.crt"
            findings += _readable(path, _credential(path, credential, trusts, now))
    return findings


def _readable(path: Path, findings: Iterator[Finding]) -> list[Finding]:
    """Return the findings; or, if a certificate of the file cannot be read, that."""
    try:
        with parsing():
            return list(findings)
    except ValueError:
        return [
            Finding(
                path,
                "a part of a certificate in it cannot be read",
                f"look at it with {show_command(path, 'x509')}",
            )
        ]


def _modes(folder: Path) -> Iterator[Finding]:
    if folder.stat().st_mode & 0o077:
        yield Finding(
            folder,
            f"has mode {_mode(folder)}: others can look into it",
            f"chmod 700 {shlex.quote(str(folder))}",
        )
    for parent, folders, files in os.walk(folder):
        folders.sort()
        for path in (Path(parent, name) for name in sorted(files)):
            if path.suffix == ".key" and not path.is_symlink() and path.stat().st_mode & 0o077:
                yield Finding(
                    path,
                    f"has mode {_mode(path)}: others can read a private key",
                    f"chmod 600 {shlex.quote(str(path))}",
                )


def _authority(directory: Directory, role: Role, now: datetime) -> Iterator[Finding]:
    path = directory.path / "authorities" / role / "tls.crt"
    try:
        authority = directory.authority(role)
        directory.ledger(role)
    except MaterialError as error:
        yield _unusable(error)
        return
    except DirectoryError as error:
        yield Finding(path.with_name("ledger.json"), _without_path(error), error.hint or "")
        return
    yield from _times(path, (authority.certificate, *authority.issuers), now)


def _anchors(path: Path, trust: Trust, now: datetime) -> Iterator[Finding]:
    yield from _times(path, trust.anchors, now)
    for anchor in trust.anchors:
        if not is_authority(anchor):
            yield Finding(
                path,
                f"trusts {_subject_of(anchor)}, which is not an authority",
                "trust the root that issued it, unless it is pinned on purpose",
            )


def _lost_lists(path: Path, trust: Trust) -> Iterator[Finding]:
    """Find that revocation was turned off: the generation before, which is kept, had lists."""
    if not trust.crls and any(path.parent.glob(f"{GENERATION}*/{path.name}")):
        yield Finding(
            path,
            "is gone, and with it every revocation: the generation before had lists",
            "publish the lists again, together with the anchors",
        )


def _lists(path: Path, trust: Trust, now: datetime) -> Iterator[Finding]:
    """Find lists with which OpenSSL would refuse everybody; of a missing one, it tells."""
    for crl in trust.crls:
        issuer = crl.issuer.rfc4514_string()
        begin, end = crl.last_update_utc, crl.next_update_utc
        if now < begin or (end is not None and now > end):
            yield Finding(
                path,
                f"the revocation list of {issuer} {validity(begin, end or begin, now)}, so nobody "
                "is accepted",
                "wait, or check this machine's clock" if now < begin else "publish a new one",
            )
        anchors = [anchor for anchor in trust.anchors if anchor.subject == crl.issuer]
        if anchors and not any(_signed(crl, anchor) for anchor in anchors):
            yield Finding(
                path,
                f"the revocation list of {issuer} was not signed by it",
                "do not use it: it was altered, or comes from another authority of that name",
            )


def _credential(
    path: Path, credential: Credential, trusts: dict[Role, Trust], now: datetime
) -> Iterator[Finding]:
    certificates = (credential.certificate, *credential.chain)
    late = list(_times(path, certificates, now))
    yield from late
    roles: list[Role] = [role for role in ROLES if role[:-1] in usage(credential.certificate)]
    if not roles:
        yield Finding(
            path,
            "is good for neither servers nor clients (extendedKeyUsage)",
            "issue another: mtls-echo pki issue DIR NAME IDENTITY --server or --client",
        )
    for role in roles:
        if late or role not in trusts:
            continue  # said already
        missing = _missing_issuer(certificates, trusts[role].anchors)
        if missing is not None:
            yield Finding(
                path,
                f"does not lead to an authority in trust/{role}: no certificate of {missing}",
                "append the intermediate that issued it, or trust its root",
            )
            continue
        for verifier, judge in (
            ("OpenSSL (strict)", refusal_by_openssl),
            ("cryptography", refusal_by_cryptography),
        ):
            refusal = judge(credential, role, trusts[role])
            if refusal is not None:
                yield Finding(
                    path,
                    f"is refused by {verifier}: {refusal}",
                    f"look at it with: mtls-echo pki show {shlex.quote(str(path))}",
                )


def _times(
    path: Path, certificates: Iterable[x509.Certificate], now: datetime
) -> Iterator[Finding]:
    for certificate in certificates:
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if not begin <= now <= end:
            yield Finding(
                path,
                f"{_subject_of(certificate)} {validity(begin, end, now)}",
                "issue another" if now > end else "wait, or check this machine's clock",
            )


def _missing_issuer(
    certificates: tuple[x509.Certificate, ...], anchors: tuple[x509.Certificate, ...]
) -> str | None:
    """Walk from the end-entity towards an anchor; return the issuer where it stops."""
    present, rest = certificates[0], [*certificates[1:]]
    while not any(_issued(anchor, present) or anchor == present for anchor in anchors):
        above = next((candidate for candidate in rest if _issued(candidate, present)), None)
        if above is None:
            return present.issuer.rfc4514_string()
        rest.remove(above)
        present = above
    return None


def _issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (*UNREADABLE, InvalidSignature):  # name, key type, signature
        return False
    return True


def _signed(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    try:
        key = issuer.public_key()
        return isinstance(key, PublicKey) and crl.is_signature_valid(key)
    except UNREADABLE:  # a curve or a signature algorithm that is not supported
        return False


def _subject_of(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string() or ", ".join(presented_identifiers(certificate))


def _unusable(error: MaterialError) -> Finding:
    return Finding(error.path, error.reason, error.hint or "")


def _without_path(error: DirectoryError) -> str:
    return str(error).partition(": ")[2] or str(error)


def _mode(path: Path) -> str:
    return f"{path.stat().st_mode & 0o777:04o}"
