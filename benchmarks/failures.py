"""Failures whose true cause is known, arranged in worlds that the tests do not use.

A measurement on the cases that a program was written against measures the author's memory. So no
certificate here comes from `mtls_echo_pki`: each is put together with `cryptography` alone, under
other names, and the two ends get them as PEM files, as users give them.

Every failure happens in two worlds. In one, a single root stands above servers and clients, and
OpenSSL then completes an end's chain from its own trust store without being asked, which changes
what the other end sees; in the other, each side has a root of its own. If keys are P-256 and
chains direct in one, they are RSA with an intermediate in the other; which is which alternates
from failure to failure. So each is seen with either, without being run in all eight combinations.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from benchmarks.worlds import BOTH, DAY, NAMES, OTHER, USAGE, Side, Signed, World, altered

_ADDRESS = ipaddress.ip_address("10.0.0.1")

# The exit status of `connect`, as its help promises it.
_REFUSED: dict[Side, int] = {"client": 4, "server": 5}
_MISMATCH, _DENIED = 8, 9


@dataclass(frozen=True)
class End:
    """What one end is started with; no chain means that it has no certificate.

    ``trusts`` are its anchors for the other end, ``crls`` what they revoked.
    """

    chain: tuple[Signed, ...]
    trusts: tuple[Signed, ...]
    crls: tuple[x509.CertificateRevocationList, ...] = ()
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Failure:
    """Two ends that cannot come together, and the truth about why.

    Attributes:
        slug: Names the scenario, not the cause.
        world: Where it happens.
        tls: The only version that the client offers.
        causes: What is wrong: all of it, mostly one thing.
        rejected_by: Which side refuses; None where neither does.
        status: The exit status of `connect`.
        server, client: The ends; None for a program that does not speak TLS.
        alert: Whether the side that refuses sends an alert.
    """

    slug: str
    world: str
    tls: str
    causes: tuple[str, ...]
    rejected_by: Side | None
    status: int
    server: End | None
    client: End | None
    alert: bool = True

    def __str__(self) -> str:
        owner = OTHER[self.rejected_by] if self.rejected_by else "neither"
        return f"{self.slug} ({owner} at fault, TLS {self.tls}; {self.world})"


@dataclass(frozen=True)
class Presented:
    """What the side at fault presents, and what its verifier has; None: its root."""

    chain: tuple[Signed, ...]
    trusts: Signed | None = None
    crls: tuple[x509.CertificateRevocationList, ...] = ()
    options: tuple[str, ...] = ()


Scenario: TypeAlias = tuple[str, tuple[str, ...], Presented]


def failures() -> Iterator[Failure]:
    """All of them, in both worlds of each and on both TLS versions."""
    pairs = [
        (World(True, "P-256", False), World(False, "RSA", True)),
        (World(True, "RSA", True), World(False, "P-256", False)),
    ]
    for half, pair in enumerate(pairs):
        for world in pair:
            for owner in BOTH:
                numbered = enumerate(_of_certificates(world, owner))
                for slug, causes, shown in (found for n, found in numbered if n % 2 == half):
                    for tls in ("1.2", "1.3"):
                        yield _refusal(world, owner, slug, causes, shown, tls)
            if half == 0:
                yield from _of_negotiation(world)


def _refusal(
    world: World, owner: Side, slug: str, causes: tuple[str, ...], shown: Presented, tls: str
) -> Failure:
    """One side's certificate, refused by the other, which is valid."""
    verifier = OTHER[owner]
    trusts = (shown.trusts or world.root(owner),)
    valid = End(world.chain(verifier), trusts, shown.crls, shown.options)
    flawed = End(shown.chain, (world.root(verifier),))
    server, client = (flawed, valid) if owner == "server" else (valid, flawed)
    return Failure(slug, str(world), tls, causes, verifier, _REFUSED[verifier], server, client)


def _of_certificates(world: World, owner: Side) -> Iterator[Scenario]:
    for slug, causes, shown in (
        *_dates(world, owner),
        *_anchors(world, owner),
        *_links(world, owner),
        *_purposes(world, owner),
        *_revocations(world, owner),
    ):
        yield slug, tuple(causes.split()), shown


_Rows: TypeAlias = Iterator[tuple[str, str, Presented]]
_PAST = {"begins": -30 * DAY, "ends": -2 * DAY}
_FUTURE = {"begins": 2 * DAY, "ends": 30 * DAY}


def _below(world: World, owner: Side, name: str, **changes: Any) -> Presented:
    """A valid end-entity certificate, by a CA below the root that is not valid."""
    authority = world.authority(name, world.root(owner), **changes)
    return Presented((world.end_entity(owner, authority), authority))


def _dates(world: World, owner: Side) -> _Rows:
    past = world.authority("Old Root", **_PAST)
    yield "expired", "expired", Presented(world.chain(owner, **_PAST))
    yield "not-yet-valid", "not-yet-valid", Presented(world.chain(owner, **_FUTURE))
    yield "expired-root", "expired-authority", Presented((world.end_entity(owner, past),), past)
    shown = _below(world, owner, "Old CA", **_PAST)
    yield "expired-intermediate", "expired-authority", shown
    shown = _below(world, owner, "New CA", **_FUTURE)
    yield "future-intermediate", "not-yet-valid-authority", shown
    swapped = world.chain(owner, usages=(USAGE[OTHER[owner]],), **_PAST)
    yield "wrong-usage-and-expired", "wrong-usage expired", Presented(swapped)


def _anchors(world: World, owner: Side) -> _Rows:
    evil, beta = world.authority("Evil Root"), world.authority("Beta Root")
    below = world.authority("Evil CA", evil)
    alike = world.authority(world.root_name(owner), key="impostor")
    by_evil, by_alike = world.end_entity(owner, evil), world.end_entity(owner, alike)
    late = world.end_entity(owner, evil, **_PAST)
    yield "other-anchor", "unknown-authority", Presented(world.chain(owner), beta)
    yield "unknown-ca", "unknown-authority", Presented((by_evil,))
    yield "unknown-ca-with-root", "unknown-authority", Presented((by_evil, evil))
    shown = Presented((world.end_entity(owner, below), below))
    yield "unknown-ca-with-intermediate", "unknown-authority", shown
    yield "unknown-ca-and-expired", "unknown-authority expired", Presented((late,))
    yield "impostor", "impostor-authority", Presented((by_alike,))
    yield "impostor-with-root", "impostor-authority", Presented((by_alike, alike))
    yield "self-signed", "self-signed", Presented((world.end_entity(owner, None),))


def _links(world: World, owner: Side) -> _Rows:
    root, issuing = world.root(owner), world.issuing(owner)
    upper, other = world.authority("Upper CA", root), world.authority("Other CA", root)
    lower, third = world.authority("Lower CA", upper), world.authority("Third CA", issuing)
    leaf = world.end_entity(owner, issuing)
    yield "missing-intermediate", "missing-intermediate", Presented((leaf,))
    yield "another-intermediate", "missing-intermediate", Presented((leaf, other))
    shown = Presented((world.end_entity(owner, lower), lower))
    yield "missing-upper-intermediate", "missing-intermediate", shown
    shown = Presented((world.end_entity(owner, third), third, issuing))
    yield "path-too-long", "path-too-long", shown
    shown = _below(world, owner, "No CA", authority=False)
    yield "issued-by-no-authority", "not-an-authority", shown
    shown = _below(world, owner, "Vague CA", basic_constraints=False)
    yield "no-basic-constraints", "not-an-authority", shown
    shown = _below(world, owner, "Mute CA", signs_certificates=False)
    yield "no-cert-sign", "not-an-authority", shown
    valid, *others = world.chain(owner)
    yield "bit-flipped", "bad-signature", Presented((altered(valid), *others))
    shown = Presented(world.chain(owner, authority_key_identifier=False))
    yield "no-key-identifier", "missing-key-identifier", shown
    shown = Presented(world.chain(owner, unknown_critical=True))
    yield "unknown-critical", "unknown-critical-extension", shown


def _purposes(world: World, owner: Side) -> _Rows:
    code, email = (ExtendedKeyUsageOID.CODE_SIGNING,), (ExtendedKeyUsageOID.EMAIL_PROTECTION,)
    swapped = Presented(world.chain(owner, usages=(USAGE[OTHER[owner]],)))
    yield "other-side's-usage", "wrong-usage", swapped
    yield "code-signing", "wrong-usage", Presented(world.chain(owner, usages=code))
    yield "email-authority", "wrong-usage", _below(world, owner, "Mail CA", usages=email)
    elsewhere = x509.NameConstraints([x509.DNSName("example.org")], None)
    shown = _below(world, owner, "Permitting CA", name_constraints=elsewhere)
    yield "name-not-permitted", "name-not-permitted", shown
    not_here = x509.NameConstraints(None, [x509.DNSName("acme.test"), x509.DNSName("localhost")])
    shown = _below(world, owner, "Excluding CA", name_constraints=not_here)
    yield "name-excluded", "name-not-permitted", shown
    if owner == "client":
        shown = Presented(world.chain(owner, only_non_repudiation=True))
        yield "only-non-repudiation", "wrong-usage", shown
        return
    for slug, cause, names, asked in (
        ("other-name", "wrong-name", (x509.DNSName("other.acme.test"),), "localhost"),
        ("wildcard-too-deep", "wrong-name", (x509.DNSName("*.b.acme.test"),), "x.a.acme.test"),
        ("only-address", "wrong-name", (x509.IPAddress(_ADDRESS),), "localhost"),
        ("address-asked", "wrong-name", NAMES["server"], str(_ADDRESS)),
        ("no-name", "no-san", (), "localhost"),
    ):
        shown = Presented(world.chain(owner, names=names), options=("--server-name", asked))
        yield slug, cause, shown


def _revocations(world: World, owner: Side) -> _Rows:
    chain, (issuer, *above) = world.chain(owner), world.issuers(owner)
    rest, root = tuple(map(world.revocation, above)), world.root(owner)
    for slug, cause, listed in (
        ("revoked", "revoked", world.revocation(issuer, chain[0])),
        ("crl-of-another", "crl-missing", world.revocation(world.authority("Evil Root"))),
        ("crl-past", "crl-expired", world.revocation(issuer, begins=-10, ends=-2)),
        ("crl-future", "crl-not-yet-valid", world.revocation(issuer, begins=1, ends=9)),
    ):
        yield slug, cause, Presented(chain, crls=(listed, *rest))
    authority = world.authority("Revoked CA", root)
    lists = (world.revocation(root, authority), world.revocation(authority))
    shown = Presented((world.end_entity(owner, authority), authority), crls=lists)
    yield "revoked-authority", "revoked-authority", shown


def _of_negotiation(world: World) -> Iterator[Failure]:
    """Sound certificates, or none, and no agreement all the same."""
    ends = {side: End(world.chain(side), (world.root(OTHER[side]),)) for side in BOTH}
    server, client = ends["server"], ends["client"]

    def failure(slug: str, tls: str, **changes: Any) -> Failure:
        base = Failure(slug, str(world), tls, (slug,), "server", _MISMATCH, server, client)
        return replace(base, **changes)

    def with_options(end: End, *options: str) -> End:
        return replace(end, options=options)

    for tls, bound in (("1.2", "--min-version=1.3"), ("1.3", "--max-version=1.2")):
        yield failure("no-common-version", tls, server=with_options(server, bound))
        anonymous, refused = replace(client, chain=()), _REFUSED["server"]
        yield failure("no-client-certificate", tls, client=anonymous, status=refused)
        h2, http = with_options(server, "--alpn=h2"), with_options(client, "--alpn=http/1.1")
        # RFC 7301 §3.2 wants the server to refuse, with an alert that Python cannot send. Our
        # server waits for data, and our client closes before it sends any.
        clash = failure("no-common-alpn", tls, rejected_by="client", alert=False)
        yield replace(clash, server=h2, client=http)
        picky = with_options(server, "--allow-dns=other.client.test")
        yield failure("not-authorised", tls, server=picky, status=_DENIED, alert=False)
        yield failure("plaintext-peer", tls, server=None, rejected_by=None, alert=False)
    yield failure("plaintext-client", "1.3", client=None, rejected_by=None, alert=False)
