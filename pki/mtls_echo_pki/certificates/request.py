"""Requests: what a certificate shall say, everything that gets signed except the key.

A request is pure data. Making one costs nothing and touches no key, so it can be compared, altered
with :func:`dataclasses.replace` and handed to several CAs.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias, TypedDict, Unpack

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

from mtls_echo_pki.certificates.identifiers import (
    ACCEPTED_IDENTITIES,
    general_name,
    is_spiffe,
    presented_identifiers,
)
from mtls_echo_pki.certificates.loading import parsing
from mtls_echo_pki.certificates.reading import usage

PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey

# Long enough for a week of holidays, short enough that renewal is practised.
DEFAULT_LIFETIME = timedelta(days=30)

# Clocks of two machines differ: a certificate that starts "now" is not yet valid
# for a peer whose clock is a little behind.
DEFAULT_BACKDATE = timedelta(minutes=5)


class Usage(enum.Enum):
    """What a certificate may be used for, exactly one thing.

    A certificate good for both ends would let the key of any server log in as a
    client: each end-entity certificate carries one extendedKeyUsage only.
    """

    SERVER = "server"
    CLIENT = "client"
    AUTHORITY = "authority"


class KeyType(enum.Enum):
    """The kinds of key the package makes.

    P-256 is the default: every TLS stack has it, and generating an RSA-2048 key
    takes some hundred times longer. Browsers do not take Ed25519.
    """

    P256 = "p256"
    P384 = "p384"
    ED25519 = "ed25519"
    RSA2048 = "rsa2048"

    def generate(self) -> PrivateKey:
        """Make a new private key of this type."""
        match self:
            case KeyType.P256:
                return ec.generate_private_key(ec.SECP256R1())
            case KeyType.P384:
                return ec.generate_private_key(ec.SECP384R1())
            case KeyType.ED25519:
                return ed25519.Ed25519PrivateKey.generate()
            case KeyType.RSA2048:
                return rsa.generate_private_key(public_exponent=65537, key_size=2048)

    @classmethod
    def of(cls, key: object) -> KeyType:
        """Return the type of a public or private key.

        Raises:
            ValueError: If it is of a type that is not made here.
        """
        match key:
            case ec.EllipticCurvePublicKey() | ec.EllipticCurvePrivateKey():
                found = {"secp256r1": cls.P256, "secp384r1": cls.P384}.get(key.curve.name)
            case ed25519.Ed25519PublicKey() | ed25519.Ed25519PrivateKey():
                found = cls.ED25519
            case rsa.RSAPublicKey() | rsa.RSAPrivateKey() if key.key_size == 2048:
                found = cls.RSA2048
            case _:
                found = None
        if found is None:
            raise ValueError("its key is of a type that is not made here")
        return found


class _Options(TypedDict, total=False):
    subject: str
    lifetime: timedelta
    backdate: timedelta
    key_type: KeyType


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a certificate shall say.

    Args:
        names: Identities, typed by their form (see :mod:`mtls_echo_pki.certificates.identifiers`);
            they become the subjectAltName. A CA has none.
        subject: Common name, for people to read; no peer compares it. When empty,
            subjectAltName is the only name and therefore critical (RFC 5280
            §4.2.1.6).
        usage: The certificate's one purpose.
        lifetime: From now to notAfter. Negative for a certificate that has already
            expired, when ``backdate`` reaches further back still.
        backdate: From notBefore to now. Negative for a certificate that is not yet
            valid.
        key_type: The key to make for it.

    Raises:
        ValueError: If an identity has none of the accepted forms, an end-entity has
            no name (it could not authenticate its holder), a CA has no
            subject, or the certificate would end before it begins.
    """

    names: tuple[str, ...] = ()
    subject: str = ""
    usage: Usage = Usage.SERVER
    lifetime: timedelta = DEFAULT_LIFETIME
    backdate: timedelta = DEFAULT_BACKDATE
    key_type: KeyType = KeyType.P256

    def __post_init__(self) -> None:
        if self.lifetime + self.backdate <= timedelta(0):
            raise ValueError(
                f"a lifetime of {self.lifetime} with a backdate of {self.backdate} "
                "ends before it begins"
            )
        if self.usage is Usage.AUTHORITY:
            if not self.subject or self.names:
                raise ValueError("a CA has a subject and no other names")
            return
        if not self.names:
            raise ValueError(
                f"a {self.usage.value} certificate without a name cannot authenticate a peer; "
                f"give {ACCEPTED_IDENTITIES}"
            )
        uris = [name for name in self.names if "://" in name]
        if len(uris) > 1 and any(is_spiffe(uri) for uri in uris):
            raise ValueError("a SPIFFE identity must be the certificate's only URI (X509-SVID §2)")
        self.subject_alternative_names()

    def subject_alternative_names(self) -> x509.SubjectAlternativeName:
        """Return the presented identifiers, each as the type of name its form shows."""
        return x509.SubjectAlternativeName([general_name(name) for name in self.names])

    @classmethod
    def server(cls, *names: str, **options: Unpack[_Options]) -> Request:
        """Ask for a server certificate for ``names``; the options are :class:`Request`'s."""
        return cls(names=names, usage=Usage.SERVER, **options)

    @classmethod
    def client(cls, *names: str, **options: Unpack[_Options]) -> Request:
        """Ask for a client certificate for ``names``; the options are :class:`Request`'s."""
        return cls(names=names, usage=Usage.CLIENT, **options)

    @classmethod
    def of(cls, certificate: x509.Certificate) -> Request:
        """Return the request that an end-entity certificate could have come from.

        The names, the subject and the usage are the certificate's, and so is the type of the key;
        the lifetime is as long as its own was.

        Raises:
            ValueError: If no request says what it says: it has no names, or more than one usage,
                or a key or a subject of a kind that is not made here.
        """
        with parsing():
            usages = usage(certificate)
            if usages not in (["server"], ["client"]):
                raise ValueError("it is for neither a server nor a client alone")
            lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
            if lifetime > DEFAULT_BACKDATE:
                lifetime -= DEFAULT_BACKDATE
            return cls(
                names=tuple(presented_identifiers(certificate)),
                subject=_common_name(certificate.subject),
                usage=Usage(usages[0]),
                lifetime=lifetime,
                key_type=KeyType.of(certificate.public_key()),
            )


def _common_name(subject: x509.Name) -> str:
    attributes = [*subject]
    if not attributes:
        return ""
    if [attribute.oid for attribute in attributes] != [NameOID.COMMON_NAME]:
        raise ValueError("its subject is more than a common name")
    return str(attributes[0].value)
