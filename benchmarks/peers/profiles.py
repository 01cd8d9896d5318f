"""What certificates look like as openssl, easy-rsa, cfssl, cert-manager and step make them.

A profile says which extensions each tool writes by default, how, and whether as critical. Where
openssl and easy-rsa are installed, `benchmarks.peers.makers` has them make the CA and the sound
certificates, and the model here makes only the faults, which such a tool cannot be asked for; a
test compares the two. What the others write is modelled from their sources and defaults:

- cfssl: `signer/local` and `csr` (``gencert -initca``, ``gencert`` with the usages signing, key
  encipherment, server or client auth);
- cert-manager: a ``Certificate`` with ``isCA``, and one with DNS names alone: no subject, so the
  names are critical; no extended key usage, unless it is asked for; crypto/x509 adds the key
  identifiers, that of the subject for CAs alone;
- step: the default X.509 templates of ``step ca``: always an intermediate, path lengths 1 and 0,
  both extended key usages, no basicConstraints in the end-entity certificate, and the extension of
  the provisioner.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field, replace
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

from benchmarks.worlds import DAY, NOW, Side

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey
KeyType = Literal["RSA", "P-256"]
Identifier = Literal["none", "key", "issuer and serial too"]

USAGE = {"server": ExtendedKeyUsageOID.SERVER_AUTH, "client": ExtendedKeyUsageOID.CLIENT_AUTH}
_PROVISIONER = x509.UnrecognizedExtension(
    ObjectIdentifier("1.3.6.1.4.1.37476.9000.64.1"),
    b"\x30\x0d\x02\x01\x01\x04\x05admin\x04\x01\x00",
)
_SIGNING = frozenset({"key_cert_sign", "crl_sign"})


@dataclass(frozen=True)
class Form:
    """The extensions of one kind of certificate; None: left out.

    Attributes:
        basic_constraints: Whether critical.
        path_length: Of a CA.
        usages: Of keyUsage.
        usages_critical: Whether that is critical.
        subject_identifier: Whether there is a subjectKeyIdentifier.
        authority_identifier: The form of authorityKeyIdentifier.
        extended: Of extKeyUsage: ``own`` for the side's, or both sides'.
        more: Extensions that only this tool writes.
    """

    basic_constraints: bool | None = True
    path_length: int | None = None
    usages: frozenset[str] | None = None
    usages_critical: bool = True
    subject_identifier: bool = True
    authority_identifier: Identifier = "key"
    extended: Literal["none", "own", "both"] = "own"
    more: tuple[x509.ExtensionType, ...] = ()


@dataclass(frozen=True)
class Profile:
    """How one tool makes certificates.

    Attributes:
        name: Of the tool.
        root, intermediate, server, client: The forms.
        key_type: Of every key.
        chained: Whether an intermediate issues unless asked otherwise.
        subject: Whether end-entity certificates have one.
        organisation: Whether subjects have one.
    """

    name: str
    root: Form
    intermediate: Form
    server: Form
    client: Form
    key_type: KeyType = "RSA"
    chained: bool = False
    subject: bool = True
    organisation: bool = True

    def end_entity(self, side: Side) -> Form:
        """The form of this side's certificates."""
        return self.server if side == "server" else self.client


def _usages(*names: str) -> frozenset[str]:
    return frozenset(names)


_BOTH = _usages("digital_signature", "key_encipherment")
_OPENSSL = Form(usages=None, extended="none")
_OPENSSL_LEAF = replace(_OPENSSL, basic_constraints=None)
_EASY_RSA = Form(
    basic_constraints=False,
    usages=_SIGNING,
    usages_critical=False,
    authority_identifier="issuer and serial too",
)
_CFSSL = Form(usages=_SIGNING)
_CERT_MANAGER = Form(usages=_BOTH | {"key_cert_sign"}, extended="none")
_CERT_MANAGER_LEAF = Form(usages=_BOTH, subject_identifier=False, extended="none")
_STEP_LEAF = Form(
    basic_constraints=None,
    usages=_usages("digital_signature"),
    extended="both",
    more=(_PROVISIONER,),
)

PROFILES = (
    Profile("openssl", _OPENSSL, _OPENSSL, _OPENSSL_LEAF, _OPENSSL_LEAF),
    Profile(
        "easy-rsa",
        _EASY_RSA,
        _EASY_RSA,
        replace(_EASY_RSA, usages=_BOTH),
        replace(_EASY_RSA, usages=_usages("digital_signature")),
        organisation=False,
    ),
    Profile(
        "cfssl",
        replace(_CFSSL, authority_identifier="none"),
        _CFSSL,
        replace(_CFSSL, usages=_BOTH),
        replace(_CFSSL, usages=_BOTH),
    ),
    Profile(
        "cert-manager",
        replace(_CERT_MANAGER, authority_identifier="none"),
        _CERT_MANAGER,
        _CERT_MANAGER_LEAF,
        _CERT_MANAGER_LEAF,
        subject=False,
    ),
    Profile(
        "step",
        Form(usages=_SIGNING, path_length=1, authority_identifier="none"),
        Form(usages=_SIGNING, path_length=0),
        _STEP_LEAF,
        _STEP_LEAF,
        key_type="P-256",
        chained=True,
    ),
)


@dataclass(frozen=True)
class Contents:
    """What a certificate says, apart from its form."""

    common_name: str
    form: Form
    authority: bool = False
    names: tuple[x509.GeneralName, ...] = ()
    usages: tuple[ObjectIdentifier, ...] = ()
    begins: dt.timedelta = -DAY
    ends: dt.timedelta = 90 * DAY
    name_constraints: x509.NameConstraints | None = None
    subject: bool = True
    organisation: bool = True


@dataclass(frozen=True)
class Issued:
    """A certificate, its key, and what issued it; None: itself."""

    certificate: x509.Certificate
    key: Key = field(repr=False)
    issuer: Issued | None = None


def issue(contents: Contents, key: Key, issuer: Issued | None = None) -> Issued:
    """Make a certificate, by an issuer or by its own key."""
    c, form, signer = contents, contents.form, issuer.key if issuer else key
    subject, serial = name(c), x509.random_serial_number()
    builder = x509.CertificateBuilder(
        issuer_name=issuer.certificate.subject if issuer else subject,
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=serial,
        not_valid_before=NOW + c.begins,
        not_valid_after=NOW + c.ends,
    )
    if form.basic_constraints is not None:
        length = form.path_length if c.authority else None
        constraints = x509.BasicConstraints(c.authority, length)
        builder = builder.add_extension(constraints, form.basic_constraints)
    if form.usages is not None:
        builder = builder.add_extension(_key_usage(form.usages), form.usages_critical)
    if form.subject_identifier:
        identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
        builder = builder.add_extension(identifier, False)
    if form.authority_identifier != "none":
        found = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
        if form.authority_identifier != "key":
            above = issuer.certificate.issuer if issuer else subject
            number = issuer.certificate.serial_number if issuer else serial
            found = x509.AuthorityKeyIdentifier(
                found.key_identifier, [x509.DirectoryName(above)], number
            )
        builder = builder.add_extension(found, False)
    if c.usages:
        builder = builder.add_extension(x509.ExtendedKeyUsage(c.usages), False)
    if c.names:
        builder = builder.add_extension(x509.SubjectAlternativeName(c.names), not c.subject)
    if c.name_constraints:
        builder = builder.add_extension(c.name_constraints, True)
    for extension in form.more:
        builder = builder.add_extension(extension, False)
    algorithm = None if isinstance(signer, ed25519.Ed25519PrivateKey) else SHA256()
    return Issued(builder.sign(signer, algorithm), key, issuer)


def name(contents: Contents) -> x509.Name:
    """The subject, which may be empty."""
    if not contents.subject:
        return x509.Name([])
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, contents.common_name)]
    if contents.organisation:
        parts.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Acme"))
    return x509.Name(parts)


def _key_usage(named: frozenset[str]) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature="digital_signature" in named,
        content_commitment=False,
        key_encipherment="key_encipherment" in named,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign="key_cert_sign" in named,
        crl_sign="crl_sign" in named,
        encipher_only=False,
        decipher_only=False,
    )
