"""Load files into a `Material`: an immutable snapshot of key, certificates and trust anchors.

A context is built from a `Material`, never from files: what was checked is what is used, even if
the files change meanwhile. The files are a directory made by `mtls-echo pki init`, or explicit PEM
files. The two never mix, so that a certificate from one place is not combined with trust anchors
from another by accident.

A file that cannot be loaded is an error, which names the file and the reason. What loads but will
fail is only warned about (`mtls_echo_tls.material.warnings`).
"""

from __future__ import annotations

import datetime
import hashlib
import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec
from msgspec.structs import replace

from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.reading import expiry
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_pki.directory.directory import Directory
from mtls_echo_pki.directory.layout import ROLES
from mtls_echo_pki.files.durable import is_folder
from mtls_echo_pki.files.passwords import Password
from mtls_echo_pki.files.trust_anchors import read_trust
from mtls_echo_tls.diagnosis.context_info import context_info, describe_context
from mtls_echo_tls.material.errors import ConfigurationError
from mtls_echo_tls.material.leftovers import leftover_warnings
from mtls_echo_tls.material.named_files import (
    anchors_in,
    check_password,
    forbid_mixing,
    in_folders_of,
    key_of,
    named_anchors,
    secret_in,
)
from mtls_echo_tls.material.own_key import read_mounted, read_own, secret_warnings
from mtls_echo_tls.material.warnings import material_warnings
from mtls_echo_tls.path.local_cas import LocalCA, find_local_cas
from mtls_echo_tls.sides import Side
from mtls_echo_tls.vocabulary import API, Vocabulary


class Files(NamedTuple):
    """The files that material was read from; one that may be absent included. None: not used."""

    certificate: Path | None = None
    key: Path | None = None
    anchors: Path | None = None
    crl: Path | None = None
    password: Path | None = None


_NOWHERE = Files()


class Material(msgspec.Struct, frozen=True):
    """The key, certificates and trust anchors of one end.

    Attributes:
        credential: Our certificate chain and key; None for a client without.
        trust: The anchors to verify the peer with; None for a server that asks for no certificate.
        source, files: Where it was read from, for messages and to find out whether it has changed.
        created: Whether the directory was made by this call.
        warnings: What loaded but will not work, or not for long; one clause each.
        local_cas: The CA certificates in the folders of those files.
        strict: Whether peers are held to every rule of RFC 5280; a context is to be made with it.
    """

    credential: Credential | None
    trust: Trust | None
    source: str
    created: bool = False
    warnings: tuple[str, ...] = ()
    side: Side = "client"
    files: Files = _NOWHERE
    local_cas: tuple[LocalCA, ...] = ()
    strict: bool = True

    @property
    def generation(self) -> str:
        """A short digest of certificates and CRLs: changes whenever any of them does."""
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
        return min(map(expiry, chain))

    def context(self, build: Callable[[Material], ssl.SSLContext]) -> ssl.SSLContext:
        """A context of this; its diagnoses know the CA certificates beside our files."""
        context = build(self)
        is_ours = is_folder(Path(self.source) / "authorities")
        info = replace(context_info(context), local_cas=self.local_cas, other_files=not is_ours)
        describe_context(context, info)
        return context


def default_pki() -> Path:
    """The directory that `serve` and `connect` share by default.

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
    password: Password | None = None,
    password_file: Path | None = None,
    name: str = "server",
    create: bool = True,
    strict: bool = True,
    vocabulary: Vocabulary = API,
) -> Material:
    """Load a server's certificate, its key, and the anchors it verifies clients with.

    Args:
        pki: A directory, made if it does not exist and ``create`` is set; ``name`` is the
            credential in it. Or a mounted Secret with ``tls.crt``, ``tls.key`` and ``ca.crt``, or
            a pod certificate, ``credentialbundle.pem``, in place of the first two.
            None and no file given: `default_pki`.
        cert, key, client_ca, crl: PEM files in its place. ``cert`` may have the key in it, or be
            PKCS#12; ``client_ca`` may be ``system``, for the operating system's trust anchors.
        password, password_file: Of an encrypted key or PKCS#12 file: the password, or what
            returns it when it is needed; or a file, read at each call, whose first line it is.
        strict: Whether peers are going to be held to every rule of RFC 5280.
        vocabulary: What the arguments are called in an error.

    Raises:
        MaterialError, DirectoryError: A file or the directory cannot be used.
        ConfigurationError: The arguments do not fit together.
    """
    names, key, client_ca = vocabulary, key_of(cert, key), named_anchors(client_ca)
    files = {
        **{names.cert: cert, names.key: key, names.client_ca: client_ca, names.crl: crl},
        names.unlock_file: password_file,
    }
    if not any(files.values()):
        return _from_directory(pki, name, "clients", "server", create, strict, names)
    forbid_mixing(pki, files, names)
    if cert is None or key is None:
        raise ConfigurationError(
            f"{names.cert if cert is None else names.key} is missing: a server needs both, or"
            " neither",
            names.complete(
                "give {cert}{file} and {key}{file}, or {pki}{directory} in place of all three"
            ),
        )
    if crl is not None and client_ca is None:
        raise ConfigurationError(
            f"{names.crl} has no effect without {names.client_ca}: it revokes what a CA issued",
            names.complete("give the CA of the clients' certificates: {client_ca}{file}"),
        )
    check_password(cert, key, password, password_file, names)
    trust = read_trust(client_ca, crl=crl) if client_ca else None
    credential = read_own(
        cert, key, password=password, password_file=password_file, vocabulary=names
    )
    read, local_cas = (
        Files(cert, key, client_ca, crl, password_file),
        in_folders_of(cert, client_ca),
    )
    return _material(
        *(credential, trust, str(cert), "server", read, local_cas),
        strict=strict,
        vocabulary=names,
    )


def client_material(
    *,
    pki: Path | None = None,
    cert: Path | None = None,
    key: Path | None = None,
    ca: Path | None = None,
    crl: Path | None = None,
    password: Password | None = None,
    password_file: Path | None = None,
    name: str = "client",
    no_cert: bool = False,
    create: bool = True,
    strict: bool = True,
    vocabulary: Vocabulary = API,
) -> Material:
    """Load the anchors a client verifies servers with, and its own certificate, if it has one.

    The arguments are those of `server_material`, with ``ca`` in place of ``client_ca``. Without
    ``cert`` and ``key``, or with ``no_cert``, it has no certificate to present.

    Raises:
        MaterialError, DirectoryError, ConfigurationError: As `server_material`.
    """
    names, key, ca = vocabulary, key_of(cert, key), named_anchors(ca)
    files = {
        **{names.cert: cert, names.key: key, names.ca: ca, names.crl: crl},
        names.unlock_file: password_file,
    }
    if not any(files.values()):
        used = None if no_cert else name
        return _from_directory(pki, used, "servers", "client", create, strict, names)
    forbid_mixing(pki, files, names)
    if ca is None:
        raise ConfigurationError(
            f"{names.ca} is missing: without trust anchors no server can be verified",
            names.complete("give the CA of the server's certificate: {ca}{file}"),
        )
    if (cert is None) != (key is None):
        raise ConfigurationError(
            f"{names.cert if cert is None else names.key} is missing: a certificate needs its key",
            names.complete(
                "give {cert}{file} and {key}{file}, or neither to connect without a certificate"
            ),
        )
    if no_cert and cert is not None:
        raise ConfigurationError(f"{names.no_cert} contradicts {names.cert}", "give one of them")
    check_password(cert, key, password, password_file, names)
    credential = None
    if cert is not None and key is not None:
        credential = read_own(
            cert, key, password=password, password_file=password_file, vocabulary=names
        )
    trust = read_trust(ca, crl=crl)
    read = Files(cert, key, ca, crl, password_file)
    source, local_cas = str(cert or ca), in_folders_of(cert, ca)
    return _material(
        credential, trust, source, "client", read, local_cas, strict=strict, vocabulary=names
    )


def without_trust(material: Material, vocabulary: Vocabulary = API) -> Material:
    """The same without trust anchors, for a server that asks for no certificate."""
    files = material.files._replace(anchors=None, crl=None)
    source, side, created = material.source, material.side, material.created
    credential, local_cas, strict = material.credential, material.local_cas, material.strict
    return _material(
        *(credential, None, source, side, files, local_cas, created),
        strict=strict,
        vocabulary=vocabulary,
    )


def _from_directory(
    path: Path | None,
    name: str | None,
    trusted: Literal["servers", "clients"],
    side: Side,
    create: bool,
    strict: bool,
    names: Vocabulary,
) -> Material:
    path = path or default_pki()
    if (secret := secret_in(path)) is not None:
        own = secret if name is not None else (None, None)
        return _from_secret(own, path, side, strict, names)
    # One that is made has no other credentials.
    create = create and name in (None, "server", "client")
    directory, created = Directory.open_or_create(path) if create else (Directory(path), False)
    credential = None if name is None else directory.credential(name, side)
    mine, others = directory.path / (name or ""), directory.path / "trust" / trusted
    files = Files(
        None if name is None else mine / "tls.crt",
        None if name is None else mine / "tls.key",
        others / "ca.crt",
        others / "crl.pem",
    )
    local_cas = find_local_cas(
        directory.path / part / role for part in ("authorities", "trust") for role in ROLES
    )
    trust = directory.trust(trusted)
    source = str(directory.path)
    return _material(credential, trust, source, side, files, local_cas, created, strict=strict)


def _from_secret(
    own: tuple[Path | None, Path | None], folder: Path, side: Side, strict: bool, names: Vocabulary
) -> Material:
    """Load a mounted Secret or pod certificate: our files, and the trust anchors beside them."""
    certificate, key = own
    anchors, crl = anchors_in(folder), folder / "crl.pem"
    credential = None
    if certificate and key:
        credential = read_mounted(certificate, key, anchors, side, vocabulary=names)
    trust = None
    if side == "client" or os.path.lexists(anchors):
        trust = read_trust(anchors, crl=crl, crl_required=False)
    files = Files(certificate, key, anchors, crl)
    cas = find_local_cas([folder])
    return _material(credential, trust, str(folder), side, files, cas, strict=strict)


def _material(
    credential: Credential | None,
    trust: Trust | None,
    source: str,
    side: Side,
    files: Files,
    local_cas: tuple[LocalCA, ...],
    created: bool = False,
    *,
    strict: bool,
    vocabulary: Vocabulary = API,
) -> Material:
    warnings = material_warnings(credential, trust, side, local_cas, strict=strict)
    warnings += leftover_warnings(files.certificate, files.key, files.anchors, files.crl)
    warnings += secret_warnings(files.key, files.password, vocabulary)
    return Material(credential, trust, source, created, warnings, side, files, local_cas, strict)
