"""A certification authority (CA) in memory: it issues, renews, revokes and cross-signs.

What a certificate looks like is the profile's affair (:mod:`mtls_echo_pki.certificates.profile`);
a CA signs it and can revoke it. *Renewing* issues the same names again. *Cross-signing* certifies
another root, so that a peer that trusts only this one accepts what the other issues (RFC 5280
§3.2).

Time is injected, never read: a CA with yesterday's clock is all it takes to make an expired
certificate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from cryptography import x509

from mtls_echo_pki.certificates.credential import Credential, pem_of, private_key_pem
from mtls_echo_pki.certificates.crl import DEFAULT_CRL_LIFETIME, CRLState
from mtls_echo_pki.certificates.profile import certificate_for
from mtls_echo_pki.certificates.reading import (
    expiry,
    is_self_issued,
    issuer_name,
    serial_number,
    subject_name,
)
from mtls_echo_pki.certificates.request import (
    DEFAULT_BACKDATE,
    KeyType,
    PrivateKey,
    Request,
    Usage,
)
from mtls_echo_pki.certificates.tbs import (
    Revocation,
    TBSCertificate,
    authority_key_identifier,
    is_issued_by,
)
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_pki.lifetimes import timestamp

Clock: TypeAlias = Callable[[], datetime]

ROOT_LIFETIME = timedelta(days=3650)
INTERMEDIATE_LIFETIME = timedelta(days=365)


def utcnow() -> datetime:
    """Return the present time, with its zone."""
    return datetime.now(UTC)


Alteration: TypeAlias = Callable[[TBSCertificate], TBSCertificate]


@dataclass(frozen=True)
class Authority:
    """A CA: a key, its certificate, and how to reach its root.

    Make one with :meth:`root`, :meth:`intermediate` or :meth:`from_pem`.

    Args:
        certificate: The CA's own.
        key: Signs what it issues; never shown by ``repr``.
        issuers: The certificates above this one, the root last; empty for a root.
        clock: Where "now" comes from, an aware datetime.
        crl_state: What it has revoked; the one thing about a CA that changes.
        cross: This root's key, certified by another CA (:meth:`cross_sign`); sent along,
            so that peers that know only the other one find a path.
    """

    certificate: x509.Certificate
    key: PrivateKey = field(repr=False, compare=False)
    issuers: tuple[x509.Certificate, ...] = ()
    clock: Clock = field(default=utcnow, repr=False, compare=False)
    crl_state: CRLState = field(default_factory=CRLState, repr=False, compare=False)
    cross: tuple[x509.Certificate, ...] = ()

    @classmethod
    def root(
        cls,
        name: str = "mtls-echo test CA",
        *,
        key_type: KeyType = KeyType.P256,
        lifetime: timedelta = ROOT_LIFETIME,
        clock: Clock = utcnow,
    ) -> Authority:
        """Make a self-signed CA.

        Args:
            name: Its subject's common name; a CA must have a subject
                (RFC 5280 §4.1.2.6).
            key_type: The type of its own key; what it issues has the request's.
            lifetime: From now to notAfter.
            clock: Where "now" comes from.
        """
        request = Request(
            subject=name, usage=Usage.AUTHORITY, lifetime=lifetime, key_type=key_type
        )
        key = key_type.generate()
        tbs = certificate_for(request, key.public_key(), clock(), issuer=None)
        return cls(tbs.sign(key), key, (), clock)

    def intermediate(
        self,
        name: str = "mtls-echo test intermediate CA",
        *,
        key_type: KeyType = KeyType.P256,
        lifetime: timedelta = INTERMEDIATE_LIFETIME,
    ) -> Authority:
        """Make a CA below this one, which may certify end-entities only.

        Raises:
            ValueError: If this CA is itself an intermediate (its pathlen is
                0), or would not outlive the new one.
        """
        if self.issuers:
            raise ValueError("an intermediate CA cannot certify another one (pathlen 0)")
        issued = self.issue(
            Request(subject=name, usage=Usage.AUTHORITY, lifetime=lifetime, key_type=key_type)
        )
        return Authority(issued.certificate, issued.key, self.path, self.clock)

    @classmethod
    def from_pem(
        cls, certificate_pem: bytes, key_pem: bytes, *, clock: Clock = utcnow
    ) -> Authority:
        """Restore a CA from :attr:`certificate_pem` and :attr:`key_pem`.

        Raises:
            ValueError: If they cannot be parsed, do not match, or the last
                certificate is not a root.
        """
        parsed = Credential.from_pem(certificate_pem, key_pem)
        root = parsed.path[-1]
        if not is_self_issued(root):
            raise ValueError("a CA's certificates must end with its root")
        return cls(parsed.certificate, parsed.key, parsed.chain, clock)

    @property
    def path(self) -> tuple[x509.Certificate, ...]:
        """This CA's certificate and those above it, the root last."""
        return (self.certificate, *self.issuers)

    @property
    def certificate_pem(self) -> bytes:
        """:attr:`path` as PEM."""
        return pem_of(self.path)

    @property
    def key_pem(self) -> bytes:
        """The signing key: PKCS#8, not encrypted."""
        return private_key_pem(self.key)

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """What follows an end-entity certificate on the wire: all issuers but the root.

        In the root's place goes its key as another CA certified it, if one did. A peer
        that trusts the root itself never looks at it.
        """
        return self.path[:-1] + self.cross

    @property
    def trust(self) -> Trust:
        """The root of this CA, for peers that are to trust it."""
        return Trust(self.path[-1:])

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
            ValueError: If the certificate would outlive this CA. It is not
                quietly shortened: that would come to light when the service stops.
        """
        if isinstance(request, str):
            request = Request.server(request, *more)
        elif more:
            raise ValueError("put all identities into the request")
        return self._issue(request, request.key_type.generate(), alter)

    def renew(
        self, credential: Credential, *, rekey: bool, lifetime: timedelta | None = None
    ) -> Credential:
        """Issue a certificate that takes the place of another: the same names, a new validity.

        It is made anew, by the profile, whichever CA issued the other and whatever was wrong
        with it. The names, the subject, the usage and the type of the key stay as they are.

        Args:
            credential: The one to replace; it may have expired.
            rekey: Whether to make a new key. There is no default, because each choice is wrong
                at times. A key that may be in other hands must be replaced, *and* the old
                certificate revoked; a key that a peer has pinned must be kept. With the same
                key, revoking the old certificate locks no thief out: a copy of the key works as
                well with the new certificate, which every handshake shows to an on-path attacker
                (TLS 1.2) or to any peer.
            lifetime: From now to notAfter; as long as the other one's unless given.

        Raises:
            ValueError: If the certificate cannot be asked for again (no names, a foreign usage,
                a type of key that is not made here), or would outlive this CA.
        """
        request = Request.of(credential.certificate)
        if lifetime is not None:
            request = replace(request, lifetime=lifetime)
        return self._issue(request, request.key_type.generate() if rekey else credential.key)

    def cross_sign(self, other: Authority) -> x509.Certificate:
        """Certify the key of another root, for peers that trust this CA only.

        A certificate of the same subject and key as the other root's, signed by this one, is an
        intermediate like any other: what the other root issues leads through it to this one.

        Returns:
            The certificate. It lasts as long as the other's own, but not longer than this
            CA.

        Raises:
            ValueError: If either is not a root (an intermediate's pathlen is 0), both are the
                same, or this one has expired.
        """
        if self.issuers or other.issuers:
            raise ValueError("a root certifies a root: an intermediate cannot certify another CA")
        if subject_name(self.certificate) == subject_name(other.certificate):
            raise ValueError("a root needs no certificate from one of its own name")
        now = self.clock()
        not_after = min(expiry(self.certificate), expiry(other.certificate))
        if not_after <= now:
            raise ValueError("a CA that has expired cannot certify another")
        tbs = TBSCertificate.of(other.certificate)
        pointer = authority_key_identifier(self.certificate)
        return replace(
            tbs,
            serial_number=x509.random_serial_number(),
            issuer=self.certificate.subject,
            not_before=now - DEFAULT_BACKDATE,
            not_after=not_after,
            # A root has no authorityKeyIdentifier of its own; everything else is kept.
            extensions=(*tbs.extensions, x509.Extension(pointer.oid, False, pointer)),
        ).sign(self.key)

    def _issue(
        self, request: Request, key: PrivateKey, alter: Alteration | None = None
    ) -> Credential:
        now = self.clock()
        end = expiry(self.certificate)
        if now + request.lifetime > end:
            when = f"expires on {timestamp(end)} UTC" if now < end else "has expired"
            raise ValueError(
                f"the certificate would outlive its CA, which {when}; "
                "ask for a shorter lifetime, or replace the CA: "
                "mtls-echo pki rollover --help"
            )
        tbs = certificate_for(request, key.public_key(), now, issuer=self.certificate)
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
        """Revoke a certificate; every :meth:`crl` from now on lists it.

        Args:
            revoked: Issued by this CA: an end-entity's or an intermediate's.
            reason: Why. ``key_compromise`` when the key may be in other hands.

        Returns:
            The entry; the first one, if it was revoked before.

        Raises:
            ValueError: If another CA issued it: to revoke it here would revoke nothing.
        """
        certificate = revoked.certificate if isinstance(revoked, Credential) else revoked
        if not is_issued_by(certificate, self.certificate):
            raise ValueError(
                "the certificate was not issued by this CA; revoke it with the one "
                f"called {issuer_name(certificate) or '(empty)'}"
            )
        return self.crl_state.revoke(serial_number(certificate), self.clock(), reason)

    def crl(self, lifetime: timedelta = DEFAULT_CRL_LIFETIME) -> x509.CertificateRevocationList:
        """Sign a CRL of what was revoked; it supersedes every CRL before it.

        Args:
            lifetime: From now to nextUpdate, when verifiers stop trusting it, and with it every
                certificate of this CA.

        Raises:
            ValueError: See :meth:`CRLState.next_crl`.
        """
        return self.crl_state.next_crl(self.certificate, self.key, self.clock(), lifetime)
