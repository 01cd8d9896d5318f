"""The certificate profile, and that every verifier at hand accepts it."""

from __future__ import annotations

import ipaddress
import ssl
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import KeyType, Request, Usage
from mtls_echo_pki.certificates.tbs import TBSCertificate
from mtls_echo_pki.certificates.trust import Trust
from tests.support.pki import END_ENTITIES, handshake, reference, strict_contexts

EKU = {
    Usage.SERVER: ExtendedKeyUsageOID.SERVER_AUTH,
    Usage.CLIENT: ExtendedKeyUsageOID.CLIENT_AUTH,
}


@pytest.fixture(params=["root", "intermediate"])
def issuer(request: pytest.FixtureRequest) -> Authority:
    root = Authority.root()
    return root if request.param == "root" else root.intermediate()


def criticality(certificate: x509.Certificate) -> dict[x509.ObjectIdentifier, bool]:
    return {extension.oid: extension.critical for extension in certificate.extensions}


def key_usages(certificate: x509.Certificate) -> set[str]:
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    names = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
    )
    return {name for name in names if getattr(usage, name)}


@pytest.mark.parametrize("request_", END_ENTITIES)
def test_an_end_entity_carries_exactly_the_extensions_of_the_profile(
    issuer: Authority, request_: Request
) -> None:
    certificate = issuer.issue(request_).certificate
    extensions = certificate.extensions

    assert criticality(certificate) == {
        ExtensionOID.BASIC_CONSTRAINTS: True,
        ExtensionOID.KEY_USAGE: True,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER: False,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER: False,
        ExtensionOID.EXTENDED_KEY_USAGE: False,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME: not request_.subject,
    }
    assert not extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    is_rsa = isinstance(certificate.public_key(), rsa.RSAPublicKey)
    assert key_usages(certificate) == {"digital_signature"} | (
        {"key_encipherment"} if is_rsa else set()
    )
    usages = [*extensions.get_extension_for_class(x509.ExtendedKeyUsage).value]
    assert usages == [EKU[request_.usage]]
    above = issuer.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    identifier = extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value
    assert identifier == x509.AuthorityKeyIdentifier(above.value.digest, None, None)
    assert certificate.subject.rfc4514_string() == (request_.subject and f"CN={request_.subject}")
    assert 0 < certificate.serial_number < 1 << 159


def test_a_ca_carries_exactly_the_extensions_of_the_profile() -> None:
    root = Authority.root("above")
    intermediate = root.intermediate("below")

    for authority, path_length in ((root, None), (intermediate, 0)):
        certificate = authority.certificate
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        assert constraints.value == x509.BasicConstraints(ca=True, path_length=path_length)
        assert key_usages(certificate) == {"key_cert_sign", "crl_sign"}
    own = {
        ExtensionOID.BASIC_CONSTRAINTS: True,
        ExtensionOID.KEY_USAGE: True,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER: False,
    }
    assert criticality(root.certificate) == own
    assert criticality(intermediate.certificate) == own | {
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER: False
    }


@pytest.mark.parametrize(
    ("key_type", "key_class"),
    [
        (KeyType.P256, ec.EllipticCurvePrivateKey),
        (KeyType.P384, ec.EllipticCurvePrivateKey),
        (KeyType.ED25519, ed25519.Ed25519PrivateKey),
        (KeyType.RSA2048, rsa.RSAPrivateKey),
    ],
)
def test_any_type_of_key_can_sign_any_other(key_type: KeyType, key_class: type) -> None:
    root = Authority.root(key_type=key_type)

    assert isinstance(root.key, key_class)
    for other in KeyType:
        credential = root.issue(Request.server("a.test", key_type=other))
        credential.certificate.verify_directly_issued_by(root.certificate)


def test_the_chain_leads_to_the_root_and_leaves_it_out() -> None:
    root = Authority.root()
    intermediate = root.intermediate()

    assert root.issue("a.test").chain == ()
    assert intermediate.issue("a.test").chain == (intermediate.certificate,)
    assert root.trust == intermediate.trust == Trust((root.certificate,))


@pytest.mark.parametrize("request_", END_ENTITIES)
def test_a_strict_openssl_peer_accepts_it_in_a_real_handshake(
    issuer: Authority, request_: Request
) -> None:
    credential = issuer.issue(request_)
    if request_.usage is Usage.SERVER:
        pair = (credential, issuer.issue(Request.client("client.test")))
        host = reference(request_)
    else:
        pair, host = (issuer.issue("localhost"), credential), "localhost"

    handshake(*strict_contexts(pair[0], issuer.trust, pair[1], issuer.trust), host)


def test_a_strict_openssl_peer_refuses_a_server_as_client_and_the_reverse() -> None:
    authority = Authority.root()
    one, other = authority.issue("localhost"), authority.issue(Request.client("localhost"))

    with pytest.raises(ssl.SSLCertVerificationError) as refusal:
        handshake(*strict_contexts(other, authority.trust, other, authority.trust), "localhost")
    assert refusal.value.verify_code == 26  # X509_V_ERR_INVALID_PURPOSE
    with pytest.raises(ssl.SSLCertVerificationError) as refusal:
        handshake(*strict_contexts(one, authority.trust, one, authority.trust), "localhost")
    assert refusal.value.verify_code == 26


@pytest.mark.parametrize(
    "request_",
    # It holds host names to RFC 1123 and knows no underscore.
    [case for case in END_ENTITIES if case.id != "container server"],
)
def test_the_verifier_of_cryptography_accepts_it(issuer: Authority, request_: Request) -> None:
    _verify_with_cryptography(issuer.issue(request_), issuer.trust, request_)


def test_the_verifier_of_cryptography_refuses_an_unknown_ca() -> None:
    with pytest.raises(verification.VerificationError):
        _verify_with_cryptography(
            Authority.root().issue("a.test"), Authority.root().trust, Request.server("a.test")
        )


def _verify_with_cryptography(credential: Credential, trust: Trust, request: Request) -> None:
    policy = verification.PolicyBuilder().store(verification.Store([*trust.anchors]))
    chain = list(credential.chain)
    if request.usage is Usage.CLIENT:
        policy.build_client_verifier().verify(credential.certificate, chain)
        return
    host = reference(request)
    try:
        subject: verification.Subject = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        subject = x509.DNSName(host)
    policy.build_server_verifier(subject).verify(credential.certificate, chain)


@pytest.mark.parametrize("request_", END_ENTITIES)
def test_the_openssl_command_accepts_it_strictly(
    issuer: Authority, request_: Request, tmp_path: Path
) -> None:
    result = _openssl_verify(issuer.issue(request_), issuer.trust, request_.usage, tmp_path)

    assert result.returncode == 0, result.stderr


def test_the_openssl_command_refuses_the_wrong_purpose(tmp_path: Path) -> None:
    authority = Authority.root()

    result = _openssl_verify(authority.issue("a.test"), authority.trust, Usage.CLIENT, tmp_path)

    assert "error 26" in result.stderr


def _openssl_verify(
    credential: Credential, trust: Trust, usage: Usage, folder: Path
) -> subprocess.CompletedProcess[str]:
    (folder / "ca.crt").write_bytes(trust.pem)
    (folder / "tls.crt").write_bytes(credential.certificate_pem)
    return subprocess.run(
        (
            f"openssl verify -x509_strict -no-CApath -no-CAstore -purpose ssl{usage.value} "
            "-CAfile ca.crt -untrusted tls.crt tls.crt"
        ).split(),
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_validity_is_counted_from_an_injected_clock() -> None:
    noon = datetime(2030, 1, 1, 12, tzinfo=UTC)
    authority = Authority.root(clock=lambda: noon)

    certificate = authority.issue(
        Request.server("a.test", lifetime=timedelta(hours=1))
    ).certificate

    assert certificate.not_valid_before_utc == noon - timedelta(minutes=5)
    assert certificate.not_valid_after_utc == noon + timedelta(hours=1)
    assert authority.certificate.not_valid_after_utc == noon + timedelta(days=3650)


def test_expired_and_not_yet_valid_certificates_are_requests_like_any_other() -> None:
    authority = Authority.root()
    day = timedelta(days=1)
    now = datetime.now(UTC)

    expired = authority.issue(
        Request.server("a.test", backdate=2 * day, lifetime=-day)
    ).certificate
    early = authority.issue(Request.server("a.test", backdate=-day, lifetime=2 * day)).certificate

    assert expired.not_valid_after_utc < now < early.not_valid_before_utc


def test_nothing_outlives_its_ca() -> None:
    authority = Authority.root(lifetime=timedelta(days=10))

    authority.issue(Request.server("a.test", lifetime=timedelta(days=10) - timedelta(minutes=1)))
    with pytest.raises(ValueError, match=r"outlive its CA, which expires on 2\d{3}-\S+ \S+ UTC;"):
        authority.issue(Request.server("a.test", lifetime=timedelta(days=11)))
    with pytest.raises(ValueError, match="outlive"):
        authority.intermediate()


def test_an_intermediate_certifies_end_entities_only() -> None:
    with pytest.raises(ValueError, match="pathlen 0"):
        Authority.root().intermediate().intermediate()


def test_identities_may_be_given_without_a_request_but_not_beside_one() -> None:
    authority = Authority.root()
    issued = authority.issue("a.test", "::1").certificate
    names = issued.extensions.get_extension_for_class(x509.SubjectAlternativeName).value

    assert names == Request.server("a.test", "::1").subject_alternative_names()
    with pytest.raises(ValueError, match="put all identities into the request"):
        authority.issue(Request.server("a.test"), "b.test")


def test_what_is_signed_can_be_altered_in_one_field_at_the_last_moment() -> None:
    authority = Authority.root()
    request = Request.server("a.test", subject="a")
    seen: list[TBSCertificate] = []

    def without_usage(tbs: TBSCertificate) -> TBSCertificate:
        seen.append(tbs)
        kept = tuple(e for e in tbs.extensions if e.oid != ExtensionOID.EXTENDED_KEY_USAGE)
        return replace(tbs, serial_number=7, extensions=kept)

    certificate = authority.issue(request, alter=without_usage).certificate

    assert certificate.serial_number == 7
    good = authority.issue(request).certificate
    difference = {*criticality(good)} ^ {*criticality(certificate)}
    assert difference == {ExtensionOID.EXTENDED_KEY_USAGE}
    assert certificate.subject == good.subject == seen[0].subject


def test_a_ca_survives_being_stored() -> None:
    for authority in (Authority.root(), Authority.root().intermediate()):
        restored = Authority.from_pem(authority.certificate_pem, authority.key_pem)

        assert restored == authority
        credential = restored.issue("localhost")
        assert credential.chain == authority.chain
        handshake(
            *strict_contexts(
                credential,
                authority.trust,
                restored.issue(Request.client("a.test")),
                restored.trust,
            ),
            "localhost",
        )


def test_a_ca_is_not_restored_without_its_root() -> None:
    intermediate = Authority.root().intermediate()
    alone = replace(intermediate, issuers=())

    with pytest.raises(ValueError, match="end with its root"):
        Authority.from_pem(alone.certificate_pem, alone.key_pem)


def test_no_representation_shows_a_key() -> None:
    authority = Authority.root()

    assert "key" not in repr(authority).lower()
    assert "key" not in repr(authority.issue("a.test")).lower()
