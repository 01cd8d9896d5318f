"""CA certificates in the folders of our own files: used to diagnose, never sent and never trusted.

People keep ``issuing.pem`` and ``root.pem`` next to ``server.pem`` and forget to append the first
to it. When a peer finds no path to an anchor, what we sent does not show whether it lacks a
certificate that we omitted or trusts other CAs. The files beside it do: a CA there that has signed
the last of our chain, and is not a root, should have been sent; and where the chain leads to a
root with nothing omitted, nothing was omitted.

So the folders of the named files are searched once, when they are loaded, within bounds: a number
of files, each of at most 1 MiB, whose names say that they hold certificates. A file with a private
key in it is left alone, and so is one that a link leads to outside the folder. What is found
serves the diagnosis of a refusal, and a warning at start.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
from cryptography import x509

from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.loading import load_certificate
from mtls_echo_pki.certificates.reading import is_self_issued
from mtls_echo_pki.files.durable import read_file
from mtls_echo_pki.files.pem import parse_certificates
from mtls_echo_pki.files.pem_blocks import MaterialError, has
from mtls_echo_tls.path.chain import LONGEST_PATH, has_signed
from mtls_echo_tls.path.rules import is_ca

_SUFFIXES = frozenset({".pem", ".crt", ".cer", ".der"})

# How a DER certificate begins: a sequence, whose length takes two bytes.
_BINARY = b"\x30\x82"

# A private folder has a dozen; the system's store, some 140 and as many links to them.
_MOST_FILES = 64
_MOST_CERTIFICATES = 128


class LocalCA(msgspec.Struct, frozen=True):
    """A CA certificate in the folder of one of our files, and the file that holds it."""

    certificate: x509.Certificate
    file: Path


def find_local_cas(folders: Iterable[Path]) -> tuple[LocalCA, ...]:
    """The CA certificates in these folders; never raises.

    What cannot be read or is not a certificate is skipped: it was not asked for.
    """
    found: dict[x509.Certificate, LocalCA] = {}
    for file in _files(dict.fromkeys(folders)):
        for certificate in _certificates(file):
            if len(found) < _MOST_CERTIFICATES and _is_ca(certificate):
                found.setdefault(certificate, LocalCA(certificate, file))
    return tuple(found.values())


def omitted_cas(credential: Credential, known: Iterable[LocalCA]) -> tuple[LocalCA, ...]:
    """The CAs that should have been sent with a certificate, lowest first.

    From the last certificate of the chain upwards, as far as the known ones lead, without the
    root, which need not be sent (RFC 8446 §4.4.2).
    """
    last, path = credential.path[-1], list[LocalCA]()
    # Roots first: where one ends the path, nothing above it is missing.
    candidates = sorted(known, key=lambda one: not is_self_issued(one.certificate))
    while len(path) < LONGEST_PATH and not is_self_issued(last):
        issuer = next((one for one in candidates if has_signed(one.certificate, last)), None)
        if issuer is None or is_self_issued(issuer.certificate) or issuer in path:
            break
        path.append(issuer)
        last = issuer.certificate
    return tuple(path)


def _files(folders: Iterable[Path]) -> Iterator[Path]:
    left = _MOST_FILES
    for folder in folders:
        try:
            inside = os.path.realpath(folder)
            names = sorted(entry for entry in folder.iterdir() if entry.suffix in _SUFFIXES)
        except OSError:
            continue
        for path in names[:left]:
            left -= 1
            if _is_inside(path, inside):
                yield path


def _is_inside(path: Path, folder: str) -> bool:
    """Whether it is in the folder itself, and not a link to another place.

    A published file is a link into a generation of the same folder; any other may lead anywhere.
    """
    try:
        # Not Path.resolve: on a loop of links it raises RuntimeError before Python 3.13. Either
        # raises FileNotFoundError for a link that is removed in between.
        return Path(os.path.realpath(path)).is_relative_to(folder)
    except OSError:
        return False


def _certificates(file: Path) -> Iterable[x509.Certificate]:
    try:
        contents = read_file(file)
        if contents.startswith(_BINARY):
            return (load_certificate(contents),)
        if has("private key", contents, file):
            return ()
        return parse_certificates(contents, path=file)
    except (OSError, ValueError, MaterialError):
        return ()


def _is_ca(certificate: x509.Certificate) -> bool:
    return is_ca(certificate)
