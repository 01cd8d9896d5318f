"""Offline validation of a certification path finds every fault of it, and no other."""

from __future__ import annotations

import datetime
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.tbs import TBSCertificate
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_pki.flaws.baseline import issued_by, with_extension
from mtls_echo_pki.flaws.flaw import Flaw
from mtls_echo_pki.flaws.registry import FLAWS
from mtls_echo_tls.path.validate import CertificationPath, examine
from mtls_echo_tls.sides import Side
from tests.support.authorities import CLIENTS, SERVERS, UNTRUSTED_CA
from tests.support.flaws import REQUESTS
from tests.support.tls import EXPIRED, FUTURE

# They lie with a key, a CRL, the length of a message, or a name that only OpenSSL reads strictly.
_NOT_IN_THE_PATH = {"key-not-owned", "crl-missing", "crl-expired", "crl-not-yet-valid", "oversize"}
_OPENSSL_IS_STRICTER = {"bad-signature-crl"}

CASES = [
    pytest.param(flaw, role, id=f"{flaw.slug}, {role}'s")
    for flaw in FLAWS.values()
    for role in flaw.roles
    if flaw.cause not in _NOT_IN_THE_PATH and flaw.slug not in _OPENSSL_IS_STRICTER
]


def look(
    credential: Credential, presenter: Side, trust: Trust | None, **more: object
) -> CertificationPath:
    """Examine what a side presents, as its verifier would."""
    return examine(
        credential.chain_der,
        presenter=presenter,
        anchors=trust.anchors if trust else None,
        crls=trust.crls if trust else (),
        **more,  # type: ignore[arg-type]  # a test's shorthand
    )


@pytest.mark.parametrize(("flaw", "role"), CASES)
def test_each_flaw_is_found_by_the_verifier(flaw: Flaw, role: Side) -> None:
    sound, bad = flaw.pair(Authority.root(), REQUESTS[role])
    reference = bad.reference if role == "server" else None

    before = look(sound.credential, role, sound.trust, reference=sound.reference)
    after = look(bad.credential, role, bad.trust, reference=reference)

    assert before.faults == ()
    assert before.anchored
    assert flaw.cause in after.slugs


@pytest.mark.parametrize(
    ("credential", "both"),
    [
        pytest.param(
            UNTRUSTED_CA.issue(Request.client("a.test", **EXPIRED)),  # type: ignore[arg-type]
            {"unknown-authority", "expired"},
            id="unknown CA, expired",
        ),
        pytest.param(
            CLIENTS.issue(Request.server("a.test", **FUTURE)),  # type: ignore[arg-type]
            {"wrong-usage", "not-yet-valid"},
            id="wrong usage, not yet valid",
        ),
        pytest.param(
            Authority.root("clients").issue(Request.client("a.test", **EXPIRED)),  # type: ignore[arg-type]
            {"impostor-authority", "expired"},
            id="impostor, expired",
        ),
    ],
)
def test_a_double_fault_is_found_twice(credential: Credential, both: set[str]) -> None:
    assert both <= set(look(credential, "client", CLIENTS.trust).slugs)


def test_three_faults_of_a_server_are_found() -> None:
    credential = UNTRUSTED_CA.issue(Request.server("other.test", **EXPIRED))  # type: ignore[arg-type]

    path = look(credential, "server", SERVERS.trust, reference="localhost")

    assert {"unknown-authority", "wrong-name", "expired"} <= set(path.slugs)


def test_without_the_verifiers_anchors_nothing_is_reported_about_them() -> None:
    assert look(UNTRUSTED_CA.issue(Request.client("a.test")), "client", None).faults == ()


def test_a_link_that_is_known_here_and_was_not_sent_is_missing() -> None:
    root = Authority.root()
    issuing = root.intermediate()
    alone = Credential(
        key=(made := issuing.issue(Request.client("a.test"))).key, certificate=made.certificate
    )

    unknown = look(alone, "client", root.trust)
    known = look(alone, "client", root.trust, others=[issuing.certificate])

    assert {*unknown.slugs} == {"unknown-authority", "missing-intermediate"}
    assert known.slugs == ("missing-intermediate",)


@pytest.mark.parametrize("role", ["server", "client"])
def test_a_signature_by_a_broken_algorithm_is_weak_and_not_wrong(role: Side) -> None:
    _, weak = FLAWS["weak-signature"].pair(Authority.root(), REQUESTS[role])

    assert look(weak.credential, role, weak.trust).slugs == ("weak-signature",)


def test_each_fault_says_what_was_compared() -> None:
    now = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)
    credential = CLIENTS.issue(Request.client("a.test"))

    (fault,) = look(credential, "client", CLIENTS.trust, now=now).faults

    assert fault.slug == "expired"
    assert "now is 2030-01-01 00:00:00" in fault.detail


def test_a_path_that_leads_in_a_circle_ends() -> None:
    path = examine([SERVERS.issue("a.test").chain_der[0]] * 500, presenter="server", anchors=())

    assert len(path.certificates) < 20


@given(st.lists(st.binary(max_size=300), max_size=4))
def test_garbage_has_no_faults_and_raises_nothing(chain: list[bytes]) -> None:
    assert examine(chain, presenter="client", anchors=CLIENTS.trust.anchors).faults == ()


_GOOD = CLIENTS.intermediate().issue(Request.client("alice.test"))


@given(at=st.integers(0, 900), noise=st.binary(min_size=1, max_size=8), which=st.integers(0, 1))
def test_damaged_certificates_raise_nothing(at: int, noise: bytes, which: int) -> None:
    chain = list(_GOOD.chain_der)
    chain[which] = chain[which][:at] + noise + chain[which][at + len(noise) :]

    examine(chain, presenter="client", anchors=CLIENTS.trust.anchors, reference="localhost")


def test_an_issuer_of_an_unknown_version_raises_nothing() -> None:
    issuing = CLIENTS.intermediate()
    leaf, issuer = issuing.issue(Request.client("alice.test")).chain_der
    strange = issuer.replace(bytes.fromhex("a003020102"), bytes.fromhex("a003020105"), 1)

    assert strange != issuer
    path = examine([leaf, strange], presenter="client", anchors=())
    assert [each.public_bytes(Encoding.DER) for each in path.certificates] == [leaf, strange]


def test_an_attacker_cannot_make_us_compare_names() -> None:
    """Names times subtrees: within 64 KiB a self-made authority could ask for 70 million."""
    limits = x509.NameConstraints(None, [x509.DNSName(f"{n}.test") for n in range(1_000)])
    root = Authority.root("an untrusted CA")
    tbs = with_extension(TBSCertificate.of(root.certificate), limits)
    root = replace(root, certificate=root.certify(tbs))
    credential = root.issue(Request.client(*(f"{n}.a.test" for n in range(1_000))))
    chain = [*credential.chain_der, root.certificate.public_bytes(Encoding.DER)]

    by_the_verifier = examine(chain, presenter="client", anchors=CLIENTS.trust.anchors)
    anchored = examine(chain, presenter="client", anchors=[root.certificate])

    assert "name-not-permitted" not in by_the_verifier.slugs
    assert anchored.anchored
    assert "name-not-permitted" not in anchored.slugs  # too many even then


def test_a_path_that_was_made_to_be_expensive_is_not_looked_at() -> None:
    credential = UNTRUSTED_CA.issue(Request.client(*(f"{n:060}.test" for n in range(1_200))))

    assert len(credential.chain_der[0]) > 64 * 1024
    assert examine(credential.chain_der, presenter="client", anchors=()) == CertificationPath()


def test_what_a_peer_made_us_quote_is_bounded_and_printable() -> None:
    credential = UNTRUSTED_CA.issue(Request.server(*(f"host-{n}.test" for n in range(500))))

    for fault in look(credential, "server", SERVERS.trust, reference="localhost").faults:
        assert len(fault.detail) <= 256
        assert fault.detail.isprintable()


# --- where a path ends ---------------------------------------------------------------------------

BOTH = ("unknown-authority", "missing-intermediate")
ROOT = Authority.root("a root")
ISSUING = ROOT.intermediate("an intermediate")
BELOW = ISSUING.issue(Request.client("a.test"))
ALONE = Credential(BELOW.key, BELOW.certificate)


def verified(credential: Credential, anchor: Authority, *others: Authority) -> CertificationPath:
    """A client's path, as a server sees it that knows these others."""
    known = [other.certificate for other in others]
    return look(credential, "client", anchor.trust, others=known)


@pytest.mark.parametrize(
    ("anchor", "others", "slugs"),
    [
        pytest.param(ROOT, [ISSUING], ("missing-intermediate",), id="leads to the anchor"),
        pytest.param(CLIENTS, [ISSUING, ROOT], BOTH, id="leads to an unknown CA"),
        pytest.param(CLIENTS, [ISSUING], BOTH, id="leads nowhere"),
        pytest.param(CLIENTS, [ROOT], BOTH[::-1], id="unknown, and an intermediate by its name"),
    ],
)
def test_a_link_that_is_known_here_is_followed_to_its_end(
    anchor: Authority, others: list[Authority], slugs: tuple[str, ...]
) -> None:
    assert verified(ALONE, anchor, *others).slugs == slugs


@pytest.mark.parametrize("renewed", [False, True], ids=["no other", "renewed"])
def test_a_link_that_was_not_sent_and_has_expired_is_two_faults(renewed: bool) -> None:
    """Sent as it is, it meets the second fault; a renewed one can be sent."""
    tbs = TBSCertificate.of(ISSUING.certificate)
    before = replace(
        tbs, not_after=tbs.not_before, not_before=tbs.not_before - EXPIRED["backdate"]
    )
    old = replace(ISSUING, certificate=ROOT.certify(before))

    known = [old, ISSUING] if renewed else [old]

    assert verified(ALONE, ROOT, *known).slugs == (
        ("missing-intermediate",) if renewed else ("missing-intermediate", "expired-authority")
    )


def naming_above(bearer: Credential, issuer: Authority) -> Credential:
    """The same, its issuer's issuer and serial number named: ``authorityKeyIdentifier=issuer``."""
    above = x509.DirectoryName(issuer.certificate.issuer)
    key = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())
    identifier = x509.AuthorityKeyIdentifier(
        key.key_identifier, [above], issuer.certificate.serial_number
    )
    tbs = with_extension(TBSCertificate.of(bearer.certificate), identifier)
    named = replace(tbs, issuer=issuer.certificate.subject)
    return Credential(bearer.key, issuer.certify(named))


@pytest.mark.parametrize(
    ("issuer", "anchor", "slugs"),
    [
        pytest.param(ISSUING, ROOT, tuple(reversed(BOTH)), id="an anchor is above"),
        pytest.param(ISSUING, CLIENTS, BOTH, id="another CA is above"),
        pytest.param(UNTRUSTED_CA, ROOT, ("unknown-authority",), id="a root"),
    ],
)
def test_an_issuer_whose_issuer_is_an_anchor_was_rather_left_out(
    issuer: Authority, anchor: Authority, slugs: tuple[str, ...]
) -> None:
    """Not certainly: any CA can name one of our anchors there."""
    assert verified(naming_above(ALONE, issuer), anchor).slugs == slugs


def test_a_presenter_sees_that_its_issuer_is_not_a_root() -> None:
    alone = naming_above(ALONE, ISSUING)

    assert look(alone, "client", None).slugs == ("missing-intermediate",)
    assert look(naming_above(ALONE, UNTRUSTED_CA), "client", None).slugs == ()


def test_a_root_that_is_known_here_and_is_not_an_anchor_is_untrusted() -> None:
    mine = UNTRUSTED_CA.issue(Request.client("a.test"))
    assert verified(mine, CLIENTS).slugs == BOTH
    assert verified(mine, CLIENTS, UNTRUSTED_CA).slugs == ("unknown-authority",)


def test_anchors_that_permit_no_authority_below_them_leave_no_link_to_be_missing() -> None:
    narrow = limited(CLIENTS, 0)
    assert verified(UNTRUSTED_CA.issue(Request.client("a.test")), narrow).slugs == (
        "unknown-authority",
    )
    assert (
        verified(UNTRUSTED_CA.issue(Request.client("a.test")), limited(CLIENTS, 1)).slugs == BOTH
    )
    below = Authority.root("x").intermediate().issue(Request.client("a.test"))
    assert verified(below, limited(CLIENTS, 1)).slugs == ("unknown-authority",)
    pinned = replace(CLIENTS, certificate=CLIENTS.issue(Request.client("b.test")).certificate)
    assert verified(UNTRUSTED_CA.issue(Request.client("a.test")), pinned).slugs == (
        "unknown-authority",
    )


def test_an_issuer_that_is_a_root_by_the_certificates_own_account_is_untrusted() -> None:
    """OpenSSL writes so with ``authorityKeyIdentifier = keyid,issuer:always``."""
    root = Authority.root("evil")
    issuer = root.certificate
    by_root = identified(root, issuer.issuer, issuer.serial_number)
    by_another = identified(root, CLIENTS.certificate.subject, 7)

    assert verified(by_root, CLIENTS).slugs == ("unknown-authority",)
    assert verified(by_root, root).anchored
    # To name one of our anchors is free: likelier, and not certain.
    assert verified(by_another, CLIENTS).slugs == tuple(reversed(BOTH))
    # Nor has this root, of another serial number, issued it (RFC 5280 §4.2.1.1).
    assert not verified(by_another, root).anchored


def test_an_own_path_is_followed_by_what_lies_beside() -> None:
    """What is presented comes first, then a root that ends it, then what was left out."""
    known = [ISSUING.certificate, ROOT.certificate]

    whole = look(BELOW, "client", None, others=known)
    short = look(ALONE, "client", None, others=known)
    unknown = look(ALONE, "client", None)

    assert (whole.is_complete, whole.omitted, whole.slugs) == (True, (), ())
    assert (short.is_complete, short.omitted) == (True, (ISSUING.certificate,))
    assert short.slugs == ("missing-intermediate",)
    assert (unknown.is_complete, unknown.omitted, unknown.slugs) == (False, (), ())


def test_an_authority_that_another_has_signed_for_too_leads_to_both() -> None:
    """In a change of roots the new one is certified by the old, for peers that know only that."""
    cross_signed = replace(
        UNTRUSTED_CA,
        certificate=ROOT.certify(issued_by(TBSCertificate.of(UNTRUSTED_CA.certificate), ROOT)),
    )
    mine = UNTRUSTED_CA.issue(Request.client("a.test"))

    assert look(mine, "client", None, others=[UNTRUSTED_CA.certificate]).is_complete
    others = [UNTRUSTED_CA.certificate, cross_signed.certificate]
    assert not look(mine, "client", None, others=others).is_complete
    assert verified(mine, ROOT, UNTRUSTED_CA, cross_signed).slugs == ("missing-intermediate",)


def test_an_intermediate_that_was_renewed_leads_to_the_same_place() -> None:
    again = ROOT.certify(TBSCertificate.of(ISSUING.certificate))
    known = [again, ISSUING.certificate, ROOT.certificate]

    for credential in (BELOW, ALONE):
        assert look(credential, "client", None, others=known).is_complete


def test_of_two_certificates_of_one_root_the_valid_one_counts() -> None:
    tbs = TBSCertificate.of(UNTRUSTED_CA.certificate)
    before = replace(
        tbs, not_after=tbs.not_before, not_before=tbs.not_before - EXPIRED["backdate"]
    )
    old = UNTRUSTED_CA.certify(before)
    mine = UNTRUSTED_CA.issue(Request.client("a.test"))

    assert look(mine, "client", None, others=[old]).slugs == ("expired-authority",)
    assert look(mine, "client", None, others=[old, UNTRUSTED_CA.certificate]).slugs == ()


def limited(authority: Authority, length: int) -> Authority:
    """The same authority, which permits so many others below it."""
    tbs = TBSCertificate.of(authority.certificate)
    permits = x509.BasicConstraints(ca=True, path_length=length)
    return replace(authority, certificate=authority.certify(with_extension(tbs, permits)))


def identified(authority: Authority, issuer: x509.Name, number: int) -> Credential:
    """A certificate whose authorityKeyIdentifier has all three of its fields."""
    own = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    whole = x509.AuthorityKeyIdentifier(own.value.digest, [x509.DirectoryName(issuer)], number)
    return authority.issue(Request.client("a.test"), alter=lambda tbs: with_extension(tbs, whole))


# --- CRLs ----------------------------------------------------------------------------------------


def test_an_intermediate_as_anchor_cannot_be_checked_whichever_crls_there_are() -> None:
    """OpenSSL asks for one from the issuer of every certificate, the anchor included."""
    trust = Trust((ISSUING.certificate,), (ISSUING.crl(),))

    (fault,) = look(BELOW, "client", trust).faults

    assert (fault.slug, fault.depth) == ("crl-missing", 1)
    assert fault.detail == (
        "“an intermediate” is a trust anchor and not a root: whether “a root” has revoked it"
        " cannot be checked"
    )
    both = replace(trust, crls=(*trust.crls, ROOT.crl()))
    assert look(BELOW, "client", both).faults == (fault,)


def test_of_two_that_are_revoked_openssl_meets_the_end_entity_first() -> None:
    root = Authority.root("a root")
    issuing = root.intermediate("an intermediate")
    below = issuing.issue(Request.client("a.test"))
    issuing.revoke(below)
    root.revoke(issuing.certificate)

    path = look(below, "client", Trust((root.certificate,), (root.crl(), issuing.crl())))

    assert path.slugs == ("revoked", "revoked-authority")


def test_crls_that_are_stale_early_or_forged_are_distinguished() -> None:
    now = datetime.datetime.now(datetime.UTC)
    credential, trust = CLIENTS.issue(Request.client("a.test")), CLIENTS.trust
    crl = CLIENTS.crl()
    forged = replace(Authority.root("clients"), certificate=CLIENTS.certificate).crl()

    def slugs(crl: x509.CertificateRevocationList, days: int = 0) -> tuple[str, ...]:
        when = now + datetime.timedelta(days=days)
        found = look(credential, "client", replace(trust, crls=(crl,)), now=when)
        return tuple(slug for slug in found.slugs if "crl" in slug or "sig" in slug)

    assert slugs(crl) == ()
    assert slugs(crl, days=20) == ("crl-expired",)
    assert slugs(crl, days=-1) == ("crl-not-yet-valid",)
    assert slugs(forged) == ("bad-signature",)
