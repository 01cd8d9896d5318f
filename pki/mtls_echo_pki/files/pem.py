"""Read certificates, keys and CRLs from PEM files; every failure says which file, why, and a fix.

OpenSSL's answer to any unusable file is ``[SSL] PEM lib (_ssl.c:3895)``, whether the file is
missing a certificate, holds DER, or is a key where a certificate should be. So files
are looked at before they are handed on, and every failure names the file, the reason
and the command that would put it right.

Reasons are told apart by labels and structure (:mod:`mtls_echo_pki.files.pem_blocks`), never by
the message of another library, which changes from one version to the next.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias, TypeVar

from cryptography import x509

from mtls_echo_pki.certificates.credential import Credential, is_key_of
from mtls_echo_pki.certificates.der import UnreadableError, first
from mtls_echo_pki.certificates.loading import UNREADABLE, load_certificate, parsing
from mtls_echo_pki.certificates.outline import outline_of
from mtls_echo_pki.files.atomic_writer import read_consistent
from mtls_echo_pki.files.durable import os_reason
from mtls_echo_pki.files.formats import is_pkcs12
from mtls_echo_pki.files.oddities import certificate_oddity, crl_oddity
from mtls_echo_pki.files.passwords import Password
from mtls_echo_pki.files.pem_blocks import (
    Block,
    MaterialError,
    blocks_of,
    has,
    quoted,
    show_command,
)
from mtls_echo_pki.files.pkcs12 import parse_pkcs12
from mtls_echo_pki.files.private_key import parse_key
from mtls_echo_pki.printable import printable

# Plain files that do not match may be caught between two writes. They are read again
# until they have not changed for this long, in seconds, but not for ever.
_STABLE_FOR = 0.05
_MOST_ATTEMPTS = 20

_T = TypeVar("_T")
_Contents: TypeAlias = tuple[list[x509.Certificate], tuple[x509.CertificateRevocationList, ...]]


def read_credential(
    certificate: Path, key: Path, *, password: Password | None = None
) -> Credential:
    """Read a certificate chain and its private key, never one without the other.

    Two files in one folder are read from the same generation (see
    :mod:`mtls_echo_pki.files.atomic_writer`). Both may be the same file.

    Args:
        certificate: PEM, the end-entity certificate first, then intermediates. Or PKCS#12, named
            as the key too.
        key: PEM, PKCS#8 or the traditional form.
        password: Of an encrypted key, or what returns it when it is needed.

    Raises:
        PasswordError: If the key is encrypted, and the password missing or wrong.
        MaterialError: If either file cannot be used, or they do not match.
    """
    return read_stable(
        (certificate, key),
        lambda contents: parse_credential(
            contents[certificate],
            contents[key],
            certificate_path=certificate,
            key_path=key,
            password=password,
        ),
    )


def read_crls(path: Path) -> tuple[x509.CertificateRevocationList, ...]:
    """Read CRLs.

    Raises:
        MaterialError: If the file cannot be used or has no CRL in it.
    """
    return read_stable((path,), lambda contents: parse_crls(contents[path], path=path))


def read_contents(path: Path) -> _Contents:
    """Read all the certificates and all the CRLs of a file, in their order.

    Raises:
        MaterialError: If the file cannot be used or has neither in it.
    """

    def parse(contents: dict[Path, bytes]) -> _Contents:
        pem = contents[path]
        crls = parse_crls(pem, path=path) if has("CRL", pem, path) else ()
        only_lists = bool(crls) and not has("certificate", pem, path)
        if not crls and not has("certificate", pem, path) and has("private key", pem, path):
            raise _only_a_key(blocks_of("private key", pem, path)[0], path)
        return ([] if only_lists else parse_certificates(pem, path=path)), crls

    return read_stable((path,), parse)


def _only_a_key(block: Block, path: Path) -> MaterialError:
    # The traditional form says it in a header (RFC 1421 §4.6.1.1), PKCS#8 in its label.
    how = "encrypted with a password" if b"ENCRYPTED" in block.text else "not encrypted"
    return MaterialError(
        path,
        f"holds a private key, {how}, and neither a certificate nor a CRL",
        "where a certificate belongs, the two files may be swapped; the public key, to compare"
        f" with a certificate's: openssl pkey -in {quoted(path)} -pubout",
    )


def read_stable(
    paths: tuple[Path, ...],
    parse: Callable[[dict[Path, bytes]], _T],
    optional: tuple[Path, ...] = (),
) -> _T:
    """Read and parse; what may have been caught half-written is read again.

    Args:
        paths: The files; those in one folder are read from the same generation.
        parse: Called with the contents of those that are there.
        optional: Those of ``paths`` that need not be there.

    Raises:
        MaterialError: If a file cannot be read; or what ``parse`` raises.
    """
    contents = _read(paths, optional)
    for _ in range(_MOST_ATTEMPTS):
        try:
            return parse(contents)
        except MaterialError:
            time.sleep(_STABLE_FOR)
            again = _read(paths, optional)
            if again == contents:  # not half-written: wrong
                raise
            contents = again
    return parse(contents)


def parse_credential(
    certificate_pem: bytes,
    key_pem: bytes,
    *,
    certificate_path: Path,
    key_path: Path,
    password: Password | None = None,
) -> Credential:
    """Parse what was read elsewhere; the paths are for the messages.

    Raises:
        MaterialError: As :func:`read_credential`.
    """
    if certificate_path == key_path and is_pkcs12(certificate_pem):
        return parse_pkcs12(certificate_pem, path=certificate_path, password=password)
    certificates = parse_certificates(certificate_pem, path=certificate_path)
    key = parse_key(key_pem, path=key_path, password=password)
    first, *rest = certificates
    if is_key_of(key, first):
        return Credential(key, first, tuple(rest))
    for position, certificate in enumerate(rest, start=2):
        if is_key_of(key, certificate):
            raise MaterialError(
                certificate_path,
                f"the private key in {key_path} matches certificate {position} of "
                f"{len(certificates)}, not the first",
                "put the end-entity certificate first, then each issuer after what it issued",
            )
    raise MaterialError(
        key_path,
        f"the private key does not match the certificate in {certificate_path}",
        "the two must come from the same issuance; compare the output of "
        f"`openssl pkey -pubout -in {quoted(key_path)}` and "
        f"`openssl x509 -pubkey -noout -in {quoted(certificate_path)}`",
    )


def parse_certificates(pem: bytes, *, path: Path) -> list[x509.Certificate]:
    """Parse all the certificates of a file, at least one, in their order.

    Raises:
        MaterialError: If there is none, or a damaged one.
    """
    wanted, read = blocks_of("certificate", pem, path), list[x509.Certificate]()
    for number, block in enumerate(wanted, start=1):
        try:
            read.append(_certificate(block))
        except UnreadableError as error:
            which = "a certificate" if len(wanted) == 1 else f"certificate {number}"
            command = show_command(path, "x509")
            if number > 1:
                command = f"openssl storeutl -noout -text -certs {quoted(path)}"
            reason, hint = _damage(block), f"look at it with {command}"
            if len(wanted) == 1 and _is_followed(block):
                hint = f"cut that off: openssl x509 -in {quoted(path)} -out {quoted(path)}.pem"
            raise MaterialError(path, f"{which} in it{reason}", hint) from error
    return read


def _certificate(block: Block) -> x509.Certificate:
    with parsing():
        try:
            return x509.load_pem_x509_certificate(block.text)
        except UNREADABLE:
            return load_certificate(block.der)


def _damage(block: Block) -> str:
    """Say what can be said of a certificate that cannot be read as a whole."""
    try:
        subject = outline_of(block.der).subject
    except ValueError:
        return " is damaged"
    whose = printable(str(subject)) or "without a subject"
    part = certificate_oddity(block.der)
    if part is None:
        return f", {whose}, has a part that is not as RFC 5280 has it, and cannot be used here"
    return f", {whose}, cannot be used here: {part}"


def _is_followed(block: Block) -> bool:
    """Whether only what follows the certificate keeps it from being read."""
    with suppress(ValueError):
        whole = first(block.der).der
        load_certificate(whole)
        return whole != block.der
    return False


def parse_crls(pem: bytes, *, path: Path) -> tuple[x509.CertificateRevocationList, ...]:
    """Parse all the CRLs of a file, at least one, in their order.

    Raises:
        MaterialError: If there is none, or a damaged one. A file without a CRL is an error and
            not an empty set of them: nothing would be checked for revocation.
    """
    return tuple(_parse_crl(block, path) for block in blocks_of("CRL", pem, path))


def _parse_crl(block: Block, path: Path) -> x509.CertificateRevocationList:
    try:
        with parsing():
            crl = x509.load_pem_x509_crl(block.text)
            # Read now what would be read, and might raise, later.
            # (Not its issuer: OpenSSL takes names that `cryptography` does not.)
            _ = crl.last_update_utc, crl.next_update_utc, crl.extensions, len(crl)
    except ValueError as error:
        part = _crl_damage(block)
        raise MaterialError(
            path,
            "a CRL in it is damaged" if part is None else f"a CRL in it cannot be used: {part}",
            f"ask the CA for a new one; look at this one with {show_command(path, 'crl')}",
        ) from error
    return crl


def _crl_damage(block: Block) -> str | None:
    try:
        return crl_oddity(block.der)
    except ValueError:
        return None  # its base64 is damaged


def _read(paths: tuple[Path, ...], optional: tuple[Path, ...]) -> dict[Path, bytes]:
    contents: dict[Path, bytes] = {}
    for folder in {path.parent for path in paths}:
        here = [path for path in paths if path.parent == folder]
        try:
            read = read_consistent(
                folder,
                [path.name for path in here if path not in optional],
                optional=[path.name for path in here if path in optional],
            )
        except OSError as error:
            raise _unreadable(error, here[0]) from error
        contents.update({path: read[path.name] for path in here if path.name in read})
    return contents


def _unreadable(error: OSError, default: Path) -> MaterialError:
    path = Path(error.filename) if error.filename else default
    hint: str | None
    match error:
        case FileNotFoundError() if path.is_symlink():
            reason = "is a link to a file that does not exist"
            hint = f"see where it leads with: readlink -m {quoted(path)}"
        case FileNotFoundError():
            reason, hint = "does not exist", "check the spelling of the path"
        case IsADirectoryError():
            reason, hint = "is a directory", "name the file inside it"
        case OSError(errno=errno.EFBIG):
            reason, hint = "is larger than 1 MiB", "name a file with fewer certificates in it"
        case PermissionError():
            reason, hint = "permission denied", f"see who may read it with: ls -l {quoted(path)}"
        case _:
            reason, hint = os_reason(error), None
    return MaterialError(path, reason, hint)
