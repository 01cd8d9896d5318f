"""Worlds of CAs, and the odd certificates in them, made with `cryptography` alone.

What the accuracy of a diagnosis is measured on must not come from the program that is measured:
nothing here uses `mtls_echo_pki`. A world decides what stands above servers and clients, of which
kind the keys are, and whether an intermediate issues. A certificate in it is valid except in
what its `Contents` alter.
"""

from __future__ import annotations

import datetime as dt
import warnings
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

Side = Literal["client", "server"]
KeyType = Literal["P-256", "RSA"]
Key: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

BOTH: tuple[Side, ...] = ("server", "client")
OTHER: dict[Side, Side] = {"server": "client", "client": "server"}

NOW = dt.datetime.now(dt.UTC).replace(microsecond=0)
DAY = dt.timedelta(days=1)

USAGE = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}
NAMES: dict[Side, tuple[x509.GeneralName, ...]] = {
    "server": (x509.DNSName("localhost"), x509.DNSName("srv.acme.test")),
    "client": (x509.DNSName("cli.acme.test"),),
}
_UNHEARD_OF = x509.UnrecognizedExtension(ObjectIdentifier("1.2.3.4.5"), b"\x05\x00")


# --- certificates --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Contents:
    """The contents of a certificate; odd values make odd certificates."""

    subject: str
    authority: bool = False
    path_length: int | None = None
    begins: dt.timedelta = -DAY
    ends: dt.timedelta = 30 * DAY
    names: tuple[x509.GeneralName, ...] = ()
    usages: tuple[ObjectIdentifier, ...] = ()
    basic_constraints: bool = True
    signs_certificates: bool = True
    only_non_repudiation: bool = False
    authority_key_identifier: bool = True
    name_constraints: x509.NameConstraints | None = None
    unknown_critical: bool = False


@dataclass(frozen=True)
class Signed:
    """A certificate, the key that it is about, and its issuer; None: self-signed."""

    certificate: x509.Certificate
    key: Key
    issuer: Signed | None = None

    @property
    def issuers(self) -> tuple[Signed, ...]:
        """From its issuer to the root."""
        return (self.issuer, *self.issuer.issuers) if self.issuer else ()


@cache
def _key(key_type: KeyType, owner: str) -> Key:
    # One per owner and run: making RSA keys would take longer than the handshakes.
    if key_type == "RSA":
        return rsa.generate_private_key(65537, 2048)
    return ec.generate_private_key(ec.SECP256R1())


def sign(contents: Contents, key: Key, issuer: Signed | None = None) -> Signed:
    """Make a certificate, by an issuer or by its own key."""
    c, signer = contents, issuer.key if issuer else key
    builder = x509.CertificateBuilder(
        issuer_name=issuer.certificate.subject if issuer else _name(c.subject),
        subject_name=_name(c.subject),
        public_key=key.public_key(),
        serial_number=x509.random_serial_number(),
        not_valid_before=NOW + c.begins,
        not_valid_after=NOW + c.ends,
    )
    if c.basic_constraints:
        constraints = x509.BasicConstraints(c.authority, c.path_length)
        builder = builder.add_extension(constraints, critical=True)
    builder = builder.add_extension(_key_usage(c), critical=True)
    builder = builder.add_extension(
        x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
    )
    if c.authority_key_identifier:
        identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
        builder = builder.add_extension(identifier, critical=False)
    if c.usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(c.usages), critical=False)
    if c.names:
        builder = builder.add_extension(x509.SubjectAlternativeName(c.names), critical=False)
    if c.name_constraints:
        builder = builder.add_extension(c.name_constraints, critical=True)
    if c.unknown_critical:
        builder = builder.add_extension(_UNHEARD_OF, critical=True)
    return Signed(builder.sign(signer, SHA256()), key, issuer)


def _name(common_name: str) -> x509.Name:
    organisation = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Acme")
    return x509.Name([organisation, x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _key_usage(contents: Contents) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not contents.only_non_repudiation,
        content_commitment=contents.only_non_repudiation,
        key_cert_sign=contents.authority and contents.signs_certificates,
        crl_sign=contents.authority,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def altered(signed: Signed) -> Signed:
    """The same certificate, one bit of its signature flipped."""
    der = bytearray(signed.certificate.public_bytes(Encoding.DER))
    der[-5] ^= 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is meant to be odd
        certificate = x509.load_der_x509_certificate(bytes(der))
    return replace(signed, certificate=certificate)


# --- worlds --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class World:
    """An arrangement of authorities.

    Args:
        single_root: Whether one root stands above servers and clients.
        key_type: Of every key in it.
        intermediate: Whether an issuing authority stands below each root.
    """

    single_root: bool
    key_type: KeyType
    intermediate: bool

    def __str__(self) -> str:
        roots = "one root" if self.single_root else "two roots"
        return f"{roots}, {self.key_type}, {'intermediate' if self.intermediate else 'direct'}"

    def root_name(self, owner: Side) -> str:
        """What the root of this side's certificates is called."""
        return "Acme Root CA" if self.single_root else f"Acme {owner} Root CA"

    def root(self, owner: Side) -> Signed:
        """What is trusted to issue this side's certificates."""
        return self.authority(self.root_name(owner), ends=3000 * DAY)

    def issuing(self, owner: Side) -> Signed:
        """The intermediate below that root."""
        name = "Acme Issuing CA" if self.single_root else f"Acme {owner} Issuing CA"
        return self.authority(name, self.root(owner), path_length=0, ends=1000 * DAY)

    def issuers(self, owner: Side) -> tuple[Signed, ...]:
        """From the issuer of this side's certificates to its root."""
        root = self.root(owner)
        return (self.issuing(owner), root) if self.intermediate else (root,)

    @cache  # noqa: B019  worlds live as long as the program
    def authority(
        self, name: str, issuer: Signed | None = None, *, key: str = "", **changes: Any
    ) -> Signed:
        """An authority; its key goes by its name unless another is named."""
        contents = replace(Contents(name, authority=True, ends=900 * DAY), **changes)
        return sign(contents, _key(self.key_type, key or name), issuer)

    def end_entity(self, owner: Side, issuer: Signed | None, **changes: Any) -> Signed:
        """A server's or client's certificate, valid but for the changes."""
        contents = Contents(owner, names=NAMES[owner], usages=(USAGE[owner],))
        return sign(replace(contents, **changes), _key(self.key_type, owner), issuer)

    def chain(self, owner: Side, **changes: Any) -> tuple[Signed, ...]:
        """What this side presents: the end-entity certificate, then intermediates."""
        issuers = self.issuers(owner)
        return (self.end_entity(owner, issuers[0], **changes), *issuers[:-1])

    def revocation(
        self, issuer: Signed, revoked: Signed | None = None, begins: int = -1, ends: int = 7
    ) -> x509.CertificateRevocationList:
        """A list by this issuer, valid from and until so many days from now."""
        key = issuer.key.public_key()
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(issuer.certificate.subject)
            .last_update(NOW + begins * DAY)
            .next_update(NOW + ends * DAY)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key), False)
            .add_extension(x509.CRLNumber(1), False)
        )
        if revoked is not None:
            entry = x509.RevokedCertificateBuilder(
                revoked.certificate.serial_number, NOW - DAY / 2
            )
            builder = builder.add_revoked_certificate(entry.build())
        return builder.sign(issuer.key, SHA256())
