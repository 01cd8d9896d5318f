"""The identities of a probe: whom a server must refuse, each one difference from the good one.

Most are flaws of a client's certificate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from mtls_echo.probing.issuer import IdentityFactory, NotMadeError, weak_issuer
from mtls_echo.probing.meanings import CLASSES
from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.flaws.baseline import intermediate_of
from mtls_echo_pki.flaws.registry import FLAWS

if TYPE_CHECKING:
    from cryptography import x509

    from mtls_echo_pki.certificates.credential import Credential

# None: nothing is presented. Raises `NotMadeError` where that cannot be.
Make: TypeAlias = Callable[[IdentityFactory], "Credential | None"]

# The flaws that take no key of the CA's.
_WEAK = frozenset(
    {
        "unknown-authority",
        "self-signed",
        "impostor-authority",
        "impostor-authority-copied-identifier",
    }
)


def _flawed(slug: str, issuer: IdentityFactory) -> Credential:
    """An identity with a flaw."""
    if slug in _WEAK and not issuer.can_issue and issuer.good is not None:
        issuer = replace(issuer, clients=weak_issuer(issuer.good))
    return issuer.flawed(FLAWS[slug])


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


# Identities that are not in the registry of flaws, or that are made without the CA's key.
_MADE: dict[str, Make] = {
    "none": lambda _: None,
    "bad-signature": _altered,
    "good-sent-along": _good_sent_along,
    "revoked": _revoked,
    "revoked-authority": _revoked_issuer,
    "servers-ca": _by_the_servers_ca,
    "other": _other,
}

IDENTITIES: dict[str, Make] = {
    slug: _MADE.get(slug) or partial(_flawed, slug)
    for slug in CLASSES
    if slug in _MADE or slug in FLAWS
}
