"""A private key with the certificates that bind names to it.

TLS authenticates a peer in two steps, and both must hold: the *Certificate* message
binds names to a public key, and *CertificateVerify* proves possession of the private
one (RFC 8446 §4.4.2, §4.4.3). This value keeps the two together, as parsed objects:
they are serialised at the edge only, and a key that does not match its certificate
cannot be put together in the first place.

The order of certificates is the order on the wire: the end-entity certificate first,
each following one certifying the one before. The root is left out. A peer that has
it as a trust anchor needs no copy, and one that has not must not take it from us
(RFC 8446 §4.4.2: "a certificate that specifies a trust anchor MAY be omitted").

Python's ``SSLContext.load_cert_chain`` reads files only, and opens the same path
twice. A memory file (``memfd_create``) satisfies it without the key ever having a
name in the file system: nothing to clean up, nothing left after a crash.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    pkcs12,
)

from mtls_echo_pki.certificates.loading import is_odd, parsing
from mtls_echo_pki.certificates.reading import fingerprint
from mtls_echo_pki.certificates.request import PrivateKey

if TYPE_CHECKING:
    import ssl

    from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes


@dataclass(frozen=True)
class Credential:
    """A private key with its certification path, trust anchor excluded.

    Args:
        key: Never shown by ``repr``; two credentials are equal when their
            certificates are.
        certificate: The end-entity certificate.
        chain: Intermediates, each certifying the one before it.

    Raises:
        ValueError: If the key is not the certificate's.
    """

    key: PrivateKey = field(repr=False, compare=False)
    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...] = ()

    def __post_init__(self) -> None:
        if not is_key_of(self.key, self.certificate):
            raise ValueError("the private key does not match the certificate")

    @classmethod
    def from_pem(
        cls, certificate_pem: bytes, key_pem: bytes, *, password: bytes | None = None
    ) -> Credential:
        """Parse a credential; :mod:`mtls_echo_pki.files.pem` explains failures better.

        Args:
            certificate_pem: The end-entity certificate, then intermediates.
            key_pem: PKCS#8, or the traditional form of RSA and EC keys.
            password: Of an encrypted key.

        Raises:
            ValueError: If either cannot be parsed, the key is of an unsupported type
                or does not match the certificate.
            TypeError: If a password is given for a plain key or missing for an
                encrypted one.
        """
        with parsing():
            certificate, *chain = x509.load_pem_x509_certificates(certificate_pem)
        key = load_pem_private_key(key_pem, password)
        if not isinstance(key, PrivateKey):
            raise ValueError("the private key is neither EC, Ed25519 nor RSA")
        return cls(key, certificate, tuple(chain))

    @property
    def path(self) -> tuple[x509.Certificate, ...]:
        """The certificates in the order of the wire, end-entity first."""
        return (self.certificate, *self.chain)

    @property
    def certificate_pem(self) -> bytes:
        """The contents of ``tls.crt``: end-entity certificate, then intermediates."""
        return pem_of(self.path)

    @property
    def key_pem(self) -> bytes:
        """The contents of ``tls.key``: PKCS#8, not encrypted."""
        return private_key_pem(self.key)

    @property
    def chain_der(self) -> tuple[bytes, ...]:
        """The certificates as a Certificate message carries them, end-entity first."""
        return tuple(c.public_bytes(Encoding.DER) for c in self.path)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the end-entity certificate's DER, in lower-case hex."""
        return fingerprint(self.certificate)

    def load_into(self, context: ssl.SSLContext) -> None:
        """Make ``context`` authenticate with this credential.

        No key file is left behind, nor an open descriptor.

        Raises:
            ssl.SSLError: If OpenSSL's security level refuses it, such as a
                1024-bit RSA key.
            OSError: If neither memory nor the temporary folder has room for it.
        """
        with nameless_file(self.key_pem + self.certificate_pem) as path:
            context.load_cert_chain(path)

    def pkcs12(self, password: bytes, *, name: str = "") -> bytes:
        """Pack key and certificates for a browser or a Java key store (RFC 7292).

        Args:
            password: Encrypts the key (PBES2, AES-256-CBC).
            name: The friendly name (alias) that importers show.

        Raises:
            ValueError: If the password is empty, or a certificate is one that only OpenSSL reads.
        """
        if any(map(is_odd, self.path)):
            raise ValueError("a certificate that is not quite DER cannot be packed")
        return pkcs12.serialize_key_and_certificates(
            name.encode() or None,
            self.key,
            self.certificate,
            self.chain or None,
            BestAvailableEncryption(password),
        )


def key_id(certificate: x509.Certificate) -> str:
    """Return the SHA-256 of a certificate's SubjectPublicKeyInfo, in lower-case hex.

    Two certificates with the same one are good with the same private key.

    Raises:
        ValueError: If the public key cannot be read.
    """
    with parsing():
        return public_key_id(certificate.public_key())


def public_key_id(key: CertificatePublicKeyTypes) -> str:
    """Return the SHA-256 of a public key's SubjectPublicKeyInfo, in lower-case hex."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(_spki(key))
    return digest.finalize().hex()


def pem_of(objects: Iterable[x509.Certificate | x509.CertificateRevocationList]) -> bytes:
    """Serialise certificates or CRLs, one after the other (RFC 7468)."""
    return b"".join(each.public_bytes(Encoding.PEM) for each in objects)


def private_key_pem(key: PrivateKey) -> bytes:
    """Serialise a private key as PKCS#8 (RFC 5958), not encrypted."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def is_key_of(key: PrivateKey, certificate: x509.Certificate) -> bool:
    """Return whether a private key belongs to a certificate's public one.

    A public key that cannot be read, or is of a kind unknown here, has no private key of ours.
    """
    try:
        with parsing():
            public_key = certificate.public_key()
    except ValueError:
        return False
    return _spki(key.public_key()) == _spki(public_key)


def _spki(key: CertificatePublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


@contextmanager
def nameless_file(contents: bytes) -> Generator[str]:
    """Yield a path to ``contents`` that only this process can open."""
    if hasattr(os, "memfd_create"):
        with open(os.memfd_create("mtls-echo"), "wb") as file:
            file.write(contents)
            file.flush()
            # Opening this link makes a new description that starts at offset 0, so
            # it survives being opened twice. Missing where /proc is not mounted.
            path = f"/proc/self/fd/{file.fileno()}"
            if os.path.exists(path):
                yield path
                return
    with tempfile.NamedTemporaryFile(prefix="mtls-echo-") as file:  # created 0600
        file.write(contents)
        file.flush()
        yield file.name
