"""CRLs: which one applies to a certificate, and what is found in it or in its absence."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from mtls_echo_client.context import client_context
from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_server.context import server_context
from mtls_echo_tls.diagnosis.joint import join_reports
from mtls_echo_tls.diagnosis.report import Report
from mtls_echo_tls.path.crl import (
    applicable_crl,
    issued_by,
    issuer_of,
    revocation_faults,
    sort_key,
)
from tests.support.authorities import SERVERS
from tests.support.tls import LOCALHOST, both_versions, reports, tls_pair

NOW = datetime.now(UTC)
ROOT = Authority.root("clients")
ISSUING = ROOT.intermediate("issuing")
ALICE = ISSUING.issue(Request.client("alice.test"))
PATH = (ALICE.certificate, ISSUING.certificate, ROOT.certificate)
OLD = Authority(ROOT.certificate, ROOT.key, clock=lambda: NOW - timedelta(days=9)).crl()
FIRST, SECOND = ROOT.crl(), ROOT.crl()
OF_ISSUING = ISSUING.crl()


def test_a_list_speaks_for_its_authority_and_not_for_one_called_the_same() -> None:
    same_name = Authority.root("clients")

    assert issued_by(issuer_of(FIRST), ROOT.certificate)
    assert not issued_by(issuer_of(FIRST), ISSUING.certificate)
    assert not issued_by(issuer_of(FIRST), same_name.certificate)


def test_a_certificate_is_looked_for_in_the_newest_valid_list_of_its_issuer() -> None:
    coming = Authority(ROOT.certificate, ROOT.key, clock=lambda: NOW + timedelta(days=9)).crl()
    same_names = Authority.root("clients").crl()
    leaf, issuing, root = PATH

    assert sort_key(OLD) < sort_key(FIRST) < sort_key(SECOND) < sort_key(coming)
    for crls, expected in (
        ((SECOND, coming, OLD, OF_ISSUING, FIRST), SECOND),
        ((OLD, OF_ISSUING), OLD),
        ((same_names, OF_ISSUING), None),
        ((), None),
    ):
        assert applicable_crl(issuing, root, crls, NOW) is expected
    assert applicable_crl(leaf, issuing, (SECOND, OF_ISSUING), NOW) is OF_ISSUING
    # With an unknown key above it, the name has to do.
    assert applicable_crl(issuing, None, (same_names,), NOW) is same_names


def test_every_certificate_of_a_path_needs_a_valid_list_of_its_issuer() -> None:
    def found(*crls: x509.CertificateRevocationList) -> list[tuple[str, int]]:
        return [(fault.slug, fault.depth) for fault in revocation_faults(PATH, crls, NOW)]

    assert found() == []  # without lists nothing is checked
    assert found(SECOND, OF_ISSUING) == []
    assert found(SECOND) == [("crl-missing", 0)]
    assert found(OF_ISSUING) == [("crl-missing", 1), ("crl-missing", 2)]
    assert found(OLD, OF_ISSUING) == [("crl-expired", 1), ("crl-expired", 2)]
    assert found(OLD, FIRST, OF_ISSUING) == []
    assert found(Authority.root("clients").crl(), OF_ISSUING) == [
        ("crl-missing", 1),
        ("crl-missing", 2),
    ]


@both_versions
@pytest.mark.parametrize("listed", [(ISSUING,), (ISSUING, ROOT)])
@pytest.mark.parametrize("anchors", [(ISSUING,), (ISSUING, ROOT)])
async def test_openssl_cannot_check_an_anchor_that_is_not_a_root(
    anchors: tuple[Authority, ...], listed: tuple[Authority, ...], version: ssl.TLSVersion
) -> None:
    trust = Trust(
        tuple(ca.certificate for ca in anchors), tuple(authority.crl() for authority in listed)
    )

    refused, verifier = await met(ALICE, trust, version)

    assert verifier.verify_code == 3
    assert verifier.causes == ["crl-missing"]
    assert "our trust anchor “issuing” is not a root" in verifier.summary
    assert "the certificate of “clients” as trust anchor in place of that" in verifier.remedy
    assert "crl-missing" in refused.causes
    assert join_reports(refused, verifier).causes == ("crl-missing",)


async def test_with_the_root_as_anchor_as_the_hint_says_it_works() -> None:
    trust = Trust((ROOT.certificate,), (ISSUING.crl(), ROOT.crl()))
    refused, _ = await met(ALICE, trust, ssl.TLSVersion.TLSv1_3)

    assert refused.outcome == "echoed"


async def met(bearer: Credential, trust: Trust, version: ssl.TLSVersion) -> tuple[Report, Report]:
    one = client_context(SERVERS.trust, bearer)
    one.minimum_version = one.maximum_version = version
    return await reports(*tls_pair(one, server_context(LOCALHOST, trust)))
