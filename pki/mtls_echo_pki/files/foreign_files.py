"""Files that are something else altogether: packed, a page saved from the web, keys of SSH.

Each is told by its first bytes or its first lines, and gets the command that makes PEM of it, or
what to do in its place. Nothing of the contents is shown: there may be a password in them.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

_NEW_FILE = "(umask 077; {command} > {file}.pem)"

# What packs one file, and what prints its contents.
_PACKED = {
    b"\x1f\x8b": ("gzip", "gzip -dc {file}"),
    b"BZh": ("bzip2", "bzip2 -dc {file}"),
    b"\xfd7zXZ\0": ("xz", "xz -dc {file}"),
    b"\x28\xb5\x2f\xfd": ("zstd", "zstd -dc {file}"),
}

_SAVED_PAGE = (
    "a page for logging in, or about an error, may have been saved in place of the file: download"
    " that again; curl -f saves no page about an error"
)
_NOT_FOR_TLS = "name the certificate that your CA sent: TLS uses X.509, not the files of SSH"

# Which both write in OpenSSH's own format only.
_OTHER_ED25519 = (
    "make another key, since {} cannot convert this kind: openssl genpkey -algorithm ED25519"
    " -out {{file}}.pem; then have a certificate issued for it"
)

# What a file begins with, and with it what the file is and what to do; patterns see no blanks
# before the first character.
_BEGINNINGS = (
    (rb"PK\x03\x04", "is a ZIP archive", "unpack it: unzip {file}"),
    (rb"<(!doctype html|html|head|body|script)\b", "is a web page (HTML)", _SAVED_PAGE),
    (rb"<[?!a-z]", "is XML", _SAVED_PAGE),
    (
        rb"HTTP/\d",
        "is a whole HTTP response, with its header",
        "download it again without the header: curl without -i",
    ),
    (
        rb"version https://git-lfs",
        "is what Git LFS has in place of a file",
        "fetch it: git lfs pull",
    ),
    (rb"\0GITCRYPT\0", "is encrypted by git-crypt", "decrypt it: git-crypt unlock"),
    (
        rb"\$ANSIBLE_VAULT;",
        "is encrypted by Ansible Vault",
        "decrypt it: ansible-vault decrypt --output {file}.pem {file}",
    ),
    (
        rb"age-encryption\.org/",
        "is encrypted by age",
        "decrypt it: (umask 077; age -d -i IDENTITY -o {file}.pem {file})",
    ),
    (
        rb"SQLite format 3\0",
        "is a database, as NSS has its certificates in (cert9.db)",
        "list what is in it with certutil -L -d sql:FOLDER, then print one:"
        " certutil -L -d sql:FOLDER -n NAME -a",
    ),
    (
        rb"PuTTY-User-Key-File-\d: ssh-ed25519",
        "is a private key of PuTTY",
        _OTHER_ED25519.format("puttygen"),
    ),
    (
        rb"PuTTY-User-Key-File-",
        "is a private key of PuTTY",
        "convert it: puttygen {file} -O private-openssh -o {file}.pem",
    ),
    (
        rb"(ssh-\w+|ecdsa-sha2-\w+|sk-\S+)-cert-v01@openssh\.com ",
        "is a certificate of OpenSSH, which TLS does not use",
        _NOT_FOR_TLS,
    ),
    (
        rb"(ssh-\w+|ecdsa-sha2-\w+|sk-\S+@openssh\.com) AAAA",
        "is an SSH public key",
        _NOT_FOR_TLS,
    ),
    (rb"---- BEGIN SSH2 ", "is an SSH public key", _NOT_FOR_TLS),
    (
        rb"(machine\s+\S+|default)\s+(login|user|account|password)\s",
        "is a .netrc file, with names and passwords",
        "name the file of the certificate or key",
    ),
    (
        rb"[{\[]",
        "is JSON",
        "take out of it what is wanted: (umask 077; jq -r '.[\"KEY\"]' {file} > {file}.pem)",
    ),
)

# A line of YAML or JSON, as of a Kubernetes Secret or a kubeconfig, whose value is base64 of PEM.
_ENCODED = re.compile(
    rb'(?m)^[ \t-]*"?([\w.-]+)"?:[ \t]*"?LS0tLS1CRUdJTi[A-Za-z0-9+/]+=*"?,?[ \t]*\r?$'
)


class FileFormat(NamedTuple):
    """What a file is, as a clause, and what to do."""

    reason: str
    hint: str


def archive(contents: bytes, file: str) -> FileFormat | None:
    """Say that a file is a tar archive, in which the boundaries of PEM may be seen.

    Args:
        contents: The file's.
        file: Its path, quoted for a shell.
    """
    if contents[257:262] != b"ustar":
        return None
    return FileFormat("is a tar archive", f"unpack it: tar -xf {file}")


def foreign(contents: bytes, file: str) -> FileFormat | None:
    """Say what a file is that has no PEM in it, if that can be told.

    Args:
        contents: The file's.
        file: Its path, quoted for a shell.
    """
    return next(_found(contents, file), None)


def _found(contents: bytes, file: str) -> Iterator[FileFormat]:
    for magic, (what, command) in _PACKED.items():
        if contents.startswith(magic):
            yield _packed(contents, file, what, command.format(file=file))
    keys = dict.fromkeys(match[1].decode() for match in _ENCODED.finditer(contents))
    if keys:
        first = next(iter(keys)).replace(".", r"\.")
        line = f"sed -n 's/^[^A-Za-z]*{first}\"*: *\"*//p' {file}"
        command = f"{line} | head -1 | tr -d '\", \\t\\r' | base64 -d"
        kind = "JSON" if contents.lstrip()[:1] in (b"{", b"[") else "YAML"
        yield FileFormat(
            f"is {kind}, with base64 of PEM as its {', '.join(keys)}",
            f"take it out: {_NEW_FILE.format(command=command, file=file)}",
        )
    text = contents.lstrip()
    for pattern, what, hint in _BEGINNINGS:
        if re.match(pattern, text, re.DOTALL | re.IGNORECASE):
            yield FileFormat(
                what if "," in what else f"{what}, not PEM", hint.replace("{file}", file)
            )


def _packed(contents: bytes, file: str, what: str, command: str) -> FileFormat:
    inner = b""
    with suppress(zlib.error):
        inner = zlib.decompressobj(wbits=31).decompress(contents, 512) if what == "gzip" else b""
    if archive(inner, file) is not None:
        return FileFormat(f"is a tar archive, packed by {what}", f"unpack it: tar -xf {file}")
    unpack = _NEW_FILE.format(command=command, file=file)
    return FileFormat(f"is packed by {what}, not PEM", f"unpack it: {unpack}")


def of_openssh(key: bytes, file: str) -> str:
    """Return what to do about a private key of OpenSSH that is to be used with TLS.

    Args:
        key: What is between its boundaries, decoded.
        file: Its path, quoted for a shell.
    """
    if b"ssh-ed25519" in key:
        return _OTHER_ED25519.format("ssh-keygen").replace("{file}", file)
    return (
        f"convert a copy of it: (umask 077; cp {file} {file}.pem);"
        f" ssh-keygen -p -m PKCS8 -f {file}.pem"
    )
