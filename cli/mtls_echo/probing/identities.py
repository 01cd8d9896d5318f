"""The identities of a probe: whom a server must refuse, each one difference from the good one.

Most are flaws of a client's certificate. The order is that of the table that is printed: first
those who hold nothing of the CA's, then what the CA itself signed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, TypeAlias

from mtls_echo.probing.issuer import IdentityFactory, NotMadeError, weak_issuer
from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.flaws.baseline import intermediate_of
from mtls_echo_pki.flaws.registry import FLAWS

if TYPE_CHECKING:
    from cryptography import x509

    from mtls_echo_pki.certificates.credential import Credential

Severity: TypeAlias = Literal["high", "medium", "low"]

# None: nothing is presented.
Make: TypeAlias = Callable[[IdentityFactory], "Credential | None"]


@dataclass(frozen=True, kw_only=True)
class Identity:
    """One identity.

    Attributes:
        differs: In what it differs from the good one, in one clause.
        make: Makes it; raises `NotMadeError` where that cannot be.
    """

    slug: str
    severity: Severity
    differs: str
    make: Make


def _flaw(slug: str, severity: Severity, *, weak: bool = False) -> Identity:
    """An identity with a flaw; ``weak``: it takes no key of the CA's."""

    def make(issuer: IdentityFactory) -> Credential:
        if weak and not issuer.can_issue and issuer.good is not None:
            issuer = replace(issuer, clients=weak_issuer(issuer.good))
        return issuer.flawed(FLAWS[slug])

    return Identity(slug=slug, severity=severity, differs=FLAWS[slug].title, make=make)


def _altered(issuer: IdentityFactory) -> Credential:
    flaw = FLAWS["bad-signature"]
    if issuer.good is None or issuer.can_issue:
        return issuer.flawed(flaw)
    from mtls_echo_pki.flaws.keys import tampered

    return replace(issuer.good, certificate=tampered(issuer.good.certificate))


def _by_the_servers_ca(issuer: IdentityFactory) -> Credential:
    if issuer.servers is None:
        raise NotMadeError("the key of the CA of the server's certificate is not given")
    if issuer.clients is not None and issuer.servers.certificate == issuer.clients.certificate:
        raise NotMadeError("one CA issues both servers and clients")
    return issuer.by(issuer.servers)


def _other(issuer: IdentityFactory) -> Credential:
    if issuer.other is None:
        raise NotMadeError("no other client is named (--other NAME)")
    return issuer.other


def _good_sent_along(issuer: IdentityFactory) -> Credential:
    if issuer.good is None:
        raise NotMadeError("the good identity is not given")
    foreign = (
        issuer.by(Authority.root("an unknown CA"))
        if issuer.can_issue
        else replace(issuer, clients=Authority.root("an unknown CA")).again()
    )
    return replace(foreign, chain=(issuer.good.certificate, *issuer.good.chain))


def _revoked(issuer: IdentityFactory) -> Credential:
    """As one that the CRL lists: a certificate is known to a CRL by issuer and serial number."""
    serial = _listed(issuer, issuer.clients)
    return issuer.flawless(lambda tbs: replace(tbs, serial_number=serial))


def _revoked_issuer(issuer: IdentityFactory) -> Credential:
    root = issuer.root
    serial = _listed(issuer, root)
    from mtls_echo_pki.certificates.tbs import TBSCertificate

    below = intermediate_of(root)
    tbs = replace(TBSCertificate.of(below.certificate), serial_number=serial)
    return issuer.by(replace(below, certificate=root.certify(tbs)))


def _listed(issuer: IdentityFactory, authority: Authority | None) -> int:
    """A serial number that the CA has revoked, by the CRLs that the server reads."""
    if authority is None:
        raise NotMadeError("the key of the CA that the server trusts is not given")
    if not issuer.crl:
        raise NotMadeError("the CRL that the server reads is not given (--crl)")
    own: list[x509.CertificateRevocationList] = [
        crl for crl in issuer.crl if crl.issuer == authority.certificate.subject
    ]
    for crl in own:
        for entry in crl:
            return entry.serial_number
    raise NotMadeError("the CA's CRL revokes nothing yet (mtls-echo pki revoke DIR NAME)")


NONE = Identity(
    slug="none", severity="high", differs="No certificate is presented", make=lambda _: None
)

IDENTITIES: tuple[Identity, ...] = (
    NONE,
    _flaw("unknown-authority", "high", weak=True),
    _flaw("self-signed", "high", weak=True),
    _flaw("impostor-authority", "high", weak=True),
    _flaw("impostor-authority-copied-identifier", "high", weak=True),
    Identity(
        slug="good-sent-along",
        severity="high",
        differs="The certificate comes from an unknown CA, and the good one is sent behind it",
        make=_good_sent_along,
    ),
    _flaw("key-not-owned", "high"),
    Identity(
        slug="bad-signature",
        severity="high",
        differs="One bit of the CA's signature has flipped",
        make=_altered,
    ),
    _flaw("expired", "high"),
    _flaw("not-yet-valid", "medium"),
    _flaw("expired-authority", "medium"),
    _flaw("wrong-usage", "medium"),
    _flaw("wrong-usage-any", "low"),
    _flaw("wrong-usage-no-digital-signature", "low"),
    _flaw("not-an-authority-end-entity", "high"),
    _flaw("not-an-authority", "high"),
    _flaw("not-an-authority-no-cert-sign", "medium"),
    _flaw("path-too-long", "medium"),
    _flaw("name-not-permitted", "medium"),
    _flaw("unknown-critical-extension", "medium"),
    _flaw("weak-key", "low"),
    _flaw("weak-signature", "low"),
    Identity(
        slug="revoked",
        severity="high",
        differs="The CA has revoked the certificate: its CRL lists the serial number",
        make=_revoked,
    ),
    Identity(
        slug="revoked-authority",
        severity="high",
        differs="The root has revoked the intermediate above the certificate",
        make=_revoked_issuer,
    ),
    Identity(
        slug="servers-ca",
        severity="high",
        differs="The certificate is a client's, and the CA of the server's own issued it",
        make=_by_the_servers_ca,
    ),
    Identity(
        slug="other",
        severity="medium",
        differs="Another client, which is valid and not authorised",
        make=_other,
    ),
)


def find_identity(slug: str) -> Identity:
    """The identity of that name."""
    return next(each for each in IDENTITIES if each.slug == slug)
