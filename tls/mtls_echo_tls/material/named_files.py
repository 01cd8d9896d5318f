"""What is meant by the files that were named, before any is read as what it is to be."""

from __future__ import annotations

import os
import ssl
from contextlib import suppress
from pathlib import Path

from mtls_echo_pki.files.durable import read_file
from mtls_echo_pki.files.formats import is_pkcs12
from mtls_echo_pki.files.passwords import Password
from mtls_echo_pki.files.pem_blocks import MaterialError, has, quoted
from mtls_echo_tls.material.errors import ConfigurationError
from mtls_echo_tls.path.local_cas import LocalCA, find_local_cas
from mtls_echo_tls.vocabulary import Vocabulary

# What the documentation of Kubernetes, and those who follow it, call the files of a projected pod
# certificate and of a cluster's trust bundle.
_BUNDLES = ("credentialbundle.pem", "credential-bundle.pem")
_ANCHORS = ("ca.crt", "trust-bundle.pem")


def key_of(cert: Path | None, key: Path | None) -> Path | None:
    """The file of the private key: the certificate's own, if none is named and it has one."""
    if cert is None or key is not None:
        return key
    try:
        contents = read_file(cert)
        has_key = is_pkcs12(contents) or has("private key", contents, cert)
        return cert if has_key else None
    except OSError:
        return None
    except MaterialError:
        return cert  # reading it will say why it cannot be used


def secret_in(folder: Path) -> tuple[Path, Path] | None:
    """The files of certificate and key in a mounted Secret, or the one of a pod certificate.

    None for another folder.
    """
    if os.path.lexists(folder / "tls.crt"):
        return folder / "tls.crt", folder / "tls.key"
    bundles = (folder / name for name in _BUNDLES if os.path.lexists(folder / name))
    return next(((bundle, bundle) for bundle in bundles), None)


def anchors_in(folder: Path) -> Path:
    """The file of the trust anchors in a mounted folder, whether it is there or not."""
    found = (folder / name for name in _ANCHORS if os.path.lexists(folder / name))
    return next(found, folder / _ANCHORS[0])


def check_password(
    cert: Path | None,
    key: Path | None,
    password: Password | None,
    password_file: Path | None,
    names: Vocabulary,
) -> None:
    """Refuse a password beside what it cannot open, and a second key."""
    if password is not None and password_file is not None:
        raise ConfigurationError("password and password_file exclude each other", "give one")
    if password_file is not None and cert is None:
        raise ConfigurationError(
            f"{names.unlock_file} has no effect without {names.cert}",
            names.complete("give the certificate and the key that it opens: {cert}{file}"),
        )
    # Where no password can be given, reading it says how to convert it.
    if cert is None or key == cert or not names.unlock:
        return
    with suppress(OSError):  # reading it will say so
        if is_pkcs12(read_file(cert)):
            raise ConfigurationError(
                f"{names.key} contradicts {names.cert}: {cert} is a PKCS#12 file, which has the"
                " key in it",
                f"leave out {names.key}",
            )


def named_anchors(path: Path | None) -> Path | None:
    """The file or folder of the trust anchors; ``system`` names the operating system's.

    Raises:
        ConfigurationError: If OpenSSL does not know where those are, or ``system`` could also be
            a file or folder here.
    """
    if path is None or path != Path("system"):
        return path
    if os.path.lexists(path):
        # A Path does not tell ./system from system.
        raise ConfigurationError(
            "system means the trust anchors of the operating system, and there is a file or folder"
            " of that name here",
            f"name that one by its absolute path, {quoted(path.absolute())}; for the operating"
            " system's, start in another folder",
        )
    places = ssl.get_default_verify_paths()
    found = places.cafile or places.capath
    if not found:
        raise ConfigurationError(
            "OpenSSL knows of no file with the trust anchors of this system",
            "name the file itself, or set SSL_CERT_FILE",
        )
    return Path(found)


def in_folders_of(*files: Path | None) -> tuple[LocalCA, ...]:
    """The CA certificates in the folders of these files, or in those that are folders."""
    return find_local_cas(
        file if os.path.isdir(file) else file.parent for file in files if file is not None
    )


def forbid_mixing(pki: Path | None, files: dict[str, Path | None], names: Vocabulary) -> None:
    """Refuse single files beside a directory."""
    if pki is not None:
        given = ", ".join(option for option, path in files.items() if path is not None)
        raise ConfigurationError(
            f"{names.pki} and {given} exclude each other: material comes from one place",
            f"leave out {names.pki}, or the single files",
        )
