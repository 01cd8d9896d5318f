"""A CA whose key has signed is never taken for another one because names or identifiers differ."""

from __future__ import annotations

import ssl
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID, NameOID

from mtls_echo_client.context import client_context
from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import KeyType, Request
from mtls_echo_pki.certificates.tbs import TBSCertificate
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_pki.flaws.baseline import with_extension
from mtls_echo_server.context import server_context
from mtls_echo_tls.diagnosis.joint import join_reports
from mtls_echo_tls.diagnosis.report import Report
from mtls_echo_tls.path.tampering import is_signed_by
from mtls_echo_tls.path.validate import examine
from tests.support.authorities import SERVERS
from tests.support.tls import LOCALHOST, both_versions, reports, tls_pair

ROOT = Authority.root("Field CA")
ALICE = ROOT.issue(Request.client("alice.test"))


def with_identifier(authority: Authority, identifier: bytes) -> Authority:
    """The same name and key, and another subjectKeyIdentifier."""
    tbs = with_extension(
        TBSCertificate.of(authority.certificate), x509.SubjectKeyIdentifier(identifier)
    )
    return replace(authority, certificate=authority.certify(tbs))


def renamed(authority: Authority, name: str) -> Authority:
    """The same key under another name."""
    other = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    tbs = replace(TBSCertificate.of(authority.certificate), subject=other, issuer=other)
    return replace(authority, certificate=authority.certify(tbs))


def without_identifiers(authority: Authority, certificate: x509.Certificate) -> x509.Certificate:
    tbs = TBSCertificate.of(certificate)
    identifiers = (ExtensionOID.SUBJECT_KEY_IDENTIFIER, ExtensionOID.AUTHORITY_KEY_IDENTIFIER)
    kept = tuple(each for each in tbs.extensions if each.oid not in identifiers)
    return authority.certify(replace(tbs, extensions=kept))


MARKED_OTHERWISE = with_identifier(ROOT, bytes(20))


async def met(
    bearer: Credential, trust: Trust, version: ssl.TLSVersion, *known: x509.Certificate
) -> tuple[Report, Report]:
    """The reports of a client with this credential, which knows these CAs, and of a server."""
    one = client_context(Trust((*SERVERS.trust.anchors, *known)), bearer)
    one.minimum_version = one.maximum_version = version
    return await reports(*tls_pair(one, server_context(LOCALHOST, trust)))


@both_versions
async def test_differing_identifiers_are_told_and_no_other_key_is_supposed(
    version: ssl.TLSVersion,
) -> None:
    refused, verifier = await met(
        ALICE, MARKED_OTHERWISE.trust, version, MARKED_OTHERWISE.certificate
    )

    assert verifier.verify_code == 20
    assert verifier.causes == ["not-conforming"]
    assert verifier.faults[0].variant == "identifiers-differ"
    assert "00:00" in verifier.faults[0].detail
    assert "signed by the key of its CA, “Field CA”" in verifier.summary
    assert "subjectKeyIdentifier of “Field CA” copied" in verifier.remedy
    # The server may have another certificate of that CA than the one beside ours.
    assert refused.causes[0] == "not-conforming"
    assert "unknown-authority" in refused.causes
    assert refused.remedy.startswith("have our certificate reissued with")
    account = join_reports(refused, verifier)
    assert account.causes == ("not-conforming",)
    assert "signed by the key of its CA" in account.summary


@both_versions
async def test_reissued_as_the_hint_says_it_is_accepted(version: ssl.TLSVersion) -> None:
    reissued = MARKED_OTHERWISE.issue(Request.client("alice.test"))

    refused, verifier = await met(reissued, MARKED_OTHERWISE.trust, version)

    assert refused.outcome == verifier.outcome == "echoed"


@both_versions
async def test_a_ca_with_the_same_key_under_another_name_is_noticed(
    version: ssl.TLSVersion,
) -> None:
    _, verifier = await met(ALICE, renamed(ROOT, "Field CA 2027").trust, version)

    # One with the old name may also have been certified by the new one, and not been sent.
    assert verifier.causes == ["unknown-authority", "missing-intermediate"]
    assert "though one of them has the key that signed it" in verifier.summary
    found = [fact.value for fact in verifier.evidence if fact.fact == "found"]
    assert found == [
        "it was issued under the name “Field CA”, by the key of the trust anchor “Field CA 2027”"
    ]


async def test_the_certificate_of_the_old_name_among_the_anchors_repairs_it() -> None:
    trust = Trust((renamed(ROOT, "Field CA 2027").certificate, ROOT.certificate))

    refused, _ = await met(ALICE, trust, ssl.TLSVersion.TLSv1_3)

    assert refused.outcome == "echoed"


@pytest.mark.parametrize("first", [True, False])
@both_versions
async def test_nothing_tells_namesakes_without_identifiers_apart(
    version: ssl.TLSVersion, first: bool
) -> None:
    other = Authority.root("Field CA")
    anchors = [without_identifiers(ca, ca.certificate) for ca in (ROOT, other)]
    bearer = replace(ALICE, certificate=without_identifiers(ROOT, ALICE.certificate))

    trust = Trust(tuple(anchors if first else anchors[::-1]))
    refused, verifier = await met(bearer, trust, version)

    assert verifier.causes == ["missing-key-identifier"]
    assert "missing-key-identifier" in refused.causes
    assert "nothing tells them apart" in verifier.summary
    assert any("2 trust anchors are called “Field CA”" in f.detail for f in verifier.faults)


def test_another_key_is_only_told_where_the_signature_fails() -> None:
    """An impostor that has the name and another key."""
    impostor = Authority.root("Field CA")
    bearer = impostor.issue(Request.client("alice.test"))

    path = examine(bearer.chain_der, presenter="client", anchors=[ROOT.certificate])

    assert path.slugs == ("impostor-authority",)


def test_of_two_with_the_name_the_one_that_is_meant_counts() -> None:
    """By its identifier ours is meant; the CA that was sent along has signed."""
    other = Authority.root("Field CA")
    fake = other.certify(TBSCertificate.of(ALICE.certificate))
    chain = [c.public_bytes(Encoding.DER) for c in (fake, other.certificate)]

    path = examine(chain, presenter="client", anchors=[ROOT.certificate])

    assert path.slugs == ("impostor-authority",)


@pytest.mark.parametrize("kind", KeyType)
def test_a_key_of_another_kind_has_not_signed(kind: KeyType) -> None:
    signer = Authority.root(key_type=kind)
    certificate = signer.issue(Request.client("a.test")).certificate

    verdicts = {
        other: is_signed_by(certificate, Authority.root(key_type=other).certificate)
        for other in KeyType
    }

    assert is_signed_by(certificate, signer.certificate) is True
    assert set(verdicts.values()) == {False}
