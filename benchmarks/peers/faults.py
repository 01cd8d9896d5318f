"""Every fault, in the certificates of every tool, with the truth about it.

A fault is one side's, and the other side judges it: in half of the cases the foreign end, in the
other half ours. The two sides have one CA, as PKIs of these tools mostly do, and each file lies in
a folder of its own, so that an end knows what it presents and what it trusts, and no more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID

from benchmarks.peers.makers import CLIENT_NAME, SERVER_NAME, Made, make, new_key
from benchmarks.peers.profiles import USAGE, Contents, Issued, Key, Profile, issue
from benchmarks.worlds import DAY, NOW, OTHER, Side

Judge = Literal["ours", "theirs"]
JUDGES: tuple[Judge, ...] = ("ours", "theirs")

_PAST = {"begins": -30 * DAY, "ends": -2 * DAY}
_FUTURE = {"begins": 2 * DAY, "ends": 30 * DAY}


@dataclass(frozen=True)
class Fault:
    """What is wrong on one side, and what the judging side has to judge it by.

    Attributes:
        slug: Names the scenario.
        causes: The truth: a report is right that names one of these first. Empty: nothing is
            wrong, and the two ends must come together.
        chain: What the presenter presents.
        trusts: The anchors of the judge; None: the root of the PKI.
        crls: Of the judge, if it is to look at any.
        culprits: The common names of CAs of which the hint must name one; empty if the fault is
            not a CA's.
        needs: What a foreign end must be able to do: see `benchmarks.peers.stacks`.
        judges: Who can judge it.
        also: What is right as well where the presenter is asked, which does not see what the
            judge trusts.
        either: Whether the presenter may give up by itself: OpenSSL completes what it presents
            from its own anchors, and sends no certificate that is below its security level.
    """

    slug: str
    causes: frozenset[str]
    chain: tuple[Issued, ...]
    trusts: Issued | None = None
    crls: tuple[x509.CertificateRevocationList, ...] = ()
    culprits: tuple[str, ...] = ()
    needs: str = ""
    judges: tuple[Judge, ...] = JUDGES
    also: frozenset[str] = frozenset()
    either: bool = False


class World:
    """One PKI in the form of a profile, made by its tool where that is installed.

    Attributes:
        authority: `_new_authority`, with the CA that the same arguments gave before.
    """

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self.authority = cache(self._new_authority)
        self._key = cache(self._new_key)
        self._made: Made | None = make(profile)
        self.made_by = self._made.by if self._made else "modelled with cryptography"

    def __str__(self) -> str:
        return self.profile.name

    def _new_key(self, owner: str, bits: int = 2048) -> Key:
        return new_key("RSA" if bits != 2048 else self.profile.key_type, bits)

    def _new_authority(
        self, name: str, issuer: Issued | None = None, *, key: str = "", **changes: Any
    ) -> Issued:
        """A root or an intermediate; its key goes by its name unless another is named."""
        form = self.profile.intermediate if issuer else self.profile.root
        if "usages" in changes:
            form = replace(form, usages=changes.pop("usages"))
        contents = Contents(name, form, authority=True, ends=900 * DAY)
        contents = replace(contents, organisation=self.profile.organisation)
        bits = changes.pop("bits", 2048)
        return issue(replace(contents, **changes), self._key(key or name, bits), issuer)

    @property
    def root_name(self) -> str:
        """The common name of the root."""
        return common_name(self.root)

    @property
    def root(self) -> Issued:
        """The CA that both sides trust."""
        return self._made.root if self._made else self.authority("Acme Root CA")

    @property
    def issues_crls(self) -> bool:
        """Whether its CAs may sign CRLs; those of cert-manager may not."""
        usages = self.profile.root.usages
        return usages is None or "crl_sign" in usages

    def issuers(self) -> tuple[Issued, ...]:
        """What stands above an end-entity certificate, lowest first, and ends with the root."""
        if self.profile.chained:
            return (self.authority("Acme Intermediate CA", self.root), self.root)
        return (self.root,)

    def leaf(self, side: Side, issuer: Issued | None, **changes: Any) -> Issued:
        """An end-entity certificate as the tool makes it, but for the changes."""
        form, name = self.profile.end_entity(side), _NAME[side]
        usages = (USAGE[side],) if form.extended == "own" else tuple(USAGE.values())
        contents = Contents(
            name,
            form,
            names=(x509.DNSName(name),),
            usages=() if form.extended == "none" else usages,
            subject=self.profile.subject,
            organisation=self.profile.organisation,
        )
        key = changes.pop("key", None) or self._key(side)
        return issue(replace(contents, **changes), key, issuer)

    def chain(self, side: Side, **changes: Any) -> tuple[Issued, ...]:
        """What this side presents: the sound certificate of the tool unless changed."""
        if self._made and not changes:
            return (self._made.end_entities[side],)
        issuers = self.issuers()
        return (self.leaf(side, issuers[0], **changes), *issuers[:-1])

    def revocation(
        self, issuer: Issued, revoked: Issued | None = None
    ) -> x509.CertificateRevocationList:
        """The CRL of an issuer."""
        public = issuer.key.public_key()
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(issuer.certificate.subject)
            .last_update(NOW - DAY)
            .next_update(NOW + 7 * DAY)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), False)
            .add_extension(x509.CRLNumber(1), False)
        )
        if revoked is not None:
            number = revoked.certificate.serial_number
            entry = x509.RevokedCertificateBuilder(number, NOW - DAY / 2)
            builder = builder.add_revoked_certificate(entry.build())
        assert isinstance(issuer.key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
        return builder.sign(issuer.key, SHA256())


_NAME: dict[Side, str] = {"server": SERVER_NAME, "client": CLIENT_NAME}


def common_name(issued: Issued) -> str:
    """Of its subject."""
    return str(list(issued.certificate.subject)[-1].value)


def faults(world: World, owner: Side) -> Iterator[Fault]:
    """All faults of this side, none first."""
    yield Fault("sound", frozenset(), world.chain(owner), judges=("theirs",))
    yield from (*_certificates(world, owner), *_authorities(world, owner))


def _certificates(world: World, owner: Side) -> Iterator[Fault]:
    def fault(slug: str, cause: str, chain: tuple[Issued, ...], **more: Any) -> Fault:
        return Fault(slug, frozenset(cause.split()), chain, **more)

    issuers = world.issuers()
    yield fault("expired", "expired", world.chain(owner, **_PAST))
    yield fault("not-yet-valid", "not-yet-valid", world.chain(owner, **_FUTURE))
    swapped = (USAGE[OTHER[owner]],)
    yield fault("wrong-usage", "wrong-usage", world.chain(owner, usages=swapped))
    code = (ExtendedKeyUsageOID.CODE_SIGNING,)
    yield fault("code-signing", "wrong-usage", world.chain(owner, usages=code))
    yield fault("self-signed", "self-signed", (world.leaf(owner, None, subject=True),))
    chain = world.chain(owner)
    lists = (
        world.revocation(issuers[0], chain[0]),
        *(world.revocation(above) for above in issuers[1:]),
    )
    if world.issues_crls:
        yield fault(
            "revoked", "revoked", chain, crls=lists, needs="crl" if len(lists) == 1 else "crls"
        )
    if owner == "server":
        other = (x509.DNSName("other.acme.test"),)
        renamed = world.chain(owner, names=other, common_name="other.acme.test")
        yield fault("wrong-name", "wrong-name", renamed)
    else:
        yield fault("no-client-certificate", "no-client-certificate", ())
    small = world.chain(owner, key=new_key("RSA", 1024))
    yield fault("weak-key", "weak-key", small, needs="weak-key", judges=("ours",))
    odd = world.chain(owner, key=ed25519.Ed25519PrivateKey.generate())
    cause = "no-common-signature-algorithm"
    yield fault("key-type", cause, odd, needs="key-type", judges=("theirs",))


def _authorities(world: World, owner: Side) -> Iterator[Fault]:
    def fault(
        slug: str, cause: str, chain: tuple[Issued, ...], *culprits: Issued, **more: Any
    ) -> Fault:
        named = tuple(map(common_name, culprits))
        return Fault(slug, frozenset((cause,)), chain, culprits=named, **more)

    def below(name: str, **changes: Any) -> tuple[Issued, ...]:
        authority = world.authority(name, world.root, **changes)
        return (world.leaf(owner, authority), authority)

    evil = world.authority("Evil CA")
    chain: tuple[Issued, ...] = (world.leaf(owner, evil),)
    if world.profile.chained:
        lower = world.authority("Evil Intermediate CA", evil)
        chain = (world.leaf(owner, lower), lower)
        yield fault("other-ca", "unknown-authority", chain, evil, lower)
    else:
        yield fault("other-ca", "unknown-authority", chain, evil)
    leaf, left_out = below("Acme Issuing CA")
    yield fault("missing-intermediate", "missing-intermediate", (leaf,), left_out)
    alike = world.authority(world.root_name, key="impostor")
    chain = (world.leaf(owner, alike),)
    more: dict[str, Any] = {"also": frozenset(("unknown-authority",))}
    yield fault("recreated-ca", "impostor-authority", chain, alike, **more)
    chain = below("Acme Old CA", **_PAST)
    yield fault("expired-intermediate", "expired-authority", chain, chain[1])
    chain = below("Acme No CA", authority=False)
    yield fault("not-a-ca", "not-an-authority", chain, chain[1])
    elsewhere = x509.NameConstraints([x509.DNSName("example.org")], None)
    chain = below("Acme Constrained CA", name_constraints=elsewhere)
    yield fault("name-constraints", "name-not-permitted", chain, chain[1])
    weak = world.authority("Acme Weak CA", bits=1024)
    chain = (world.leaf(owner, weak),)
    yield fault("weak-ca-key", "weak-key", chain, weak, trusts=weak, either=True)
    vague = world.authority("Acme Vague CA", usages=None)
    chain = (world.leaf(owner, vague),)
    more = {"trusts": vague, "needs": "strict", "judges": ("theirs",)}
    yield fault("ca-without-key-usage", "not-conforming", chain, vague, **more)
