"""CRLs: which one applies to a certificate, and what is found in it or in its absence."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.request import Request
from mtls_echo_tls.path.crl import (
    applicable_crl,
    issued_by,
    issuer_of,
    revocation_faults,
    sort_key,
)

NOW = datetime.now(UTC)
ROOT = Authority.root("clients")
ISSUING = ROOT.intermediate("issuing")
ALICE = ISSUING.issue(Request.client("alice.test"))
PATH = (ALICE.certificate, ISSUING.certificate, ROOT.certificate)
OLD = Authority(ROOT.certificate, ROOT.key, clock=lambda: NOW - timedelta(days=9)).crl()
FIRST, SECOND = ROOT.crl(), ROOT.crl()
OF_ISSUING = ISSUING.crl()


def test_a_list_speaks_for_its_authority_and_not_for_one_called_the_same() -> None:
    namesake = Authority.root("clients")

    assert issued_by(issuer_of(FIRST), ROOT.certificate)
    assert not issued_by(issuer_of(FIRST), ISSUING.certificate)
    assert not issued_by(issuer_of(FIRST), namesake.certificate)


def test_a_certificate_is_looked_for_in_the_newest_valid_list_of_its_issuer() -> None:
    coming = Authority(ROOT.certificate, ROOT.key, clock=lambda: NOW + timedelta(days=9)).crl()
    namesakes = Authority.root("clients").crl()
    leaf, issuing, root = PATH

    assert sort_key(OLD) < sort_key(FIRST) < sort_key(SECOND) < sort_key(coming)
    for crls, expected in (
        ((SECOND, coming, OLD, OF_ISSUING, FIRST), SECOND),
        ((OLD, OF_ISSUING), OLD),
        ((namesakes, OF_ISSUING), None),
        ((), None),
    ):
        assert applicable_crl(issuing, root, crls, NOW) is expected
    assert applicable_crl(leaf, issuing, (SECOND, OF_ISSUING), NOW) is OF_ISSUING
    # With an unknown key above it, the name has to do.
    assert applicable_crl(issuing, None, (namesakes,), NOW) is namesakes


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
