"""An extension that OpenSSL cannot read: both it and the certificate that has it are named."""

from __future__ import annotations

import ssl
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mtls_echo_client.context import client_context
from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.loading import load_certificate
from mtls_echo_pki.certificates.reading import value_of
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.tbs import TBSCertificate
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_pki.files.pem import read_credential
from mtls_echo_pki.flaws.baseline import with_extension
from mtls_echo_server.context import server_context
from mtls_echo_tls.diagnosis.context_info import ContextInfo
from mtls_echo_tls.diagnosis.diagnose import diagnose
from mtls_echo_tls.diagnosis.evidence import Evidence
from mtls_echo_tls.material.load import client_material
from mtls_echo_tls.path.rules import Fault, strict_violations
from mtls_echo_tls.path.validate import examine
from tests.support.authorities import SERVERS
from tests.support.tls import LOCALHOST, both_versions, reports, tls_pair

ROOT = Authority.root("Root")
ALICE = ROOT.issue(Request.client("alice.test"))

# keyUsage as a UTF8String; extendedKeyUsage { clientAuth }, its OID in place of the sequence.
KEY_USAGE = bytes.fromhex("0603551d0f0101ff0404")
PURPOSE = bytes.fromhex("0603551d25040c300a06082b06010505070302")


def odd(certificate: x509.Certificate, old: bytes, new: bytes) -> x509.Certificate:
    der = certificate.public_bytes(Encoding.DER)
    assert der.count(old) == 1
    return load_certificate(der.replace(old, new))


def malformed(certificate: x509.Certificate) -> x509.Certificate:
    return odd(certificate, KEY_USAGE + b"\x03", KEY_USAGE + b"\x0c")


@both_versions
@pytest.mark.parametrize("strict", [True, False])
async def test_the_ca_is_named_and_not_called_unknown(
    version: ssl.TLSVersion, strict: bool
) -> None:
    client = client_context(SERVERS.trust, ALICE)
    client.minimum_version = client.maximum_version = version
    trust = Trust((malformed(ROOT.certificate),))

    refused, verifier = await reports(
        *tls_pair(client, server_context(LOCALHOST, trust, strict=strict))
    )

    assert verifier.verify_code == 20
    assert verifier.causes == ["not-conforming"]
    assert (
        "the root “Root”, above its certificate, has an extension that is not well-formed:"
        " keyUsage is malformed"
    ) in verifier.summary
    assert "with a well-formed keyUsage" in verifier.remedy
    assert "unknown-authority" in refused.causes
    assert len(refused.causes) > 1


def test_one_of_the_end_entity_is_found_by_a_verifier_only() -> None:
    leaf = malformed(ALICE.certificate)
    chain = [leaf.public_bytes(Encoding.DER)]

    # Its signature is one of other contents.
    mended = Credential(ALICE.key, leaf)
    found = examine(chain, presenter="client", anchors=ROOT.trust.anchors).faults
    ours = examine(mended.chain_der, presenter="client", others=ROOT.trust.anchors).faults

    expected = Fault(
        "not-conforming", 0, "keyUsage is malformed", "malformed", "with a well-formed keyUsage"
    )
    assert expected in found
    assert "malformed" not in {fault.variant for fault in ours}


@pytest.mark.parametrize(("value", "faults"), [("3003010100", ()), ("30030101000500", (0,))])
def test_that_it_is_not_a_cas_may_be_written_out(value: str, faults: tuple[int, ...]) -> None:
    """X.690 §11.5 forbids it, and OpenSSL, Go and GnuTLS take it."""
    told = x509.UnrecognizedExtension(x509.BasicConstraints.oid, bytes.fromhex(value))
    leaf = ROOT.certify(with_extension(TBSCertificate.of(ALICE.certificate), told))

    path = examine(
        [leaf.public_bytes(Encoding.DER)], presenter="client", anchors=ROOT.trust.anchors
    )
    assert tuple(fault.depth for fault in path.faults) == faults
    assert path.is_readable == (not faults)
    basic = value_of(leaf, x509.BasicConstraints)
    assert basic == (None if faults else x509.BasicConstraints(ca=False, path_length=None))


def test_an_empty_extended_key_usage_permits_nothing() -> None:
    empty = PURPOSE[:5] + bytes.fromhex("040c30000500") + bytes(8)
    leaf = odd(ALICE.certificate, PURPOSE, empty)

    for anchors in (ROOT.trust.anchors, None):
        path = examine([leaf.public_bytes(Encoding.DER)], presenter="client", anchors=anchors)
        assert "extendedKeyUsage is empty; clientAuth is needed" in [
            fault.detail for fault in path.faults if fault.slug == "wrong-usage"
        ]


def test_a_root_of_version_1_is_refused_by_strict_verifiers_only(tmp_path: Path) -> None:
    (tmp_path / "openssl.cnf").write_text("[req]\ndistinguished_name=name\n[name]\n")
    new = ["-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=old", "-days", "99"]
    subprocess.run(
        [
            "openssl",
            "req",
            "-config",
            "openssl.cnf",
            *new,
            *("-out", "old.crt", "-keyout", "old.key"),
        ],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )
    old = read_credential(tmp_path / "old.crt", tmp_path / "old.key").certificate
    assert old.version is x509.Version.v1

    def warnings(*, strict: bool) -> tuple[str, ...]:
        return client_material(ca=tmp_path / "old.crt", strict=strict).warnings

    rule = "it is of version 1, without basicConstraints (RFC 5280 §4.2.1.9)"
    assert warnings(strict=True) == (
        f"the trust anchor 'old' will be refused, and every certificate below it: {rule}",
    )
    assert len(warnings(strict=False)) == 1
    assert strict_violations(ROOT.certificate, anchor=True) == []


NETSCAPE_TYPE = x509.ObjectIdentifier("2.16.840.1.113730.1.1")


@both_versions
@pytest.mark.parametrize(("bits", "permitted"), [("03020780", True), ("03020640", False)])
async def test_the_usage_that_old_cas_write_is_named(
    version: ssl.TLSVersion, bits: str, permitted: bool
) -> None:
    kind = x509.UnrecognizedExtension(NETSCAPE_TYPE, bytes.fromhex(bits))
    bearer = ROOT.issue(Request.client("alice.test"), alter=lambda tbs: with_extension(tbs, kind))
    client = client_context(SERVERS.trust, bearer)
    client.minimum_version = client.maximum_version = version

    refused, verifier = await reports(*tls_pair(client, server_context(LOCALHOST, ROOT.trust)))

    assert (verifier.outcome == "echoed") is permitted
    if not permitted:
        assert verifier.causes == refused.causes == ["wrong-usage"]
        for report in (refused, verifier):
            found = [fact.value for fact in report.evidence if fact.fact == "found"]
            assert found == [
                "nsCertType, an extension of Netscape's, does not permit a TLS client"
            ]


def test_what_openssl_calls_unknown_and_is_anchored_has_a_part_that_it_does_not_take() -> None:
    """An extension that is well-formed and refused: keyUsage that permits nothing, say."""
    info = ContextInfo(trust=ROOT.trust, complete=True)
    evidence = Evidence(
        "server",
        stage="handshake",
        version="TLSv1.3",
        reason="CERTIFICATE_VERIFY_FAILED",
        verify_code=20,
        failed=True,
        peer_chain=ALICE.chain_der,
        context_info=info,
    )

    report = diagnose(evidence)

    assert report.causes == ["not-conforming", "internal-error"]
    assert "an extension in its certificate, or in that of a CA above it, is one" in report.summary
    assert "unknown" not in report.summary


@pytest.mark.parametrize(("code", "part"), [(13, "notBefore"), (14, "notAfter")])
def test_a_date_that_openssl_cannot_read_is_the_fault_of_the_certificate(
    code: int, part: str
) -> None:
    evidence = Evidence(
        "client", stage="handshake", verify_code=code, failed=True, peer_chain=(b"0\x00",)
    )

    report = diagnose(evidence)

    assert report.causes == ["not-conforming"]
    assert f"{part} in its certificate, or in that of a CA above it, is not written" in (
        report.summary
    )
    assert "the other side's log" not in report.remedy
