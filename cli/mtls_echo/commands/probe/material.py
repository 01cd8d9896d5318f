"""What a probe presents, from a PKI directory or from files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mtls_echo.commands.pki.errors import as_command_errors
from mtls_echo.console import CommandError
from mtls_echo.password import ask_for_password
from mtls_echo.probing.issuer import IdentityFactory
from mtls_echo.vocabulary import COMMAND_LINE
from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.directory.ca_folder import CAFolder, published_trust
from mtls_echo_pki.files.pem import read_crls
from mtls_echo_pki.files.pem_blocks import MaterialError
from mtls_echo_pki.files.staging import DirectoryError
from mtls_echo_pki.files.trust_anchors import read_trust
from mtls_echo_tls.material.errors import ConfigurationError
from mtls_echo_tls.material.load import client_material, default_pki
from mtls_echo_tls.material.named_files import key_of
from mtls_echo_tls.material.own_key import read_own

if TYPE_CHECKING:
    from cryptography import x509

    from mtls_echo_pki.certificates.credential import Credential
    from mtls_echo_pki.certificates.trust import Trust
    from mtls_echo_pki.directory.layout import Role


@dataclass(frozen=True, kw_only=True)
class ProbeOptions:
    """The options that say what is presented, and whom the server is verified with."""

    pki: Path | None
    name: str | None
    other: str | None
    issuer_cert: Path | None
    issuer_key: Path | None
    cert: Path | None
    key: Path | None
    password_file: Path | None
    ca: Path | None
    crl: str | None


def issuer_of(given: ProbeOptions) -> tuple[IdentityFactory, Trust | None]:
    """What is presented; and the CAs of the server, None for the system's.

    Raises:
        CommandError: The options do not fit together, or a file cannot be used.
    """
    files = (given.issuer_cert, given.issuer_key, given.cert, given.key)
    if given.pki is not None and any(files):
        raise CommandError(
            "--pki and --cert, --key, --issuer-cert, --issuer-key exclude each other",
            "--pki has all of them: --as NAME and --other NAME choose from it",
        )
    pki = given.pki if given.pki is not None or any(files) else default_pki()
    if given.pki is None and pki is not None and not pki.exists():
        raise CommandError(
            "there is no identity that the server would admit",
            "give --pki DIR, or --cert FILE --key FILE of one of its clients; and, for what takes"
            " the key of the CA, --issuer-cert FILE --issuer-key FILE",
        )
    if pki is None and (given.name or given.other):
        raise CommandError(
            "--as and --other name certificates of --pki DIR", "give that in place of the files"
        )
    with as_command_errors():
        try:
            return _of_directory(given, pki) if pki is not None else _of_files(given)
        except ConfigurationError as error:
            raise CommandError(str(error), error.hint) from error


def _of_directory(given: ProbeOptions, pki: Path) -> tuple[IdentityFactory, Trust | None]:
    def read(name: str) -> tuple[Credential | None, Trust | None]:
        material = client_material(pki=pki, name=name, create=False, vocabulary=COMMAND_LINE)
        return material.credential, material.trust

    good, trust = read(given.name or "client")
    published = published_trust(pki, "clients")
    crls: tuple[x509.CertificateRevocationList, ...] = ()
    if given.crl in (None, "published") and published is not None:
        crls = published.crls
    elif given.crl not in (None, "published", "none"):
        crls = read_crls(Path(str(given.crl)))
    issuer = IdentityFactory(
        good=good,
        clients=_authority(pki, "clients"),
        servers=_authority(pki, "servers"),
        other=read(given.other)[0] if given.other else None,
        crl=crls,
        trusted=published.anchors if published is not None else (),
    )
    return issuer, _trust(given) if given.ca is not None else trust


def _authority(pki: Path, role: Role) -> Authority | None:
    """The CA of a directory; None where its key is kept elsewhere, as of a mounted Secret."""
    try:
        return CAFolder.read(pki, role).state.issuing
    except (DirectoryError, MaterialError, ValueError):
        return None


def _of_files(given: ProbeOptions) -> tuple[IdentityFactory, Trust | None]:
    good = _credential(given.cert, given.key, given.password_file, "--cert", "--key")
    signer = _credential(
        given.issuer_cert, given.issuer_key, given.password_file, "--issuer-cert", "--issuer-key"
    )
    if given.crl == "published":
        raise CommandError("--crl published is that of --pki DIR", "give --crl FILE")
    crls = read_crls(Path(given.crl)) if given.crl not in (None, "none") else ()
    clients: Authority | None = None
    if signer is not None:
        clients = Authority(signer.certificate, signer.key, signer.chain)
        last = clients.path[-1]
        if last.issuer != last.subject:
            # The root is not among them: all of it has to be sent.
            clients = Authority(signer.certificate, signer.key, signer.chain, cross=(last,))
    return IdentityFactory(good=good, clients=clients, crl=crls), _trust(given)


def _trust(given: ProbeOptions) -> Trust | None:
    if given.ca is None or given.ca == Path("system"):
        return None
    return read_trust(given.ca)


def _credential(
    cert: Path | None, key: Path | None, password_file: Path | None, *names: str
) -> Credential | None:
    key = key_of(cert, key)
    if cert is None and key is None:
        return None
    if cert is None or key is None:
        missing = names[0] if cert is None else names[1]
        raise CommandError(f"{missing} is missing: a certificate needs its key", "give both")
    return read_own(
        cert,
        key,
        password=ask_for_password(cert, key, password_file),
        password_file=password_file,
        vocabulary=COMMAND_LINE,
    )
