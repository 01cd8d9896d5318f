"""From files to one frozen snapshot of key, certificates and trust anchors.

A context is built from a `Material`, never from paths: what was checked is then what is used,
whatever happens to the files meanwhile. Two ways lead to one: a directory made by `mtls-echo
pki init`, or explicit PEM files; they never mix, so that nobody ends up with a certificate from
here and trust anchors from there without having said so.

What cannot be loaded is an error that names the file and the reason. What loads but will fail,
an expired certificate say, is only warned about: to show it fail is what this program is for.
"""

from __future__ import annotations

import datetime
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.identifiers import common_name, hosts
from mtls_echo_pki.certificates.lifetimes import timestamp
from mtls_echo_pki.certificates.reading import (
    extended_key_usages,
    invalidity,
    is_self_issued,
    period,
)
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_pki.directory.directory import Directory
from mtls_echo_pki.directory.layout import ROLES
from mtls_echo_pki.files.pem import read_credential, read_trust
from mtls_echo_tls.path.chain import has_signed
from mtls_echo_tls.path.local_cas import LocalCA, find_local_cas, omitted_cas, remember_nearby
from mtls_echo_tls.path.rules import lacks_key_usage
from mtls_echo_tls.sides import Side

# Warned about from here on: what remains of a 30-day certificate when a third of its life is
# left is 10 days, the usual moment to renew; the warning starts when that was missed.
_SOON = datetime.timedelta(days=7)

# Trust anchors warned about one by one.
_MOST_DOUBTS = 3

_USAGES = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}


class ConfigurationError(Exception):
    """The options given do not fit together.

    Attributes:
        hint: What to give instead.
    """

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class Files(NamedTuple):
    """Where material was read, or looked for in vain; None: not looked for."""

    certificate: Path | None = None
    key: Path | None = None
    anchors: Path | None = None
    lists: Path | None = None


_NOWHERE = Files()


@dataclass(frozen=True)
class Material:
    """What one end brings to the handshake.

    Attributes:
        credential: Our certificate chain and key; None for a client without.
        trust: The anchors to judge the peer by; None for a server that asks for no certificate.
        source: Where it came from, for messages.
        created: Whether this call made the directory.
        warnings: What loaded but will not work, or not for long; one clause each.
        side: Whose it is.
        files: What to look at, to find out whether it is still the present one.
        local_cas: The authorities whose certificates lie in the same folders.
    """

    credential: Credential | None
    trust: Trust | None
    source: str
    created: bool = False
    warnings: tuple[str, ...] = ()
    side: Side = "client"
    files: Files = _NOWHERE
    local_cas: tuple[LocalCA, ...] = ()

    @property
    def generation(self) -> str:
        """A short digest of certificates and lists: changes whenever any of them does."""
        digest = hashlib.sha256()
        for part in (
            self.credential and self.credential.certificate_pem,
            self.trust and self.trust.pem,
            self.trust and self.trust.crl_pem,
        ):
            digest.update(part or b"-")
        return digest.hexdigest()[:12]

    @property
    def not_after(self) -> datetime.datetime | None:
        """When the first certificate of our own chain expires."""
        if self.credential is None:
            return None
        chain = self.credential.path
        return min(certificate.not_valid_after_utc for certificate in chain)


def default_pki() -> Path:
    """The directory that `serve` and `connect` share when none is named.

    ``MTLS_ECHO_PKI``, or ``mtls-echo/pki`` among the user's state files.
    """
    named = os.environ.get("MTLS_ECHO_PKI")
    if named:
        return Path(named)
    import platformdirs

    return Path(platformdirs.user_state_dir("mtls-echo")) / "pki"


def server_material(
    *,
    pki: Path | None = None,
    cert: Path | None = None,
    key: Path | None = None,
    client_ca: Path | None = None,
    crl: Path | None = None,
    name: str = "server",
    create: bool = True,
) -> Material:
    """Read a server's certificate, its key, and the anchors it judges clients by.

    Args:
        pki: A directory, made if it does not exist. None and no file given: `default_pki`.
        cert, key, client_ca, crl: PEM files in its place.
        name: Which credential of the directory.
        create: Whether the directory may be made; never when it was there a moment ago.

    Raises:
        MaterialError, DirectoryError: A file or the directory cannot be used.
        ConfigurationError: The arguments do not fit together.
    """
    files = {"--cert": cert, "--key": key, "--client-ca": client_ca, "--crl": crl}
    if not any(files.values()):
        return _from_directory(pki, name, "clients", "server", create)
    _forbid_mixing(pki, files)
    if cert is None or key is None:
        raise ConfigurationError(
            f"{'--cert' if cert is None else '--key'} is missing: a server needs both, or neither",
            "give --cert FILE and --key FILE, or --pki DIR in place of all three",
        )
    if crl is not None and client_ca is None:
        raise ConfigurationError(
            "--crl has no effect without --client-ca: it revokes what an authority issued",
            "give the authority of the clients' certificates: --client-ca FILE",
        )
    trust = read_trust(client_ca, crl=crl) if client_ca else None
    credential, read = read_credential(cert, key), Files(cert, key, client_ca, crl)
    return _material(credential, trust, str(cert), "server", read, _beside(cert, client_ca))


def client_material(
    *,
    pki: Path | None = None,
    cert: Path | None = None,
    key: Path | None = None,
    ca: Path | None = None,
    crl: Path | None = None,
    name: str = "client",
    no_cert: bool = False,
    create: bool = True,
) -> Material:
    """Read the anchors a client judges servers by, and its own certificate, if it has one.

    Args:
        pki: A directory, made if it does not exist. None and no file given: `default_pki`.
        cert, key, ca, crl: PEM files in its place; without ``cert`` and ``key``, a client
            that has no certificate.
        name: Which credential of the directory.
        no_cert: Present none.
        create: As for `server_material`.

    Raises:
        MaterialError, DirectoryError: A file or the directory cannot be used.
        ConfigurationError: The arguments do not fit together.
    """
    files = {"--cert": cert, "--key": key, "--ca": ca, "--crl": crl}
    if not any(files.values()):
        return _from_directory(pki, None if no_cert else name, "servers", "client", create)
    _forbid_mixing(pki, files)
    if ca is None:
        raise ConfigurationError(
            "--ca is missing: without trust anchors no server can be verified",
            "give the authority of the server's certificate: --ca FILE",
        )
    if (cert is None) != (key is None):
        raise ConfigurationError(
            f"{'--cert' if cert is None else '--key'} is missing: a certificate needs its key",
            "give --cert FILE and --key FILE, or neither to connect without a certificate",
        )
    if no_cert and cert is not None:
        raise ConfigurationError("--no-cert contradicts --cert", "give one of them")
    credential = read_credential(cert, key) if cert and key else None
    trust = read_trust(ca, crl=crl)
    read = Files(cert, key, ca, crl)
    return _material(credential, trust, str(cert or ca), "client", read, _beside(cert, ca))


def without_trust(material: Material) -> Material:
    """The same for a server that asks for no certificate, whom anchors do not concern."""
    files = material.files._replace(anchors=None, lists=None)
    source, side, created = material.source, material.side, material.created
    return _material(material.credential, None, source, side, files, material.local_cas, created)


def _from_directory(
    path: Path | None,
    name: str | None,
    judged: Literal["servers", "clients"],
    side: Side,
    create: bool,
) -> Material:
    path = path or default_pki()
    directory, created = Directory.open_or_create(path) if create else (Directory(path), False)
    credential = None if name is None else directory.credential(name)
    own, others = directory.path / (name or ""), directory.path / "trust" / judged
    files = Files(
        None if name is None else own / "tls.crt",
        None if name is None else own / "tls.key",
        others / "ca.crt",
        others / "crl.pem",
    )
    local_cas = find_local_cas(
        directory.path / part / role for part in ("authorities", "trust") for role in ROLES
    )
    trust = directory.trust(judged)
    return _material(credential, trust, str(directory.path), side, files, local_cas, created)


def _beside(*files: Path | None) -> tuple[LocalCA, ...]:
    return find_local_cas(file.parent for file in files if file is not None)


def _forbid_mixing(pki: Path | None, files: dict[str, Path | None]) -> None:
    if pki is not None:
        given = ", ".join(option for option, path in files.items() if path is not None)
        raise ConfigurationError(
            f"--pki and {given} exclude each other: material comes from one place",
            "leave out --pki, or the single files",
        )


def _material(
    credential: Credential | None,
    trust: Trust | None,
    source: str,
    side: Side,
    files: Files,
    local_cas: tuple[LocalCA, ...],
    created: bool = False,
) -> Material:
    for owner in (credential, trust):
        if owner is not None:
            remember_nearby(owner, local_cas)
    warnings = expiry_warnings(credential, trust, datetime.datetime.now(datetime.UTC))
    if credential is not None:
        warnings += usage_warnings(credential.certificate, side)
        warnings += (trust and _completed(credential, trust)) or _left_out(credential, local_cas)
    if trust is not None:
        warnings += [*_unlisted(trust), *_unusable(trust)]
    return Material(credential, trust, source, created, tuple(warnings), side, files, local_cas)


def expiry_warnings(
    credential: Credential | None, trust: Trust | None, now: datetime.datetime
) -> list[str]:
    """What time makes of certificates and lists: not valid, or not for long; one clause each."""
    found: list[str] = []
    if credential is not None:
        found += _doubts(credential.certificate, "our certificate", now)
        for issuer in credential.chain:
            found += _doubts(issuer, f"the authority {_called(issuer)} in our chain", now)
    if trust is not None:
        found += _about_anchors(trust, now)
        for crl in trust.crls:
            found += _doubts(crl, f"the revocation list of {_named(crl.issuer)}", now)
    return found


def _about_anchors(trust: Trust, now: datetime.datetime) -> list[str]:
    found = [
        doubt
        for anchor in trust.anchors
        for doubt in _doubts(anchor, f"the trust anchor {_called(anchor)}", now)
    ]
    if len(found) <= _MOST_DOUBTS:
        return found
    # A bundle of the web's authorities always has some.
    return [f"{len(found)} of {len(trust.anchors)} trust anchors are not valid, or not for long"]


def _doubts(
    dated: x509.Certificate | x509.CertificateRevocationList, what: str, now: datetime.datetime
) -> list[str]:
    why, (since, until) = invalidity(dated, now), period(dated)
    # What was made to live for minutes is no surprise when its end is minutes away.
    if why is None and until is not None and until - now < min(_SOON, (until - since) / 3):
        why = f"expires on {timestamp(until)} UTC"
    return [] if why is None else [f"{what} {why}"]


def _unlisted(trust: Trust) -> list[str]:
    """OpenSSL asks for a list from the issuer of every certificate, a trust anchor's too."""
    listed = [crl.issuer for crl in trust.crls]
    return [
        f"there is no revocation list of {_named(anchor.issuer)}, who issued {_called(anchor)}:"
        " every certificate below that trust anchor will be refused"
        for anchor in trust.anchors
        if listed and anchor.issuer not in listed
    ]


def _unusable(trust: Trust) -> list[str]:
    """What `openssl req -x509` makes of itself has no keyUsage, and strict verification asks."""
    found = [anchor for anchor in trust.anchors if lacks_key_usage(anchor)]
    whose = ", ".join(_called(anchor) for anchor in found[:_MOST_DOUBTS])
    more = f" and {len(found) - _MOST_DOUBTS} more" if len(found) > _MOST_DOUBTS else ""
    if not found:
        return []
    return [
        f"no keyUsage is in the trust anchor {whose}{more}, and RFC 5280 §4.2.1.3 demands one:"
        " every certificate below it will be refused"
    ]


def _left_out(credential: Credential, local_cas: Sequence[LocalCA]) -> list[str]:
    return [
        f"our chain lacks {_called(one.certificate)}, which lies beside it:"
        f" append {one.file} to the certificate file"
        for one in omitted_cas(credential, local_cas)
    ]


def _completed(credential: Credential, trust: Trust) -> list[str]:
    """OpenSSL adds to our chain what it finds among our anchors; other programs do not."""
    last = credential.path[-1]
    return [
        f"our chain lacks {_called(anchor)}; it is sent because it is among our trust anchors"
        for anchor in trust.anchors
        if not is_self_issued(anchor) and has_signed(anchor, last)
    ]


def usage_warnings(certificate: x509.Certificate, side: Side) -> list[str]:
    """Why no peer will take this for our certificate, whatever the time; one clause each."""
    found: list[str] = []
    usages = extended_key_usages(certificate)
    # OpenSSL does not take anyExtendedKeyUsage for an answer here.
    if usages is not None and _USAGES[side] not in usages:
        found.append(f"our certificate's extendedKeyUsage does not include {side}Auth")
    if side == "server" and not hosts(certificate):
        found.append(
            "our certificate has no subjectAltName with a host, so clients will refuse it"
        )
    return found


def _called(certificate: x509.Certificate) -> str:
    return _named(certificate.subject)


def _named(name: x509.Name) -> str:
    return repr(common_name(name) or name.rfc4514_string())
