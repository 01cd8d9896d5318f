"""A certificate that is configured and cannot be used, for the sake of its key, is not "none"."""

from __future__ import annotations

import ssl
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from mtls_echo_client.context import client_context
from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.tbs import TBSCertificate
from mtls_echo_server.context import ClientAuth, server_context
from mtls_echo_tls.diagnosis.joint import join_reports
from mtls_echo_tls.diagnosis.report import Report
from mtls_echo_tls.material.warnings import material_warnings
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

CURVES = [ec.SECP256K1(), ec.BrainpoolP256R1(), ec.SECP224R1()]
each_curve = pytest.mark.parametrize("curve", [pytest.param(c, id=c.name) for c in CURVES])


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


@each_curve
async def test_tls13_leaves_a_clients_certificate_out(curve: ec.EllipticCurve) -> None:
    client, server = await of_client(on(curve, ALICE, CLIENTS), V13)

    assert client.causes == server.causes == ["no-client-certificate"]
    assert "the one that is configured was not sent" in client.summary
    assert f"curve {curve.name}" in client.summary
    assert client.remedy.startswith("use a certificate with a P-256 or RSA key")
    assert join_reports(client, server).causes == ("no-client-certificate",)


@each_curve
async def test_tls12_sends_it_and_it_is_refused(curve: ec.EllipticCurve) -> None:
    client, server = await of_client(on(curve, ALICE, CLIENTS), V12)

    assert client.causes == server.causes == ["no-common-signature-algorithm"]
    for report in (client, server):
        assert f"curve {curve.name}" in report.summary
        assert "P-256 or RSA" in report.remedy


@each_curve
@both_versions
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
