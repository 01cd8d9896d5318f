"""An authority turns a request into a certificate, and adds nothing of its own.

One function, from request and issuer to certificate, and one table, from usage to
extensions. The profile is the intersection of what today's verifiers insist on; OpenSSL
with ``X509_V_FLAG_X509_STRICT`` (Python's default from 3.13), the WebPKI profile of
``cryptography.x509.verification``, Go and Java all accept it:

====================== ============ ============= ==========================
extension              root         intermediate  end-entity
====================== ============ ============= ==========================
basicConstraints (c)   CA           CA, pathlen 0 not a CA
keyUsage (c)           keyCertSign, keyCertSign,  digitalSignature,
                       cRLSign      cRLSign       keyEncipherment for RSA
extendedKeyUsage       no           no            serverAuth *or* clientAuth
subjectAltName         no           no            yes, (c) iff no subject
subjectKeyIdentifier   yes          yes           yes
authorityKeyIdentifier no           yes           yes
====================== ============ ============= ==========================

(c) is critical. Each entry has a reason: a critical extendedKeyUsage is refused by
``cryptography``; so is a critical subjectAltName beside a subject, while RFC 5280
§4.2.1.6 demands it critical when there is none; STRICT refuses an end-entity without
authorityKeyIdentifier (verify code 85); keyEncipherment is for RSA key transport in
TLS 1.2 and means nothing on a key that can only sign.

Time is injected, never read: an authority with a clock of yesterday is all it takes
to make an expired certificate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mtls_echo_pki.credential import Credential, PrivateKey, private_key_pem
from mtls_echo_pki.request import KeyType, Request, Usage, describe_lifetime, server
from mtls_echo_pki.revocation import DEFAULT_CRL_LIFETIME, Register
from mtls_echo_pki.signing import PublicKey, Revocation, TBSCertificate
from mtls_echo_pki.trust import Trust

Clock: TypeAlias = Callable[[], datetime]

ROOT_LIFETIME = timedelta(days=3650)
INTERMEDIATE_LIFETIME = timedelta(days=365)

_EXTENDED_KEY_USAGE = {
    Usage.SERVER: ExtendedKeyUsageOID.SERVER_AUTH,
    Usage.CLIENT: ExtendedKeyUsageOID.CLIENT_AUTH,
}


def utcnow() -> datetime:
    """Return the present time, with its zone."""
    return datetime.now(UTC)


Alteration: TypeAlias = Callable[[TBSCertificate], TBSCertificate]


@dataclass(frozen=True)
class Authority:
    """A certification authority: a key, its certificate, and how to reach its root.

    Make one with :meth:`root`, :meth:`intermediate` or :meth:`from_pem`.

    Args:
        certificate: The authority's own.
        key: Signs what it issues; never shown by ``repr``.
        issuers: The certificates above this one, the root last; empty for a root.
        clock: Where "now" comes from, an aware datetime.
        register: What it has revoked; the one thing about an authority that changes.
    """

    certificate: x509.Certificate
    key: PrivateKey = field(repr=False, compare=False)
    issuers: tuple[x509.Certificate, ...] = ()
    clock: Clock = field(default=utcnow, repr=False, compare=False)
    register: Register = field(default_factory=Register, repr=False, compare=False)

    @classmethod
    def root(
        cls,
        name: str = "mtls-echo test authority",
        *,
        key_type: KeyType = KeyType.P256,
        lifetime: timedelta = ROOT_LIFETIME,
        clock: Clock = utcnow,
    ) -> Authority:
        """Make a self-signed authority.

        Args:
            name: Its subject's common name; an authority must have a subject
                (RFC 5280 §4.1.2.6).
            key_type: The type of its own key; what it issues has the request's.
            lifetime: From now to notAfter.
            clock: Where "now" comes from.
        """
        request = Request(
            subject=name, usage=Usage.AUTHORITY, lifetime=lifetime, key_type=key_type
        )
        key = key_type.generate()
        tbs = _tbs_certificate(request, key.public_key(), clock(), issuer=None)
        return cls(tbs.sign(key), key, (), clock)

    def intermediate(
        self,
        name: str = "mtls-echo test intermediate authority",
        *,
        key_type: KeyType = KeyType.P256,
        lifetime: timedelta = INTERMEDIATE_LIFETIME,
    ) -> Authority:
        """Make an authority below this one, which may certify end-entities only.

        Raises:
            ValueError: If this authority is itself an intermediate (its pathlen is
                0), or would not outlive the new one.
        """
        if self.issuers:
            raise ValueError("an intermediate authority cannot certify another one (pathlen 0)")
        issued = self.issue(
            Request(subject=name, usage=Usage.AUTHORITY, lifetime=lifetime, key_type=key_type)
        )
        return Authority(
            issued.certificate, issued.key, (self.certificate, *self.issuers), self.clock
        )

    @classmethod
    def from_pem(
        cls, certificate_pem: bytes, key_pem: bytes, *, clock: Clock = utcnow
    ) -> Authority:
        """Restore an authority from :attr:`certificate_pem` and :attr:`key_pem`.

        Raises:
            ValueError: If they cannot be parsed, do not match, or the last
                certificate is not a root.
        """
        parsed = Credential.from_pem(certificate_pem, key_pem)
        root = (parsed.certificate, *parsed.chain)[-1]
        if root.subject != root.issuer:
            raise ValueError("an authority's certificates must end with its root")
        return cls(parsed.certificate, parsed.key, parsed.chain, clock)

    @property
    def certificate_pem(self) -> bytes:
        """This authority's certificate and those above it, the root last."""
        return b"".join(c.public_bytes(Encoding.PEM) for c in (self.certificate, *self.issuers))

    @property
    def key_pem(self) -> bytes:
        """The signing key: PKCS#8, not encrypted."""
        return private_key_pem(self.key)

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """What follows an end-entity certificate on the wire: all issuers but the root."""
        return (self.certificate, *self.issuers)[:-1]

    @property
    def trust(self) -> Trust:
        """The root of this authority, for those who shall believe it."""
        return Trust((self.certificate, *self.issuers)[-1:])

    def issue(
        self, request: Request | str, *more: str, alter: Alteration | None = None
    ) -> Credential:
        """Issue a certificate, and the key that goes with it.

        Args:
            request: What the certificate shall say; or the first identity of a
                server, for ``issue("localhost", "::1")``.
            more: Further identities, when the first is a string.
            alter: Called with what is about to be signed, to make a certificate that
                differs from the profile on purpose.

        Returns:
            The new credential, with the intermediates that lead to the root.

        Raises:
            ValueError: If the certificate would outlive this authority. It is not
                quietly shortened: who asks for a year and gets a week finds out when
                the service stops.
        """
        if isinstance(request, str):
            request = server(request, *more)
        elif more:
            raise ValueError("identities belong into the request")
        now = self.clock()
        if now + request.lifetime > self.certificate.not_valid_after_utc:
            raise ValueError(
                f"the certificate would outlive its authority, which expires in "
                f"{describe_lifetime(self.certificate.not_valid_after_utc - now)}; "
                "ask for a shorter lifetime"
            )
        key = request.key_type.generate()
        tbs = _tbs_certificate(request, key.public_key(), now, issuer=self.certificate)
        if alter is not None:
            tbs = alter(tbs)
        return Credential(key, tbs.sign(self.key), self.chain)

    def certify(self, tbs: TBSCertificate) -> x509.Certificate:
        """Sign what is given, whatever it says.

        For certificates that depart from the profile on purpose; :meth:`issue` makes those that
        follow it.
        """
        return tbs.sign(self.key)

    def revoke(
        self,
        revoked: Credential | x509.Certificate,
        reason: x509.ReasonFlags = x509.ReasonFlags.unspecified,
    ) -> Revocation:
        """Stand no longer by a certificate; every :meth:`crl` from now on says so.

        Args:
            revoked: Issued by this authority: an end-entity's or an intermediate's.
            reason: Why. ``key_compromise`` when the key may be in other hands.

        Returns:
            The entry; the first one, if it was revoked before.

        Raises:
            ValueError: If another authority issued it: to revoke it here would revoke nothing.
        """
        certificate = revoked.certificate if isinstance(revoked, Credential) else revoked
        try:
            certificate.verify_directly_issued_by(self.certificate)
        except (ValueError, TypeError, InvalidSignature) as error:
            raise ValueError(
                "the certificate was not issued by this authority; revoke it with the one "
                f"called {certificate.issuer.rfc4514_string() or '(empty)'}"
            ) from error
        return self.register.revoke(certificate.serial_number, self.clock(), reason)

    def crl(self, lifetime: timedelta = DEFAULT_CRL_LIFETIME) -> x509.CertificateRevocationList:
        """Sign a list of what was revoked; it supersedes every list before it.

        Args:
            lifetime: From now to nextUpdate, when verifiers stop believing it, and with it every
                certificate of this authority.

        Raises:
            ValueError: See :meth:`Register.next_list`.
        """
        return self.register.next_list(self.certificate, self.key, self.clock(), lifetime)


def _tbs_certificate(
    request: Request, public_key: PublicKey, now: datetime, *, issuer: x509.Certificate | None
) -> TBSCertificate:
    """Return everything a certificate says; ``issuer`` is None for a root."""
    subject = _name(request.subject)
    return TBSCertificate(
        # 159 random bits: positive and at most 20 octets (RFC 5280 §4.1.2.2).
        serial_number=x509.random_serial_number(),
        issuer=subject if issuer is None else issuer.subject,
        not_before=now - request.backdate,
        not_after=now + request.lifetime,
        subject=subject,
        public_key=public_key,
        extensions=tuple(
            x509.Extension(value.oid, critical, value)
            for value, critical in _extensions(request, public_key, issuer)
        ),
    )


def _extensions(
    request: Request, public_key: PublicKey, issuer: x509.Certificate | None
) -> list[tuple[x509.ExtensionType, bool]]:
    """The profile: each extension and whether it is critical."""
    is_authority = request.usage is Usage.AUTHORITY
    path_length = 0 if is_authority and issuer is not None else None
    extensions: list[tuple[x509.ExtensionType, bool]] = [
        (x509.BasicConstraints(ca=is_authority, path_length=path_length), True),
        (_key_usage(is_authority, public_key), True),
        (x509.SubjectKeyIdentifier.from_public_key(public_key), False),
    ]
    if issuer is not None:
        identifier = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        extensions.append(
            (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), False)
        )
    if not is_authority:
        extensions += [
            (x509.ExtendedKeyUsage([_EXTENDED_KEY_USAGE[request.usage]]), False),
            (request.subject_alternative_names(), not request.subject),
        ]
    return extensions


def _key_usage(is_authority: bool, public_key: PublicKey) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        content_commitment=False,
        key_encipherment=not is_authority and isinstance(public_key, rsa.RSAPublicKey),
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        encipher_only=False,
        decipher_only=False,
    )


def _name(common_name: str) -> x509.Name:
    if not common_name:
        return x509.Name([])
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
