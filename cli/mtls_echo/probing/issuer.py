"""What a probe presents: the good identity, and others that differ from it in one thing.

They are issued by the CA that the server trusts, which takes its key: without it a probe of other
people's servers shows little. Each is the good certificate with a key of
its own and one change (`mtls_echo_pki.flaws`): names, usage, extensions and dates are copied, so
that it is not refused for something else. Its subject says ``mtls-echo probe``, where the server
lets that pass, so that its owner finds it in the log.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.x509.oid import ExtensionOID, NameOID

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.tbs import TBSCertificate
from mtls_echo_pki.flaws.baseline import Baseline, issued_by, issued_directly, with_extension

if TYPE_CHECKING:
    from mtls_echo_pki.certificates.credential import Credential
    from mtls_echo_pki.flaws.flaw import Flaw

MARK = "mtls-echo probe"

# Of what is not copied from the good identity: its CA may be about to expire.
_LIFETIME = timedelta(hours=1)

# Said by the certificate that is issued anew, not copied from the good one.
_OWN = frozenset({ExtensionOID.AUTHORITY_KEY_IDENTIFIER, ExtensionOID.SUBJECT_KEY_IDENTIFIER})


class NotMadeError(Exception):
    """An identity that cannot be made, and why."""


@dataclass(frozen=True, kw_only=True)
class IdentityFactory:
    """The good identity, and the CAs that others can be issued by.

    Attributes:
        good: What is presented first; None: one is issued.
        clients: The CA whose clients the server admits; None: its key is not given.
        servers: The CA of the server's own certificate, if its key is there.
        other: A client that is valid, and not authorised.
        crl: The CRLs that the server reads.
        trusted: The CAs of clients, as far as they are known.
        marked: Whether subjects say that this is a probe.
    """

    good: Credential | None
    clients: Authority | None = None
    servers: Authority | None = None
    other: Credential | None = None
    crl: tuple[x509.CertificateRevocationList, ...] = ()
    trusted: tuple[x509.Certificate, ...] = ()
    marked: bool = True

    def unmarked(self) -> IdentityFactory:
        """The same, whose subjects are the good one's."""
        return replace(self, marked=False)

    @property
    def ca_names(self) -> set[str]:
        """The names that a server may have for the CAs of its clients."""
        good = (self.good.certificate, *self.good.chain) if self.good is not None else ()
        own = (self.clients.certificate, *self.clients.issuers) if self.clients is not None else ()
        names = (
            *(each.issuer for each in good),
            *(each.subject for each in (*own, *self.trusted)),
        )
        return {name.rfc4514_string() for name in names}

    @property
    def can_issue(self) -> bool:
        """Whether the server's CA can sign for us."""
        return self.clients is not None

    def again(self) -> Credential:
        """The good identity once more, issued anew."""
        return self.flawless(lambda tbs: tbs)

    def flawless(self, change: Callable[[TBSCertificate], TBSCertificate]) -> Credential:
        """The good identity, issued anew with a change.

        Raises:
            NotMadeError: The CA's key is not there.
        """
        baseline = self._baseline(None)
        return baseline.with_certificate(change).credential

    def flawed(self, flaw: Flaw) -> Credential:
        """The good identity with a flaw.

        Raises:
            NotMadeError: Without the CA's key it cannot be made, or by this CA.
        """
        try:
            return flaw.apply(self._baseline(flaw)).credential
        except ValueError as error:
            raise NotMadeError(str(error).partition(";")[0]) from error

    def by(self, authority: Authority) -> Credential:
        """The good identity as another CA would issue it."""
        return replace(self, clients=authority).again()

    @property
    def root(self) -> Authority:
        """The CA, if it is a root.

        Raises:
            NotMadeError: It is not, or its key is not given.
        """
        authority = self.clients
        if authority is None:
            raise NotMadeError("the key of the CA that the server trusts is not given")
        if authority.issuers or authority.certificate.issuer != authority.certificate.subject:
            raise NotMadeError("it takes the key of a root, and the CA is an intermediate")
        return authority

    def _baseline(self, flaw: Flaw | None) -> Baseline:
        authority = self.clients
        if authority is None or (flaw is not None and flaw.needs_root):
            authority = self.root
        request = Request.client("probe.invalid", subject=MARK, lifetime=_LIFETIME)
        prepare = issued_directly if flaw is None else flaw.prepare
        try:
            baseline = prepare(authority, request)
        except ValueError as error:
            raise NotMadeError(str(error).partition(";")[0]) from error
        if self.good is None:
            return baseline
        copied = self._copied(baseline)
        return replace(baseline, inputs=baseline.inputs.but(certificate=copied))

    def _copied(self, baseline: Baseline) -> x509.Certificate:
        """The certificate of a baseline, which says what the good identity's says."""
        assert self.good is not None  # noqa: S101  narrows the type
        own = TBSCertificate.of(baseline.inputs.credential.certificate)
        good = TBSCertificate.of(self.good.certificate)
        tbs = replace(
            good,
            serial_number=own.serial_number,
            public_key=own.public_key,
            subject=_marked(good.subject) if self.marked else good.subject,
            extensions=tuple(each for each in good.extensions if each.oid not in _OWN),
        )
        for each in own.extensions:
            if each.oid == ExtensionOID.SUBJECT_KEY_IDENTIFIER:
                tbs = with_extension(tbs, each.value)
        return baseline.issuer.certify(issued_by(tbs, baseline.issuer))


def _marked(subject: x509.Name) -> x509.Name:
    """A subject whose common name says that this is a probe."""
    mark = x509.NameAttribute(NameOID.COMMON_NAME, MARK)
    rest = [rdn for rdn in subject.rdns if not any(a.oid == NameOID.COMMON_NAME for a in rdn)]
    return x509.Name([*rest, x509.RelativeDistinguishedName([mark])])


def weak_issuer(good: Credential) -> Authority:
    """A CA that says it is the good identity's, for what takes no key of the real one."""
    fake = Authority.root(MARK)
    issuer = good.certificate.issuer
    tbs = TBSCertificate.of(fake.certificate)
    return replace(fake, certificate=fake.certify(replace(tbs, issuer=issuer, subject=issuer)))
