"""Rules of RFC 5280 that people break unawares: both ends name rule and certificate."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import replace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID

from mtls_echo_client.context import client_context
from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.der import SEQUENCE, elements, encode, first
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.tbs import TBSCertificate
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_pki.flaws.baseline import issued_by
from mtls_echo_server.context import server_context
from mtls_echo_tls.diagnosis.joint import join_reports
from mtls_echo_tls.diagnosis.report import Report
from mtls_echo_tls.path.validate import examine
from tests.support.authorities import CLIENTS, SERVERS
from tests.support.tls import ALICE, LOCALHOST, both_versions, reports, tls_pair

ROOT = Authority.root("Root")


def with_critical(
    authority: Authority, certificate: x509.Certificate, oid: x509.ObjectIdentifier
) -> x509.Certificate:
    """The same with one extension marked critical."""
    tbs = TBSCertificate.of(certificate)
    altered = tuple(
        x509.Extension(each.oid, each.oid == oid or each.critical, each.value)
        for each in tbs.extensions
    )
    return authority.certify(replace(tbs, extensions=altered))


def without(
    authority: Authority, certificate: x509.Certificate, oid: x509.ObjectIdentifier
) -> x509.Certificate:
    tbs = TBSCertificate.of(certificate)
    kept = tuple(each for each in tbs.extensions if each.oid != oid)
    return authority.certify(replace(tbs, extensions=kept))


async def met(bearer: Credential, trust: Trust, version: ssl.TLSVersion) -> tuple[Report, Report]:
    one = client_context(SERVERS.trust, bearer)
    one.minimum_version = one.maximum_version = version
    return await reports(*tls_pair(one, server_context(LOCALHOST, trust)))


@both_versions
@pytest.mark.parametrize(
    ("oid", "name"),
    [
        (ExtensionOID.SUBJECT_KEY_IDENTIFIER, "subjectKeyIdentifier"),
        (ExtensionOID.AUTHORITY_KEY_IDENTIFIER, "authorityKeyIdentifier"),
    ],
)
async def test_a_critical_key_identifier_is_told_alike_by_both_ends(
    version: ssl.TLSVersion, oid: x509.ObjectIdentifier, name: str
) -> None:
    bearer = replace(ALICE, certificate=with_critical(CLIENTS, ALICE.certificate, oid))

    refused, verifier = await met(bearer, CLIENTS.trust, version)

    assert verifier.verify_code == 34
    assert refused.causes == verifier.causes == ["not-conforming"]
    for report in (refused, verifier):
        assert f"breaks a rule of RFC 5280: {name} is critical" in report.summary
        assert f"reissued with {name} not marked critical" in report.remedy


@both_versions
async def test_the_intermediate_that_breaks_a_rule_is_named_by_both_ends(
    version: ssl.TLSVersion,
) -> None:
    issuing = ROOT.intermediate("Issuing CA 2")
    bearer = issuing.issue(Request.client("alice.test"))
    bad = without(ROOT, issuing.certificate, ExtensionOID.AUTHORITY_KEY_IDENTIFIER)

    refused, verifier = await met(replace(bearer, chain=(bad,)), ROOT.trust, version)

    account = join_reports(refused, verifier)
    assert verifier.causes == [*account.causes] == ["missing-key-identifier"]
    # Whether the verifier is strict, and there is nothing else, the refused end cannot know.
    assert refused.causes[0] == "missing-key-identifier"
    assert len(refused.causes) > 1
    for text in (refused.summary, verifier.summary, account.summary):
        assert "the intermediate “Issuing CA 2”, above " in text
    for text in (refused.remedy, verifier.remedy, *account.remedies.values()):
        assert "have the intermediate “Issuing CA 2” reissued by “Root” with authorityKey" in text


async def test_a_name_of_an_intermediate_is_escaped_where_it_is_shown() -> None:
    issuing = ROOT.intermediate("{its}\x1b[31m\n")
    bearer = issuing.issue(Request.client("alice.test"))
    bad = without(ROOT, issuing.certificate, ExtensionOID.AUTHORITY_KEY_IDENTIFIER)

    _, verifier = await met(replace(bearer, chain=(bad,)), ROOT.trust, ssl.TLSVersion.TLSv1_3)

    for text in (verifier.summary, verifier.remedy):
        assert "“{its}\\x1b[31m\\n”" in text
        assert text.isprintable()


# --- what no builder makes -----------------------------------------------------------------------

VERSION_1, LIMITED, EXPLICIT = "version 1", "pathLenConstraint", "curve"
P256_PARAMETERS = subprocess.run(
    ["openssl", "ecparam", "-name", "P-256", "-param_enc", "explicit", "-outform", "DER"],
    check=True,
    capture_output=True,
).stdout


def altered(rule: str, credential: Credential) -> Credential:
    """The same, signed by the same CA, with one part that breaks the rule."""
    outer = [*elements(first(credential.certificate.public_bytes(Encoding.DER)).contents)]
    parts = [part.der for part in elements(outer[0].contents)]
    if rule == VERSION_1:
        parts = parts[1:]
    elif rule == LIMITED:
        unlimited = bytes.fromhex("0603551d130101ff04023000")
        limited = bytes.fromhex("0603551d130101ff04053003020100")
        assert unlimited in parts[-1]
        extensions = [
            encode(SEQUENCE, each.contents.replace(unlimited, limited))
            for each in elements(first(first(parts[-1]).contents).contents)
        ]
        parts[-1] = encode(0xA3, encode(SEQUENCE, b"".join(extensions)))
    else:
        key = [*elements(first(parts[6]).contents)]
        kind = next(elements(key[0].contents))
        algorithm = encode(SEQUENCE, kind.der + P256_PARAMETERS)
        parts[6] = encode(SEQUENCE, algorithm + key[1].der)
    tbs = encode(SEQUENCE, b"".join(parts))
    assert isinstance(CLIENTS.key, ec.EllipticCurvePrivateKey)
    signature = encode(0x03, b"\0" + CLIENTS.key.sign(tbs, ec.ECDSA(SHA256())))
    made = x509.load_der_x509_certificate(encode(SEQUENCE, tbs + outer[1].der + signature))
    return replace(credential, certificate=made)


@both_versions
@pytest.mark.parametrize(
    ("rule", "code", "fix"),
    [
        (VERSION_1, 93, "as version 3"),
        (LIMITED, 80, "without pathLenConstraint"),
        (EXPLICIT, 94, "for a key with a named curve"),
    ],
)
async def test_a_rule_that_only_the_der_shows_is_told_by_both_ends(
    version: ssl.TLSVersion, rule: str, code: int, fix: str
) -> None:
    refused, verifier = await met(altered(rule, ALICE), CLIENTS.trust, version)

    assert verifier.verify_code == code
    assert verifier.causes == [*join_reports(refused, verifier).causes] == ["not-conforming"]
    assert refused.causes[0] == "not-conforming"
    # Whether the verifier is strict, and there is nothing else, the refused end cannot know.
    assert (len(refused.causes) > 1) is (rule != EXPLICIT)
    # To which no lenient verification would help.
    assert ("strict" in verifier.remedy) is ("strict" in verifier.summary) is (rule != EXPLICIT)
    for report in (refused, verifier):
        assert rule in report.summary
        assert fix in report.remedy


async def test_the_same_without_an_alteration_is_accepted() -> None:
    refused, _ = await met(ALICE, CLIENTS.trust, ssl.TLSVersion.TLSv1_3)

    assert refused.outcome == "echoed"


def test_a_chain_beyond_openssls_bound_is_said_to_be_so_and_nothing_is_missing() -> None:
    above = Authority.root("Deep Root")
    chain = [above.certificate]
    for number in range(104):
        made = Authority.root(f"Sub {number}")
        tbs = issued_by(TBSCertificate.of(made.certificate), above)
        above = replace(made, certificate=above.certify(tbs))
        chain.insert(0, above.certificate)
    bearer = above.issue(Request.client("a.test"))
    ders = [c.public_bytes(Encoding.DER) for c in (bearer.certificate, *chain)]

    path = examine(ders, presenter="client", anchors=[chain[-1]])

    assert path.slugs == ("path-too-long",)
    many = [*ders[:1], ders[1], *ders[-1:] * 103]
    short = examine(many, presenter="client", anchors=[x509.load_der_x509_certificate(ders[1])])
    assert short.faults == ()  # OpenSSL leaves out what is not on the path
    assert path.faults[0].detail == "106 certificates were sent; OpenSSL follows 100"


async def test_a_hint_names_everything_that_the_new_certificate_must_have() -> None:
    """Made anew by one rule only, it would be refused again by the other."""
    tbs = TBSCertificate.of(ROOT.certificate)
    lax = tuple(
        x509.Extension(each.oid, False, each.value)
        for each in tbs.extensions
        if each.oid != ExtensionOID.KEY_USAGE
    )
    bad = ROOT.certify(replace(tbs, extensions=lax))
    bearer = ROOT.issue(Request.client("alice.test"))

    refused, verifier = await met(bearer, Trust((bad,)), ssl.TLSVersion.TLSv1_3)

    made = "with basicConstraints marked critical, and with keyUsage keyCertSign, cRLSign"
    assert verifier.causes == ["not-conforming"]
    assert f"have the root “Root” made anew {made}, with the same name and key" in verifier.remedy
    account = join_reports(refused, verifier)
    assert all(made in text for text in account.remedies.values())
    as_told = tuple(
        x509.Extension(each.oid, True, each.value)
        if each.oid in (ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE)
        else each
        for each in tbs.extensions
    )
    repaired = ROOT.certify(replace(tbs, extensions=as_told))
    _, verifier = await met(bearer, Trust((repaired,)), ssl.TLSVersion.TLSv1_3)
    assert verifier.outcome == "echoed"
