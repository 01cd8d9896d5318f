"""PKCS#12 files (RFC 7292): a private key and its certificates in one, usually with a password.

Windows, Java and browsers export them, as ``.p12`` or ``.pfx``. The order of their certificates
means nothing, so the chain is put together by signatures, from the end-entity certificate upwards;
what is not part of it follows, as it would from a PEM file.

Everything in a file may be encrypted, its structure included: one that is damaged inside and one
whose password is another cannot be told apart. Nor, without OpenSSL's legacy provider, can one
that is encrypted with RC2 or RC4; then both are said, with the command that opens such a file.
"""

from __future__ import annotations

from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import pkcs12

from mtls_echo_pki.certificates.credential import Credential, is_key_of
from mtls_echo_pki.certificates.der import UnreadableError, first
from mtls_echo_pki.certificates.loading import parsing
from mtls_echo_pki.certificates.request import PrivateKey
from mtls_echo_pki.certificates.tbs import is_issued_by
from mtls_echo_pki.files.formats import is_legacy_pkcs12, pkcs12_command
from mtls_echo_pki.files.passwords import Password, PasswordError, resolve, too_long
from mtls_echo_pki.files.pem_blocks import MaterialError, quoted


def parse_pkcs12(contents: bytes, *, path: Path, password: Password | None = None) -> Credential:
    """Parse a file; the path is for the messages.

    Args:
        contents: The file's.
        path: Where they are from.
        password: Asked for only if the file has one that is not empty.

    Raises:
        PasswordError: If it is missing or wrong.
        MaterialError: If the file lacks a key or its certificate, or is cut off.
    """
    is_whole(contents, path)
    opened = _opened(contents, None)
    if isinstance(opened, UnreadableError):
        if _is_decrypted(opened):
            raise _unsupported(path, "of a kind, or on a curve, that is not supported")
        given = resolve(password, path)
        if given is None:
            raise PasswordError(
                path,
                "is a PKCS#12 file with a password",
                f"convert it: {pkcs12_command(contents, quoted(path))}",
                missing=True,
            )
        opened = _opened(contents, given)
        if isinstance(opened, UnreadableError):
            raise _not_opened(contents, path, given, opened)
    return _credential(opened, path)


def needs_password(contents: bytes) -> bool:
    """Return whether a PKCS#12 file can only be read with a password."""
    opened = _opened(contents, None)
    return isinstance(opened, UnreadableError) and not _is_decrypted(opened)


def is_whole(contents: bytes, path: Path) -> None:
    """Refuse a file that is shorter than it says.

    Raises:
        MaterialError: If it is.
    """
    if contents[1:2] == b"\x80":
        return  # an indefinite length
    try:
        first(contents)
    except UnreadableError as error:
        reason = "is a PKCS#12 file that is cut off"
        raise MaterialError(path, reason, "copy the file again, whole") from error


def _opened(
    contents: bytes, password: bytes | None
) -> pkcs12.PKCS12KeyAndCertificates | UnreadableError:
    try:
        with parsing():
            return pkcs12.load_pkcs12(contents, password)
    except UnreadableError as error:
        return error
    except BaseException as error:
        # A panic of Rust's is not an Exception, and its text may hold what was passed.
        if type(error).__name__ != "PanicException":
            raise
    return UnreadableError("Invalid password or PKCS12 data")


def _is_decrypted(error: UnreadableError) -> bool:
    """Whether a file was decrypted, and what is in it cannot be used."""
    return isinstance(error.__cause__, UnsupportedAlgorithm)


def _not_opened(
    contents: bytes, path: Path, password: bytes, error: UnreadableError
) -> PasswordError:
    reason = "the password does not open this PKCS#12 file"
    hint = f"try it: openssl pkcs12 -in {quoted(path)} -noout"
    if not _is_utf8(password):
        # openssl takes it for Latin-1 in one place and as it is in another.
        reason = "the password is not UTF-8 text, and opens no PKCS#12 file here"
        hint = f"convert it: {pkcs12_command(contents, quoted(path))}"
    elif is_legacy_pkcs12(contents):
        reason += ", or its encryption (RC2 or RC4) cannot be read here"
        hint = f"convert it: {pkcs12_command(contents, quoted(path))}"
    elif not str(error).startswith("Invalid password"):
        # Of a certificate, OpenSSL may take in PEM what cannot be read here.
        reason += ", or its private key, a certificate or its encryption cannot be used here"
        hint = f"convert it: {pkcs12_command(contents, quoted(path))}"
    else:
        reason += too_long(password)
    return PasswordError(path, reason, hint, missing=False)


def _is_utf8(password: bytes) -> bool:
    try:
        password.decode()
    except UnicodeDecodeError:
        return False
    return True


def _unsupported(path: Path, what: str) -> MaterialError:
    return MaterialError(
        path,
        f"is a PKCS#12 file whose private key is {what}",
        "have a certificate issued for an EC key: openssl ecparam -name prime256v1 -genkey",
    )


def _credential(opened: pkcs12.PKCS12KeyAndCertificates, path: Path) -> Credential:
    found = [each.certificate for each in (opened.cert, *opened.additional_certs) if each]
    key = opened.key
    if key is None:
        raise MaterialError(
            path,
            "is a PKCS#12 file without a private key",
            "export certificate and key together: openssl pkcs12 -export -in CERTIFICATE -inkey"
            f" KEY -out {quoted(path)}",
        )
    if not isinstance(key, PrivateKey):
        raise _unsupported(path, "neither EC, Ed25519 nor RSA")
    certificate = next((each for each in found if is_key_of(key, each)), None)
    if certificate is None:
        raise MaterialError(
            path,
            "is a PKCS#12 file without the certificate of its private key",
            f"see what is in it: openssl pkcs12 -in {quoted(path)} -nokeys",
        )
    return Credential(key, certificate, _chain(certificate, found))


def _chain(
    certificate: x509.Certificate, found: list[x509.Certificate]
) -> tuple[x509.Certificate, ...]:
    """Return what follows an end-entity certificate, each issuer after what it issued."""
    chain, last = list[x509.Certificate](), certificate
    rest = [each for each in dict.fromkeys(found) if each != certificate]
    while (issuer := next((each for each in rest if is_issued_by(last, each)), None)) is not None:
        rest.remove(issuer)
        chain.append(issuer)
        last = issuer
    return (*chain, *rest)
