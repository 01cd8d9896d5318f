"""Valid baselines that a flaw alters in exactly one respect.

A :class:`ValidationInput` is what a verifier is given (RFC 5280 §6.1.1). A :class:`Baseline` is a
valid one with the keys that made it, so that any of its certificates and CRLs can be signed once
more with one change, while all others stay as they are, bit for bit. Nothing is generated anew:
names, dates, key and serial number are the baseline's unless they are the change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeAlias

from cryptography import x509

from mtls_echo_pki.certificates.authority import INTERMEDIATE_LIFETIME, Authority
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.identifiers import reference_for
from mtls_echo_pki.certificates.reading import expiry
from mtls_echo_pki.certificates.request import Request, Usage
from mtls_echo_pki.certificates.tbs import TBSCertificate, TBSCertList, authority_key_identifier
from mtls_echo_pki.certificates.trust import Trust

Change: TypeAlias = Callable[[TBSCertificate], TBSCertificate]


@dataclass(frozen=True)
class ValidationInput:
    """The inputs of path validation (RFC 5280 §6.1.1): a credential, and what it is verified with.

    Args:
        credential: What one side presents.
        trust: What the verifier trusts, CRLs included.
        reference: The name that a client asks for (RFC 9525 §4); without meaning when a
            client's credential is verified.
    """

    credential: Credential
    trust: Trust
    reference: str

    def but(
        self,
        *,
        certificate: x509.Certificate | None = None,
        chain: tuple[x509.Certificate, ...] | None = None,
        trust: Trust | None = None,
    ) -> ValidationInput:
        """Return the same with another end-entity certificate, chain or trust."""
        credential = self.credential
        if certificate is not None:
            credential = replace(credential, certificate=certificate)
        if chain is not None:
            credential = replace(credential, chain=chain)
        return replace(self, credential=credential, trust=self.trust if trust is None else trust)


@dataclass(frozen=True)
class Baseline:
    """A valid input, and the keys to sign any part of it once more.

    Args:
        request: What the end-entity certificate says.
        authorities: The CAs of the path, the issuing one first, the root last.
        inputs: What every verifier accepts.
        crls: What the input's CRLs say, in the order of ``authorities``.
    """

    request: Request
    authorities: tuple[Authority, ...]
    inputs: ValidationInput
    crls: tuple[TBSCertList, ...] = ()

    @property
    def issuer(self) -> Authority:
        """The CA that issued the end-entity certificate."""
        return self.authorities[0]

    def with_certificate(self, change: Change) -> ValidationInput:
        """Sign the end-entity certificate once more, with a change in it."""
        tbs = TBSCertificate.of(self.inputs.credential.certificate)
        return self.inputs.but(certificate=self.issuer.certify(change(tbs)))

    def with_authority(self, change: Change, *, level: int = 0) -> ValidationInput:
        """Sign an intermediate's certificate once more; nothing below it changes.

        Level 0 issued the end-entity certificate.
        """
        tbs = TBSCertificate.of(self.authorities[level].certificate)
        return self.with_intermediate(self.authorities[level + 1].certify(change(tbs)), level)

    def with_intermediate(self, certificate: x509.Certificate, level: int = 0) -> ValidationInput:
        """Send another intermediate certificate in place of one."""
        chain = [*self.inputs.credential.chain]
        chain[level] = certificate
        return self.inputs.but(chain=tuple(chain))

    def with_changed_crl(
        self, change: Callable[[TBSCertList], TBSCertList], *, level: int = 0
    ) -> ValidationInput:
        """Sign a CRL once more, with a change in it."""
        return self.with_crl(change(self.crls[level]).sign(self.authorities[level].key), level)

    def with_crl(self, crl: x509.CertificateRevocationList, level: int = 0) -> ValidationInput:
        """Give the verifier another CRL in place of one."""
        crls = [*self.inputs.trust.crls]
        crls[level] = crl
        return self.inputs.but(trust=replace(self.inputs.trust, crls=tuple(crls)))


BaselineFactory: TypeAlias = Callable[[Authority, Request], Baseline]


def issued_directly(authority: Authority, request: Request) -> Baseline:
    """Let ``authority`` issue the certificate, as it issues every other."""
    return _baseline((authority,), request)


def intermediate_of(authority: Authority, *name: str) -> Authority:
    """An intermediate that lasts as long as any, or as the root, which may be about to expire."""
    remaining = expiry(authority.certificate) - authority.clock() - timedelta(minutes=1)
    return authority.intermediate(*name, lifetime=min(INTERMEDIATE_LIFETIME, remaining))


def below_an_intermediate(authority: Authority, request: Request) -> Baseline:
    """Put an intermediate between the root and the certificate."""
    return _baseline((intermediate_of(authority), authority), request)


def below_one_without_limit(authority: Authority, request: Request) -> Baseline:
    """Put an intermediate there without a pathLenConstraint."""
    unlimited = x509.BasicConstraints(ca=True, path_length=None)
    intermediate = intermediate_of(authority)
    tbs = with_extension(TBSCertificate.of(intermediate.certificate), unlimited)
    return _baseline(
        (replace(intermediate, certificate=authority.certify(tbs)), authority), request
    )


def below_two(authority: Authority, request: Request) -> Baseline:
    """Put two intermediates there; the upper one permits one CA below it."""
    lower = intermediate_of(authority, "mtls-echo test lower CA")
    upper = intermediate_of(authority, "mtls-echo test upper CA")
    permits_one = with_extension(
        TBSCertificate.of(upper.certificate), x509.BasicConstraints(ca=True, path_length=1)
    )
    upper = replace(upper, certificate=authority.certify(permits_one))
    below = issued_by(TBSCertificate.of(lower.certificate), upper)
    lower = replace(
        lower,
        certificate=upper.certify(below),
        issuers=(upper.certificate, *upper.issuers),
    )
    return _baseline((lower, upper, authority), request)


def under_revocation(authority: Authority, request: Request) -> Baseline:
    """Put an intermediate there, and give the verifier both CAs' CRLs."""
    baseline = below_an_intermediate(authority, request)
    now = authority.clock().replace(microsecond=0)
    crls = tuple(
        TBSCertList(
            issuer=each.certificate,
            number=1,
            this_update=now - request.backdate,
            next_update=now + request.lifetime,
        )
        for each in baseline.authorities
    )
    signed = tuple(each.sign(by.key) for each, by in zip(crls, baseline.authorities, strict=True))
    trust = replace(baseline.inputs.trust, crls=signed)
    return replace(baseline, inputs=baseline.inputs.but(trust=trust), crls=crls)


def with_root_sent_along(authority: Authority, request: Request) -> Baseline:
    """Send the root after the intermediate, which is superfluous but allowed."""
    baseline = below_an_intermediate(authority, request)
    chain = (*baseline.inputs.credential.chain, authority.certificate)
    return replace(baseline, inputs=baseline.inputs.but(chain=chain))


# Those that make an intermediate of their own, which takes a root's key.
BELOW_A_ROOT = (
    below_an_intermediate,
    below_one_without_limit,
    below_two,
    under_revocation,
    with_root_sent_along,
)


def _baseline(authorities: tuple[Authority, ...], request: Request) -> Baseline:
    credential = authorities[0].issue(request)
    server = request.usage is Usage.SERVER
    reference = reference_for(credential.certificate) if server else "localhost"
    if reference is None:
        raise ValueError(
            "a server that names no host cannot be asked for; give a host or an address"
        )
    return Baseline(
        request, authorities, ValidationInput(credential, authorities[0].trust, reference)
    )


def with_extension(
    tbs: TBSCertificate, value: x509.ExtensionType, *, critical: bool | None = None
) -> TBSCertificate:
    """Return ``tbs`` with an extension replaced, or added after the others.

    Args:
        critical: None keeps what it was; a new one is not critical then.
    """
    extensions = {each.oid: each for each in tbs.extensions}
    if critical is None:
        critical = value.oid in extensions and extensions[value.oid].critical
    extensions[value.oid] = x509.Extension(value.oid, critical, value)
    return replace(tbs, extensions=tuple(extensions.values()))


def without_extension(tbs: TBSCertificate, oid: x509.ObjectIdentifier) -> TBSCertificate:
    """Return ``tbs`` without an extension that it has."""
    kept = tuple(extension for extension in tbs.extensions if extension.oid != oid)
    if len(kept) == len(tbs.extensions):
        raise ValueError(f"there is no extension {oid.dotted_string} to leave out")
    return replace(tbs, extensions=kept)


def issued_by(tbs: TBSCertificate, issuer: Authority) -> TBSCertificate:
    """Return ``tbs`` as another CA would issue it: its name, its key's identifier."""
    certificate = issuer.certificate
    return with_extension(
        replace(tbs, issuer=certificate.subject), authority_key_identifier(certificate)
    )
