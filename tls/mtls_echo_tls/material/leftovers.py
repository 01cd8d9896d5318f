"""What is in our files and is not used: each kind of it is named, once per file.

A private key among trust anchors, a certificate in the key's file, DH parameters: programs that
read PEM take what they look for and pass over the rest. Usually it was meant to do something. So
were certificates and CRLs in a folder of trust anchors, in files whose names keep them from being
read.
"""

from __future__ import annotations

from pathlib import Path

from mtls_echo_pki.files.durable import is_folder, read_file
from mtls_echo_pki.files.formats import is_pkcs12
from mtls_echo_pki.files.pem_blocks import Kind, MaterialError, blocks_beside, has
from mtls_echo_pki.files.trust_anchors import files_meant, passed_over


def leftover_warnings(
    certificate: Path | None, key: Path | None, anchors: Path | None, crl: Path | None
) -> tuple[str, ...]:
    """What of these files, or in their folder, is not used; and of the anchors', that CRLs are."""
    used: dict[Path, list[Kind]] = {}
    named: tuple[tuple[Path | None, Kind], ...] = (
        (certificate, "certificate"),
        (key, "private key"),
        (crl, "CRL"),
    )
    for file, kind in named:
        if file is not None:
            used.setdefault(file, []).append(kind)
    try:
        trusted = files_meant(anchors) if anchors is not None else ()
        for file in trusted:
            used.setdefault(file, []).extend(("certificate", "CRL"))
        return (
            *_used_crls(trusted, crl),
            *_passed_over(anchors, {certificate, key, crl}),
            *(warning for file, kinds in used.items() for warning in _unused(file, kinds)),
        )
    except (OSError, MaterialError):
        return ()  # it was replaced meanwhile, and will be read again


def _unused(file: Path, kinds: list[Kind]) -> list[str]:
    try:
        contents = read_file(file)
    except FileNotFoundError:
        return []  # CRLs need not be there
    if is_pkcs12(contents):
        return []
    found = blocks_beside(kinds, contents, file)
    return [f"{file}, line {line}: {what}, which is not used" for what, line in found.items()]


def _used_crls(trusted: tuple[Path, ...], crl: Path | None) -> list[str]:
    return [
        f"{file}: there are CRLs in it, so revocation is checked, and needs one of each CA"
        for file in trusted
        if file != crl and has("CRL", read_file(file), file)
    ][:1]


def _passed_over(anchors: Path | None, named: set[Path | None]) -> list[str]:
    if anchors is None or not is_folder(anchors):
        return []
    return [
        f"{file}: there {_are(held)} {held} in it, and it is not read: its name ends in none of"
        " .pem, .crt, .cer and .crl"
        for file, held in passed_over(anchors)
        if file not in named
    ]


def _are(held: str) -> str:
    return "is" if held.startswith("a ") else "are"
