"""What the side that was refused cannot decide by itself: for each case a second truth.

A side that names several causes could be thought to know less than it might. Here every such case
of the registry has another one with another cause, in which the refused side holds the same: what
it sent and loaded, what it received, and how it ended, up to names, keys and numbers. A program
that named one cause in the one would name it in the other. Where the registry itself has no such
case, `OTHER_TRUTHS` makes one.

Cases with a middlebox are not here: each is the second truth of another by its construction.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest
import trio
from cryptography import x509

from mtls_echo.failures.case import VERSIONS, credentials, lenient_context, strict_context
from mtls_echo.failures.play import Setup
from mtls_echo.failures.registry import FAILURE_CASES
from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.tbs import TBSCertificate
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_pki.flaws.baseline import with_extension
from mtls_echo_pki.flaws.flaw import TLSVersion
from mtls_echo_pki.flaws.registry import FLAWS
from mtls_echo_tls.sides import Side, peer_of
from mtls_echo_tls.trace.decoding import decoded
from tests.support.tls import reports, tls_pair
from tests.tls.diagnosis.test_undecidable import Shape

REQUESTS: dict[Side, Request] = {
    "server": Request.server("localhost", "127.0.0.1", "::1", subject="server"),
    "client": Request.client("client.test", subject="client"),
}


@dataclass(frozen=True)
class Truth:
    """What the refused side named, what was so, and the shape of all that it holds."""

    name: str
    side: Side
    version: TLSVersion
    cause: str
    named: tuple[str, ...]
    shape: str

    def __str__(self) -> str:
        return f"{self.name}, TLS {self.version}"


def played() -> Iterator[Truth]:
    """The cases of the registry in which one side refuses the other."""
    for case in FAILURE_CASES:
        for version, expected in case.expected.items():
            setup = case.set_up(version)
            if expected.refuser is not None and setup.middlebox is None:
                refused = peer_of(expected.refuser)
                yield from met(setup, version, refused, case.name, case.cause)


def met(
    setup: Setup, version: TLSVersion, refused: Side, name: str, cause: str
) -> Iterator[Truth]:
    if not isinstance(setup.client, ssl.SSLContext) or not isinstance(
        setup.server, ssl.SSLContext
    ):
        return
    ends = tls_pair(setup.client, setup.server, name=setup.reference)
    found = trio.run(reports, *ends)
    number = 0 if refused == "client" else 1
    evidence = ends[number].evidence
    hello = evidence.recorder.find("sent", "ClientHello")
    offered = decoded([hello])[0].fields if hello is not None else {}
    fixed = {name: value for name, value in offered.items() if name != "random"}
    shape = repr((Shape().of_evidence(evidence), fixed))
    yield Truth(name, refused, version, cause, tuple(found[number].causes), shape)


# --- truths that the registry does not have ------------------------------------------------------


Made = tuple[Credential, Trust]


def by_flaw(slug: str, whose: Side) -> tuple[Authority, Credential]:
    """The credential of a flaw, and its root."""
    root = Authority.root()
    return root, FLAWS[slug].build(root, REQUESTS[whose]).credential


def above_constraints(slug: str) -> Callable[[Side], Made]:
    """A rule that only strict verification minds, and the name constraints of the verifier's root.

    This verifier is not strict.
    """

    def make(whose: Side) -> Made:
        root, credential = by_flaw(slug, whose)
        elsewhere = x509.NameConstraints([x509.DNSName("elsewhere.test")], None)
        tbs = with_extension(TBSCertificate.of(root.certificate), elsewhere, critical=True)
        return credential, Trust((root.certify(tbs),))

    return make


def below_another_root(whose: Side) -> Made:
    """An unknown CA, and an intermediate of a known one is sent along."""
    root = Authority.root()
    theirs = Authority.root("another CA").issue(REQUESTS[whose])
    sent = root.intermediate("mtls-echo test other CA").certificate
    return Credential(theirs.key, theirs.certificate, (sent,)), root.trust


def without_crl(whose: Side) -> Made:
    """The root that was sent is trusted; its CRL is missing."""
    root, credential = by_flaw("unknown-authority-root-sent", whose)
    return credential, Trust((root.certificate,), (Authority.root("another CA").crl(),))


def before_an_impostor(slug: str) -> Callable[[Side], Made]:
    """The verifier's root has the name and the key identifier of ours, and another key."""

    def make(whose: Side) -> Made:
        root, credential = by_flaw(slug, whose)
        other = Authority.root()
        own = root.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        tbs = with_extension(TBSCertificate.of(other.certificate), own.value)
        return credential, Trust((other.certify(tbs),))

    return make


def before_its_time(whose: Side) -> Made:
    """The verifier's certificate of our root is valid from tomorrow."""
    root, credential = by_flaw("crl-not-yet-valid", whose)
    tbs = TBSCertificate.of(root.certificate)
    tomorrow = tbs.not_before + timedelta(days=2)
    return credential, Trust((root.certify(replace(tbs, not_before=tomorrow)),))


STRICT = [slug for slug, flaw in FLAWS.items() if flaw.verify_code in (85, 86, 88, 92)]
OTHER_TRUTHS: dict[str, tuple[str, Callable[[Side], Made]]] = {
    **{slug: ("name-not-permitted", above_constraints(slug)) for slug in STRICT},
    "missing-intermediate-wrong-one": ("unknown-authority", below_another_root),
    "unknown-authority-root-sent": ("crl-missing", without_crl),
    "bad-signature-authority": ("impostor-authority", before_an_impostor("bad-signature-crl")),
    "bad-signature-crl": ("impostor-authority", before_an_impostor("bad-signature-crl")),
    "crl-not-yet-valid": ("not-yet-valid-authority", before_its_time),
}


def made() -> Iterator[Truth]:
    good = credentials()
    for slug, (cause, make) in OTHER_TRUTHS.items():
        for whose in FLAWS[slug].roles:
            for version in VERSIONS:
                credential, trust = make(whose)
                verifier = peer_of(whose)
                own = good.alice if verifier == "client" else good.server
                theirs = strict_context(verifier, version, own, trust)
                theirs.verify_flags &= ~ssl.VERIFY_X509_STRICT
                known = good.client_trust if whose == "server" else good.server_trust
                ours = lenient_context(whose, credential, known, version)
                pair = (ours, theirs) if whose == "client" else (theirs, ours)
                setup = Setup(client=pair[0], server=pair[1])
                yield from met(setup, version, whose, f"not {slug} ({whose})", cause)


def at_other_servers() -> Iterator[Truth]:
    """The clients of the cases in which nothing is in common, and servers with another fault."""
    for case in FAILURE_CASES:
        if case.slug not in (
            "no-common-cipher",
            "no-common-group",
            "no-common-signature-algorithm",
        ):
            continue
        setup, name = case.set_up("1.2"), f"not {case.name}"
        none = lenient_context("server", None, credentials().client_trust, "1.2")
        yield from met(replace(setup, server=none), "1.2", "client", name, "no-server-certificate")
        if case.slug == "no-common-signature-algorithm":
            other = strict_context("server", "1.3")
            other.set_ecdh_curve("X25519")  # of which the client, at its level, has none
            setup = replace(case.set_up("1.3"), server=other)
            yield from met(setup, "1.3", "client", name, "no-common-group")


# A server that has no TLS 1.3 answers its client so, as GnuTLS does (`benchmarks.peers`).
NOT_PLAYED = ["no-common-group, TLS 1.3"]


@pytest.fixture(scope="module")
def truths() -> list[Truth]:
    return [*played(), *made(), *at_other_servers()]


@pytest.mark.skipif(
    ssl.OPENSSL_VERSION_INFO[:2] != (3, 0),
    reason="the second truths were looked for with OpenSSL 3.0; others send a few messages more",
)
def test_each_case_that_the_refused_side_leaves_open_has_a_second_truth(
    truths: list[Truth],
) -> None:
    """It names both, in either case."""
    unsure = [truth for truth in truths if len(truth.named) > 1]
    decidable = [
        str(one)
        for one in unsure
        if not any(
            (one.side, one.version, one.shape) == (other.side, other.version, other.shape)
            and one.cause != other.cause
            and {one.cause, other.cause} <= {*one.named} & {*other.named}
            for other in truths
        )
    ]

    assert decidable == NOT_PLAYED
    assert len(unsure) > 60
