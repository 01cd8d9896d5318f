"""Verification as OpenSSL does it by default: what it lets pass, and that it is nothing else.

Each deliberately bad credential is presented to our own client and server, which are not strict.
They must refuse all those that break more than a rule that only strict verifiers enforce, for the
same cause as strict ones.
"""

from __future__ import annotations

import ssl

import pytest

from mtls_echo.failures.case import VERSIONS, credentials, lenient_context
from mtls_echo.failures.play import PlayedFailure, Setup, play
from mtls_echo_client.context import client_context
from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.flaws.flaw import Flaw, FlawRole, TLSVersion
from mtls_echo_pki.flaws.registry import FLAWS
from mtls_echo_server.context import server_context

# The verdicts of OpenSSL that take X509_V_FLAG_X509_STRICT (crypto/x509/x509_vfy.c).
STRICT_ONLY = range(80, 94)

ROLES = [
    pytest.param(flaw, role, id=f"{flaw.slug} ({role})")
    for flaw in FLAWS.values()
    for role in flaw.roles
    if flaw.slug != "empty-trust"  # no context of ours is without trust anchors
]


def present(flaw: Flaw, role: FlawRole, version: TLSVersion, *, strict: bool) -> PlayedFailure:
    """Present a bad credential to the other side, which may be strict."""
    subject = Request.server("localhost", "127.0.0.1", "::1")
    if role == "client":
        subject = Request.client("client.test")
    inputs, good, one = flaw.build(Authority.root(), subject), credentials(), VERSIONS[version]
    if role == "server":
        client = client_context(
            inputs.trust, good.alice, minimum_version=one, maximum_version=one, strict=strict
        )
        server = lenient_context("server", inputs.credential, good.client_trust, version)
        return play(Setup(client=client, server=server, reference=inputs.reference), version)
    client = lenient_context("client", inputs.credential, good.server_trust, version)
    server = server_context(
        good.server, inputs.trust, minimum_version=one, maximum_version=one, strict=strict
    )
    return play(Setup(client=client, server=server), version)


@pytest.mark.parametrize(("flaw", "role"), ROLES)
def test_only_what_strict_verifiers_alone_refuse_is_accepted(flaw: Flaw, role: FlawRole) -> None:
    played = present(flaw, role, "1.3", strict=False)

    accepted = [report.outcome == "echoed" for report in played.reports if report is not None]
    assert accepted == [flaw.verify_code in STRICT_ONLY] * 2


@pytest.mark.parametrize(("flaw", "role"), ROLES)
def test_what_is_refused_is_refused_for_the_same_causes(flaw: Flaw, role: FlawRole) -> None:
    if flaw.verify_code in STRICT_ONLY:
        return
    default, strict = (present(flaw, role, "1.2", strict=each) for each in (False, True))

    for ours, theirs in zip(default.reports, strict.reports, strict=True):
        assert ours is not None
        assert theirs is not None
        assert (ours.rejected_by, ours.causes) == (theirs.rejected_by, theirs.causes)
        assert (ours.alert, ours.verify_code) == (theirs.alert, theirs.verify_code)


def test_a_context_is_strict_unless_told_otherwise() -> None:
    good = credentials()
    for strict, flag in ((True, ssl.VERIFY_X509_STRICT), (False, 0)):
        for context in (
            client_context(good.server_trust, strict=strict),
            server_context(good.server, good.client_trust, strict=strict),
        ):
            assert context.verify_flags & ssl.VERIFY_X509_STRICT == flag
            assert context.verify_flags & ssl.VERIFY_X509_PARTIAL_CHAIN
            assert context.verify_mode is ssl.CERT_REQUIRED
