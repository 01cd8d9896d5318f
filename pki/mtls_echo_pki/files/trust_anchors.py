"""Trust anchors, and the CRLs that go with them: from a file, or from a folder of files.

Of a folder, its ``*.pem``, ``*.crt``, ``*.cer`` and ``*.crl`` files are read, and those that are
named by a hash, as ``openssl rehash`` names them: each once, whatever links lead to it. Each must
be usable. A CA that was left out would go unnoticed until one of its peers is refused, and a CRL
for longer: so what else in the folder holds one is told too (:func:`passed_over`).

CRLs among the certificates are used as CRLs: revocation is then checked, as with a file of them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mtls_echo_pki.certificates.der import UnreadableError
from mtls_echo_pki.certificates.loading import load_certificate, parsing
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_pki.files.durable import is_folder, os_reason, read_file
from mtls_echo_pki.files.formats import is_pkcs12, of_anchors, pkcs12_command
from mtls_echo_pki.files.pem import parse_certificates, parse_crls, read_stable
from mtls_echo_pki.files.pem_blocks import MaterialError, has, quoted

_SUFFIXES = (".pem", ".crt", ".cer", ".crl")
_HASHED = re.compile(r"[0-9a-f]{8}\.r?[0-9]+", re.IGNORECASE)
_PEM_BEGIN = b"-----BEGIN "

# How many of a folder's other files are looked into.
_MOST_OTHERS = 128

# How often a folder is read again whose files come and go meanwhile.
_MOST_ATTEMPTS = 20


def read_trust(path: Path, *, crl: Path | None = None, crl_required: bool = True) -> Trust:
    """Read trust anchors, and the CRLs that go with them.

    Files in one folder are read from the same generation: new anchors never come with old CRLs.

    Args:
        path: PEM, certificates; CRLs among them are used too. Or a folder of such files.
        crl: PEM, CRLs; None for no others.
        crl_required: Whether the file must be there; without it there are no CRLs then.

    Raises:
        MaterialError: If a file cannot be used, or has no certificate, or no CRL, in it; or if
            the folder has no certificate in it.
    """
    if not _is_folder(path):
        return _read((path,), crl, crl_required)
    for _ in range(_MOST_ATTEMPTS):
        files = anchor_files(path)
        try:
            trust = _read(files, crl, crl_required, folder=path)
        except MaterialError:
            if anchor_files(path) == files:
                raise
        else:
            if anchor_files(path) == files:
                return trust
    raise MaterialError(path, "is changed faster than it can be read", "try again")


def parse_trust(pem: bytes, *, path: Path) -> Trust:
    """Parse trust anchors that were read elsewhere; the path is for the messages.

    An end-entity certificate is not an error here: it may be pinned on purpose.

    Raises:
        MaterialError: As :func:`read_trust`.
    """
    if is_pkcs12(pem):
        # Its key has no business here, and its first certificate must not be trusted.
        raise MaterialError(
            path,
            "is a PKCS#12 file, not PEM",
            "take the CA certificates out of it: "
            + pkcs12_command(pem, quoted(path), anchors=True),
        )
    try:
        certificates = parse_certificates(pem, path=path)
    except MaterialError as error:
        raise MaterialError(path, error.reason, of_anchors(error.hint)) from error
    return _joined([Trust(tuple(certificates), _crls_in(pem, path))])


def files_meant(path: Path) -> tuple[Path, ...]:
    """Return the files that are read as trust anchors: those of a folder, or the file itself.

    Raises:
        MaterialError: If a folder cannot be listed.
    """
    return anchor_files(path) if _is_folder(path) else (path,)


def anchor_files(folder: Path) -> tuple[Path, ...]:
    """Return the files of a folder that hold trust anchors or CRLs, by their names.

    Raises:
        MaterialError: If the folder cannot be listed.
    """
    names = _names_in(folder)
    named = [name for name in names if _has_suffix(name)]
    hashed = [name for name in names if _HASHED.fullmatch(name)]
    # What a hash names is usually a link to another file of the folder.
    known = {_path_in(folder, name) for name in named}
    own = [name for name in hashed if _target_of(folder, name) not in known]
    return tuple(folder / name for name in (*named, *own))


def passed_over(folder: Path) -> Iterator[tuple[Path, str]]:
    """The files of a folder that are not read, for their names, and what each holds.

    Only what holds certificates or CRLs, in PEM or DER, is of interest. Hidden files are not.

    Raises:
        MaterialError: If the folder cannot be listed.
    """
    names = [name for name in _names_in(folder) if not name.startswith(".")]
    others = [name for name in names if not (_has_suffix(name) or _HASHED.fullmatch(name))]
    read = {os.path.realpath(file) for file in anchor_files(folder)}
    for file in (folder / name for name in others[:_MOST_OTHERS]):
        if os.path.realpath(file) not in read:
            with suppress(OSError, MaterialError):
                held = _held(read_file(file), file)
                if held is not None:
                    yield file, held


def _held(contents: bytes, path: Path) -> str | None:
    if _PEM_BEGIN in contents:
        kinds = [kind for kind in ("certificate", "CRL") if has(kind, contents, path)]
        return " and ".join(f"{kind}s" for kind in kinds) or None
    for parse, what in (
        (load_certificate, "a DER certificate"),
        (x509.load_der_x509_crl, "a DER CRL"),
    ):
        with suppress(UnreadableError), parsing():
            parse(contents)
            return what
    return None


def _names_in(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError as error:
        hint = f"see who may list it with: ls -ld {quoted(folder)}"
        raise MaterialError(folder, os_reason(error), hint) from error


def _has_suffix(name: str) -> bool:
    return name.lower().endswith(_SUFFIXES) and not name.startswith(".")


def _target_of(folder: Path, name: str) -> str | None:
    """Where a link leads to, one step; None if it is not a link."""
    try:
        return _path_in(folder, os.readlink(folder / name))
    except OSError:
        return None


def _path_in(folder: Path, name: str) -> str:
    return os.path.normpath(os.path.join(folder, name))


def _is_folder(path: Path) -> bool:
    with suppress(OSError):  # reading it will say so
        return is_folder(path)
    return False


def _read(
    files: tuple[Path, ...], crl: Path | None, crl_required: bool, folder: Path | None = None
) -> Trust:
    def parse(contents: dict[Path, bytes]) -> Trust:
        parts = [_parse(contents[file], file, folder) for file in files]
        if folder is not None and not any(part.anchors for part in parts):
            raise MaterialError(
                folder,
                "has no CA certificate in it: no *.pem, *.crt or *.cer",
                "copy the PEM file of the CA there, or name the file itself",
            )
        if crl is not None and crl in contents:
            parts.append(Trust((), parse_crls(contents[crl], path=crl)))
        return _joined(parts)

    optional = (crl,) if crl is not None and not crl_required else ()
    try:
        return read_stable(files if crl is None else (*files, crl), parse, optional)
    except MaterialError as error:
        if folder is None or error.path not in files or os.path.isfile(error.path):
            raise
        if not os.path.exists(error.path):
            raise  # a link: where it leads is of more use
        hint = f"move it out of {quoted(folder)}, where only files belong"
        raise MaterialError(error.path, error.reason, hint) from error


def _parse(pem: bytes, path: Path, folder: Path | None) -> Trust:
    try:
        only_lists = folder is not None and not is_pkcs12(pem)
        if only_lists and has("CRL", pem, path) and not has("certificate", pem, path):
            return Trust((), parse_crls(pem, path=path))
        return parse_trust(pem, path=path)
    except MaterialError as error:
        if folder is None:
            raise
        raise MaterialError(error.path, error.reason, _hint_in(folder, error)) from error


def _hint_in(folder: Path, error: MaterialError) -> str:
    """What to do about a file of a folder, each of which must be usable."""
    file = quoted(error.path)
    if error.hint is not None and f"{file}.pem" in error.hint:
        return f"{error.hint}; then remove {file}"
    if error.reason.startswith(("holds", "has no")):
        return f"move it out of {quoted(folder)}, where only CA certificates and CRLs belong"
    return error.hint or f"move it out of {quoted(folder)}"


def _crls_in(pem: bytes, path: Path) -> tuple[x509.CertificateRevocationList, ...]:
    return parse_crls(pem, path=path) if has("CRL", pem, path) else ()


def _joined(parts: list[Trust]) -> Trust:
    anchors = dict.fromkeys(anchor for part in parts for anchor in part.anchors)
    # CRLs have no hash.
    crls = {crl.public_bytes(Encoding.DER): crl for part in parts for crl in part.crls}
    return Trust(tuple(anchors), tuple(crls.values()))
