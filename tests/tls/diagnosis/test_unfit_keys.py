"""A certificate that is configured and cannot be used, for the sake of its key, is not "none"."""

from __future__ import annotations

import ssl
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from mtls_echo_client.context import client_context
from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import KeyType, Request
from mtls_echo_pki.certificates.tbs import TBSCertificate
from mtls_echo_server.context import ClientAuth, server_context
from mtls_echo_tls.diagnosis.context_info import ContextInfo
from mtls_echo_tls.diagnosis.diagnose import diagnose
from mtls_echo_tls.diagnosis.evidence import Evidence
from mtls_echo_tls.diagnosis.joint import join_reports
from mtls_echo_tls.diagnosis.report import Report
from mtls_echo_tls.material.warnings import material_warnings
from mtls_echo_tls.sides import Side
from mtls_echo_tls.trace.decoding import Requested
from mtls_echo_tls.trace.shown import AlertSeen
from tests.support.authorities import CLIENTS, SERVERS
from tests.support.tls import (
    ALICE,
    LOCALHOST,
    V12,
    V13,
    both_versions,
    reports,
    tls_pair,
)

# TLS 1.3 has algorithms for Brainpool curves since RFC 8734, and OpenSSL since 3.2.
UNFIT = [ec.SECP256K1(), ec.SECP224R1()]
IN_TLS12 = [*UNFIT, ec.BrainpoolP256R1()]
IN_TLS13 = UNFIT if ssl.OPENSSL_VERSION_INFO >= (3, 2) else IN_TLS12
each_curve = pytest.mark.parametrize("curve", [pytest.param(c, id=c.name) for c in IN_TLS12])
each_in_tls13 = pytest.mark.parametrize("curve", [pytest.param(c, id=c.name) for c in IN_TLS13])


def on(curve: ec.EllipticCurve, template: Credential, authority: Authority) -> Credential:
    """The same certificate for a key on that curve."""
    key = ec.generate_private_key(curve)
    tbs = replace(TBSCertificate.of(template.certificate), public_key=key.public_key())
    return Credential(key, authority.certify(tbs))


async def of_client(bearer: Credential, version: ssl.TLSVersion) -> tuple[Report, Report]:
    one = client_context(SERVERS.trust, bearer)
    one.minimum_version = one.maximum_version = version
    return await reports(*tls_pair(one, server_context(LOCALHOST, CLIENTS.trust)))


async def of_server(bearer: Credential, version: ssl.TLSVersion) -> tuple[Report, Report]:
    one = client_context(SERVERS.trust)
    one.minimum_version = one.maximum_version = version
    other = server_context(bearer, client_auth=ClientAuth.NONE)
    return await reports(*tls_pair(one, other))


@each_in_tls13
async def test_tls13_leaves_a_clients_certificate_out(curve: ec.EllipticCurve) -> None:
    client, server = await of_client(on(curve, ALICE, CLIENTS), V13)

    assert client.causes == ["no-common-signature-algorithm"]
    assert server.causes == ["no-client-certificate"]
    assert "the one that is configured was not sent" in client.summary
    assert f"curve {curve.name}" in client.summary
    assert client.remedy.startswith("use a certificate with a P-256 or RSA key")
    assert join_reports(client, server).causes == ("no-common-signature-algorithm",)


@each_curve
async def test_tls12_sends_it_and_it_is_refused(curve: ec.EllipticCurve) -> None:
    client, server = await of_client(on(curve, ALICE, CLIENTS), V12)

    assert client.causes == server.causes == ["no-common-signature-algorithm"]
    for report in (client, server):
        assert f"curve {curve.name}" in report.summary
        assert "P-256 or RSA" in report.remedy


@pytest.mark.parametrize(
    ("version", "curve"),
    [
        pytest.param(version, curve, id=f"{version.name} {curve.name}")
        for version, curves in ((V12, IN_TLS12), (V13, IN_TLS13))
        for curve in curves
    ],
)
async def test_a_server_has_one_that_it_could_not_use(
    version: ssl.TLSVersion, curve: ec.EllipticCurve
) -> None:
    client, server = await of_server(on(curve, LOCALHOST, SERVERS), version)

    assert server.causes == ["no-common-signature-algorithm"]
    assert "has a certificate that it could not use with this client" in server.summary
    assert f"curve {curve.name}" in server.summary
    assert "no-common-signature-algorithm" in client.causes
    assert join_reports(client, server).causes == ("no-common-signature-algorithm",)


@both_versions
async def test_a_client_without_a_certificate_is_told_to_bring_one(
    version: ssl.TLSVersion,
) -> None:
    one = client_context(SERVERS.trust)
    one.minimum_version = one.maximum_version = version

    client, _ = await reports(*tls_pair(one, server_context(LOCALHOST, CLIENTS.trust)))

    assert client.causes == ["no-client-certificate"]
    assert "configured" not in client.summary
    assert client.remedy.startswith("connect with a certificate")


@each_curve
def test_it_is_warned_of_at_start(curve: ec.EllipticCurve) -> None:
    warnings = material_warnings(on(curve, ALICE, CLIENTS), SERVERS.trust, "client", ())

    assert [w for w in warnings if f"curve {curve.name}" in w]
    assert not material_warnings(ALICE, SERVERS.trust, "client", ())


NO_ED25519 = ["rsa_pss_rsae_sha256", "ecdsa_secp256r1_sha256", "rsa_pkcs1_sha256"]
ALL = ["ecdsa_secp384r1_sha384", "ecdsa_secp521r1_sha512", "ed25519", *NO_ED25519]
ALICE_ED25519 = CLIENTS.issue(replace(Request.client("alice.test"), key_type=KeyType.ED25519))
ALICE_P384 = CLIENTS.issue(replace(Request.client("alice.test"), key_type=KeyType.P384))


def without_certificate(
    side: Side, mine: Credential | None, accepted: list[str], **more: Any
) -> Evidence:
    """TLS 1.3, in which the server accepts these and got no certificate."""
    return Evidence(
        side,
        stage="first-read" if side == "client" else "handshake",
        failed=True,
        hello_answered=True,
        is_tls13=True,
        client_random="00" * 32,
        certificate_requested=True,
        certificate_request=Requested(authorities=[], signature_algorithms=accepted),
        context_info=ContextInfo(credential=mine),
        **more,
    )


@pytest.mark.parametrize(
    ("mine", "accepted", "cause"),
    [
        (ALICE_ED25519, NO_ED25519, "no-common-signature-algorithm"),
        (ALICE_P384, NO_ED25519, "no-common-signature-algorithm"),
        (ALICE_ED25519, ALL, "no-client-certificate"),  # left out for another reason
        (None, NO_ED25519, "no-client-certificate"),
    ],
    ids=["Ed25519", "P-384", "accepted", "none"],
)
@pytest.mark.parametrize("alert", [40, 42, 116])
def test_what_was_requested_tells_why_it_was_not_sent(
    mine: Credential | None, accepted: list[str], cause: str, alert: int
) -> None:
    seen = AlertSeen(alert, sent=False, protected=True)
    report = diagnose(without_certificate("client", mine, accepted, alert=seen))

    assert report.causes == [cause]
    assert ("the one that is configured was not sent" in report.summary) is (mine is not None)


def test_nor_is_a_silent_server_told_anything_else() -> None:
    evidence = without_certificate("client", ALICE_ED25519, NO_ED25519, close_notify=True)
    evidence.recorder.record("write", V13, 22, bytes.fromhex("0b 000004 00 000000"))

    assert diagnose(evidence).causes[:2] == [
        "no-common-signature-algorithm",
        "closed-without-alert",
    ]


@pytest.mark.parametrize(("accepted", "certain"), [(ALL, True), (NO_ED25519, False)])
def test_a_server_that_accepts_few_keys_cannot_tell_none_from_withheld(
    accepted: list[str], certain: bool
) -> None:
    reason = "PEER_DID_NOT_RETURN_A_CERTIFICATE"
    report = diagnose(without_certificate("server", LOCALHOST, accepted, reason=reason))

    assert report.causes[0] == "no-client-certificate"
    assert (report.causes == ["no-client-certificate"]) is certain
    assert certain or "has one whose kind of key the server does not accept" in report.summary


@pytest.mark.parametrize(
    ("accepted", "odd"),
    [
        (ALL, "such as one on secp256k1 or a Brainpool curve"),
        ([*ALL, "brainpoolP256r1tls13_sha256"], "such as one on secp256k1"),
    ],
)
def test_a_server_says_what_it_asked_for(accepted: list[str], odd: str) -> None:
    """That none was sent is certain; that the client has none is not."""
    reason = "PEER_DID_NOT_RETURN_A_CERTIFICATE"
    report = diagnose(without_certificate("server", LOCALHOST, accepted, reason=reason))

    (asked,) = [each.value for each in report.evidence if each.fact == "asked for"]
    assert asked.startswith("a certificate of any CA whose key signs by ecdsa_secp384r1_sha384, ")
    assert asked.endswith(f"a client does not send one whose key does not, {odd}")
    assert "in place of one that it could not use here" in report.remedy
