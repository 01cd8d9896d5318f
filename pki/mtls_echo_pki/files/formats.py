"""What a file is that is not PEM as OpenSSL reads it, and the command that makes PEM of it.

People have certificates and keys as Windows, Java, browsers and environment variables keep them:
UTF-16 text, a PKCS#12 or Java key store, base64 of a whole PEM file, ``\\n`` written out. Each is
told apart by its first bytes or its structure, and each command was tried on such a file.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from contextlib import suppress

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_der_private_key, load_der_public_key

from mtls_echo_pki.certificates.der import UnreadableError
from mtls_echo_pki.certificates.loading import load_certificate, parsing
from mtls_echo_pki.files.foreign_files import FileFormat, archive, foreign

REQUEST_HINT = "send it to your CA: what comes back is the certificate"
PUBLIC_KEY_HINT = (
    "it is one half of a key pair: use the certificate that the CA issued for it, or the file of "
    "the private key"
)

# PFX ::= SEQUENCE { version INTEGER (3), … } (RFC 7292 §4), length in 1 to 3 octets or
# indefinite; no certificate or PKCS#8 key begins so.
_PKCS12 = re.compile(rb"\x30(\x80|\x81.|\x82..|\x83...)\x02\x01\x03", re.DOTALL)
# pbeWithSHA1And128BitRC4 and its like with RC2 (RFC 7292 appendix C), which OpenSSL 3 has in its
# legacy provider only.
_LEGACY = re.compile(re.escape(bytes.fromhex("060a2a864886f70d010c01")) + rb"[\x01\x02\x05\x06]")
# ContentInfo of signedData (RFC 2315 §7).
_PKCS7 = bytes.fromhex("06092a864886f70d010702")

# What `openssl pkcs12` takes out of a file: everything, or the CA certificates only.
_ALL, _ANCHORS = "-nodes", "-nokeys -cacerts"

_JAVA = {b"\xfe\xed\xfe\xed": "JKS", b"\xce\xce\xce\xce": "JCEKS"}
_PEM_BEGIN = b"-----BEGIN "


# Commands that put right what a variable, a JSON file, a shell or a mail program did to PEM.
_WITH_LINE_ENDS = (
    r"""awk '{gsub(/\\+r/, ""); gsub(/\\+n/, "\n"); gsub(/\\/, ""); """
    r"""sub(/^[^-]*-----BEGIN/, "-----BEGIN"); sub(/-----[^-]*$/, "-----")} 1'"""
)
_SPLIT = (
    r"""awk '{gsub(/-----(BEGIN|END) [A-Z0-9 ]+-----/, "\n&\n")} 1' {} | """
    r"""awk '!/-----/ {gsub(/^[ \t]+|[ \t]+$/, ""); gsub(/[ \t]+/, "\n")} NF'"""
)
_STRIP = "sed 's/^[^A-Za-z0-9+/=-]*//; s/[^A-Za-z0-9+/=-]*$//'"


def unusual_text(contents: bytes, file: str) -> FileFormat | None:
    """Say what keeps OpenSSL from the boundaries of a text that has some; None if nothing does.

    Args:
        contents: The file's.
        file: Its path, quoted for a shell.
    """
    if (packed := archive(contents, file)) is not None:
        return packed
    wide = contents.find(_PEM_BEGIN.decode().encode("utf-16-le"))
    if wide >= 0:
        # In big-endian text the pattern is found too, one byte later.
        encoding = "UTF-16BE" if wide % 2 else "UTF-16LE"
        if contents.startswith((b"\xff\xfe", b"\xfe\xff")):
            encoding = "UTF-16"  # the byte-order mark says which, and is removed
        command = f"iconv -f {encoding} -t UTF-8 {file} > {file}.pem"
        return FileFormat("is UTF-16 text, not PEM", f"convert it: {guarded(command, contents)}")
    if re.search(rb"-----\r(?!\n)", contents):
        command = f"tr '\\r' '\\n' < {file} > {file}.pem"
        return FileFormat(
            "has lines that end with a carriage return only, which OpenSSL takes for one line",
            f"convert it: {guarded(command, contents)}",
        )
    if re.search(rb"-----BEGIN [A-Z0-9 ]+-----(\\+r)?\\+n", contents):
        command = f"{_WITH_LINE_ENDS} {file} > {file}.pem"
        return FileFormat(
            r"has \n written out in place of line ends, as in an environment variable",
            f"convert it: {guarded(command, contents)}",
        )
    if re.search(rb"(?m)^-----BEGIN [A-Z0-9 ]+-----\s*$", contents):
        return None
    if re.search(rb"-----BEGIN [A-Z0-9 ]+-----[ \t]+[A-Za-z0-9+/]{16}", contents):
        command = f"{_SPLIT} > {file}.pem".replace("{}", file)
        return FileFormat(
            "has blanks in place of line ends, as echo prints a variable without quotation marks",
            f"convert it: {guarded(command, contents)}",
        )
    if re.search(
        rb"(?m)^[ \t]*[>\"'#|][>\"'#| \t]*-----BEGIN [A-Z0-9 ]+-----[\"', \t]*\r?$", contents
    ):
        command = f"{_STRIP} {file} > {file}.pem"
        return FileFormat(
            "has more in each line than PEM: a quotation mark, or what marks a quoted text",
            f"convert it: {guarded(command, contents)}",
        )
    return None


def guarded(command: str, contents: bytes) -> str:
    """Return a command that writes a copy of a file; with a private key in it, for us alone."""
    is_private = b"PRIVATE KEY" in contents.replace(b"\0", b"")
    return f"(umask 077; {command})" if is_private else command


def not_pem(contents: bytes, file: str) -> FileFormat:
    """Say what a file without any PEM block is.

    Args:
        contents: The file's.
        file: Its path, quoted for a shell.
    """
    if not contents.strip():
        return FileFormat("is empty", "was the program that writes it interrupted?")
    if (binary := _binary(contents, file)) is not None:
        return binary
    decoded = _from_base64(contents)
    if decoded is not None and _PEM_BEGIN in decoded:
        command = guarded(f"base64 -d {file} > {file}.pem", decoded)
        return FileFormat("is base64 of a PEM file", f"decode it: {command}")
    inner = _binary(decoded, f"{file}.der") if decoded is not None else None
    if inner is not None:
        command = f"base64 -d {file} > {file}.der"
        if "private key" in inner.reason:
            command = f"(umask 077; {command})"
        return FileFormat(
            f"is base64 without boundaries; what it holds {inner.reason}",
            f"decode it: {command}; then {inner.hint}",
        )
    return foreign(contents, file) or _unknown(file)


def _binary(contents: bytes, file: str) -> FileFormat | None:
    java = _JAVA.get(contents[:4])
    if java is None:
        return _der(contents, file) if contents[:1] == b"\x30" else None
    return FileFormat(
        f"is a Java key store ({java}), not PEM",
        f"convert it: keytool -importkeystore -srckeystore {file} -srcstoretype {java} "
        f"-destkeystore {file}.p12 -deststoretype PKCS12; "
        f"then: openssl pkcs12 -in {file}.p12 {_ALL} -out {file}.pem",
    )


def _unknown(file: str) -> FileFormat:
    return FileFormat(
        "is not PEM: there is no -----BEGIN …----- line in it", f"see what it is with: file {file}"
    )


def _der(contents: bytes, file: str) -> FileFormat | None:
    if is_pkcs12(contents):
        command = pkcs12_command(contents, file)
        return FileFormat("is a PKCS#12 file, not PEM", f"convert it: {command}")
    if _PKCS7 in contents[:20]:
        return FileFormat(
            "is a DER PKCS#7 bundle, not PEM",
            f"convert it: openssl pkcs7 -inform der -in {file} -print_certs -out {file}.pem",
        )
    for parse, what, command in (
        (load_certificate, "certificate", "x509"),
        (x509.load_der_x509_crl, "CRL", "crl"),
        (_load_key, "private key", "pkey"),
    ):
        if _parses(parse, contents):
            convert = f"convert it: openssl {command} -inform der -in {file} -out {file}.pem"
            return FileFormat(f"is a DER {what}, not PEM", convert)
    if _parses(x509.load_der_x509_csr, contents):
        return FileFormat("is a DER certificate signing request", REQUEST_HINT)
    if _parses(load_der_public_key, contents):
        return FileFormat("is a DER public key", PUBLIC_KEY_HINT)
    return None


def is_pkcs12(contents: bytes) -> bool:
    """Return whether a file is PKCS#12, by its first bytes."""
    return _PKCS12.match(contents) is not None


def is_legacy_pkcs12(contents: bytes) -> bool:
    """Return whether OpenSSL 3 opens a PKCS#12 file with its legacy provider only."""
    return _LEGACY.search(contents) is not None


def pkcs12_command(contents: bytes, file: str, *, anchors: bool = False) -> str:
    """Return the command that makes PEM of a PKCS#12 file: of its CA certificates, or of all."""
    legacy = "-legacy " if is_legacy_pkcs12(contents) else ""
    return f"openssl pkcs12 {legacy}-in {file} {_ANCHORS if anchors else _ALL} -out {file}.pem"


def of_anchors(hint: str | None) -> str | None:
    """Return a hint whose command takes what is to be trusted from a file, and no private key."""
    return hint and hint.replace(f" {_ALL} ", f" {_ANCHORS} ")


def _parses(parse: Callable[[bytes], object], contents: bytes) -> bool:
    try:
        with parsing():
            parse(contents)
    except UnreadableError:
        return False
    return True


def _load_key(der: bytes) -> None:
    with suppress(TypeError):  # an encrypted private key is one, too
        load_der_private_key(der, None)


def _from_base64(contents: bytes) -> bytes | None:
    try:
        return base64.b64decode(b"".join(contents.split()), validate=True)
    except binascii.Error:
        return None
