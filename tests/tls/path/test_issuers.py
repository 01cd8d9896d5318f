"""A certificate's issuer that was not sent: root or intermediate, and what that makes likelier."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import AuthorityInformationAccessOID as Method

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.tbs import TBSCertificate
from mtls_echo_pki.flaws.baseline import with_extension
from mtls_echo_tls.diagnosis.diagnose import diagnose
from mtls_echo_tls.diagnosis.evidence import Evidence
from mtls_echo_tls.diagnosis.report import Report
from mtls_echo_tls.path.issuers import why_intermediate
from mtls_echo_tls.path.validate import CertificationPath, examine
from mtls_echo_tls.trace.recorder import Recorder
from mtls_echo_tls.trace.shown import AlertSeen
from tests.support.authorities import CLIENTS
from tests.tls.stacks.test_request import THEIRS, naming

CA = Authority.root("Acme CA")
ALONE = CA.issue(Request.client("alice.test"))
UNLIKE = ("unknown-authority", "missing-intermediate")
LIKELY = UNLIKE[::-1]


def by(name: str, credential: Credential = ALONE) -> Credential:
    """The same certificate, by a CA with this name."""
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    tbs = replace(TBSCertificate.of(credential.certificate), issuer=issuer)
    return Credential(credential.key, CA.certify(tbs))


def with_place(*places: tuple[x509.ObjectIdentifier, str], name: str = "Acme CA") -> Credential:
    access = x509.AuthorityInformationAccess(
        x509.AccessDescription(method, x509.UniformResourceIdentifier(url))
        for method, url in places
    )
    tbs = with_extension(TBSCertificate.of(by(name).certificate), access)
    return Credential(ALONE.key, CA.certify(tbs))


@pytest.mark.parametrize(
    "name",
    [
        "Acme Intermediate CA",
        "Acme Intermediate Authority",
        "Acme Local Authority - ECC Intermediate",
        "intermediate-ca",
        "IntermediateCA",
        "AC Intermédiaire 2",
        "Acme Interm. CA",
        "Zwischenzertifizierungsstelle 1",
        "Contoso Issuing CA 01",
        "ACME-ISSUING-CA",
        "Acme Subordinate CA",
        "Acme Sub-CA",
        "SubCA1",
        "sub_ca",
        "Acme TLS Signing CA",
        "IntCA",
    ],
)
def test_a_name_says_that_a_ca_is_an_intermediate(name: str) -> None:
    assert why_intermediate(by(name).certificate) == "by its name it is an intermediate"


@pytest.mark.parametrize(
    "name",
    [
        "Acme CA",
        "Easy-RSA CA",
        "kubernetes",
        "Acme Root CA",
        "AcmeRootCA",
        "Acme Issuing CA Root",
        "ISRG Root X1",
        "Acme Subsidiary CA",
        "Internal CA",
        "International CA",
        "Intermountain Health CA",
        "Reissuing Department",
        "Acme Self-Signing CA",
    ],
)
def test_other_names_say_nothing(name: str) -> None:
    assert why_intermediate(by(name).certificate) == ""


def test_an_address_of_the_issuers_certificate_is_one_for_verifiers_that_miss_it() -> None:
    issuers, ocsp = Method.CA_ISSUERS, Method.OCSP

    assert why_intermediate(with_place((issuers, "http://ca.test/R3.cer")).certificate)
    assert why_intermediate(with_place((issuers, "HTTPS://ca.test/R3.cer")).certificate)
    assert not why_intermediate(with_place((ocsp, "http://ca.test/")).certificate)
    assert not why_intermediate(with_place((issuers, "ldap:///CN=A,CN=AIA")).certificate)
    root = with_place((issuers, "http://ca.test/root.cer"), name="Acme Root CA")
    assert not why_intermediate(root.certificate)


def test_where_the_key_identifier_tells_no_name_is_asked() -> None:
    tbs = TBSCertificate.of(by("Issuing CA").certificate)
    names = [x509.DirectoryName(tbs.issuer)]
    identifier = x509.AuthorityKeyIdentifier(b"\1" * 20, names, 1)

    assert why_intermediate(CA.certify(tbs))
    assert why_intermediate(CA.certify(with_extension(tbs, identifier))) == ""
    assert why_intermediate(Authority.root("Issuing CA").certificate) == ""


# --- what it makes likelier, at either end -------------------------------------------------------


def judged(credential: Credential) -> CertificationPath:
    return examine(credential.chain_der, presenter="client", anchors=CLIENTS.trust.anchors)


def refused(
    credential: Credential,
    alert: int = 48,
    *,
    recorder: Recorder | None = None,
    beside: tuple[Authority, ...] = (),
    **more: object,
) -> Report:
    """Our report of a certificate that was presented alone, or with these, and refused."""
    evidence = Evidence(
        "client",
        stage="first-read",
        failed=True,
        hello_answered=True,
        is_tls13=True,
        alert=AlertSeen(alert, sent=False, protected=True),
        own_chain=(
            *credential.chain_der,
            *(one.certificate.public_bytes(Encoding.DER) for one in beside),
        ),
        client_random="00" * 32,
        certificate_requested=True,
        recorder=recorder or Recorder(),
        **more,  # type: ignore[arg-type]  # a test's shorthand
    )
    return diagnose(evidence)


FETCHED = with_place((Method.CA_ISSUERS, "http://ca.test/R3.cer"))
RANKED = [
    pytest.param(by("Acme Issuing CA"), LIKELY, id="an intermediate"),
    pytest.param(FETCHED, LIKELY, id="to be fetched"),
    pytest.param(ALONE, UNLIKE, id="nothing"),
    pytest.param(by("Acme Root CA"), UNLIKE, id="a root"),
]


@pytest.mark.parametrize(("credential", "causes"), RANKED)
def test_the_verifier_names_both_causes_the_likelier_first(
    credential: Credential, causes: tuple[str, ...]
) -> None:
    path = judged(credential)

    assert path.slugs == causes
    assert len({fault.detail for fault in path.faults}) == 1


@pytest.mark.parametrize("peer_is_openssl", [True, False])
@pytest.mark.parametrize(("credential", "causes"), RANKED)
def test_the_presenter_does_so_too_and_rules_nothing_out(
    credential: Credential, causes: tuple[str, ...], peer_is_openssl: bool
) -> None:
    report = refused(credential, peer_is_openssl=peer_is_openssl)

    assert tuple(report.causes[:2]) == causes
    assert "impostor-authority" in report.causes
    assert report.faults == []
    told = [fact.value for fact in report.evidence if fact.fact == "its issuer"]
    assert len(told) == (causes == LIKELY)


def test_a_server_seldom_names_intermediates_that_it_would_accept() -> None:
    listed = naming(CLIENTS)

    assert tuple(refused(by("Issuing CA"), recorder=listed).causes[:2]) == LIKELY
    assert tuple(refused(by("Acme CA"), recorder=listed).causes[:2]) == UNLIKE


def test_what_the_alert_says_first_stays_first() -> None:
    """Java's alert for everything: what a CA may be called comes behind what is provably wrong."""
    expired = replace(
        TBSCertificate.of(ALONE.certificate), not_after=ALONE.certificate.not_valid_before_utc
    )
    old = by("Issuing CA", Credential(ALONE.key, CA.certify(expired)))

    assert tuple(refused(old, 46, peer_stacks=frozenset({"Java"})).causes[:3]) == (
        "expired",
        *LIKELY,
    )


def test_an_issuer_that_was_sent_is_not_missing_whatever_it_is_called() -> None:
    root = Authority.root("Issuing CA")
    report = refused(root.issue(Request.client("alice.test")), beside=(root,))

    assert report.causes[0] == "unknown-authority"
    assert "missing-intermediate" not in report.causes


def test_a_clean_close_may_be_for_a_certificate_of_none_of_the_listed_cas() -> None:
    """As HAProxy's ``tcp-request content reject`` has it, behind ``verify optional``."""

    def closed(listed: Authority) -> Report:
        return diagnose(
            Evidence(
                "client",
                "localhost",
                stage="established",
                failed=True,
                close_notify=True,
                unused=True,
                closed_early="before it had answered",
                purpose="http",
                version="TLSv1.3",
                own_chain=ALONE.chain_der,
                certificate_requested=True,
                recorder=naming(listed),
            )
        )

    theirs, ours = closed(THEIRS), closed(CA)

    assert theirs.causes[0] == "unknown-authority"
    assert theirs.causes[-1] == "closed-without-alert"
    began = "the server closed the connection before it had answered"
    assert theirs.summary.startswith(f"{began}, perhaps because our certificate was issued by")
    assert (ours.causes, ours.summary) == (["closed-without-alert"], began)
