"""Claim: a server's certificate does not make a client, nor a client's a server.

A stolen web server is not an administrator, and a user cannot pose as the service. Two things see
to that. Servers and clients have separate CAs, and each end trusts only the other's. And where one
CA issues both, extendedKeyUsage (RFC 5280 §4.2.1.12) says what a certificate is for.

Noticed by the verifier: unknown-authority, unknown_ca; of one CA, wrong-usage,
unsupported_certificate.
"""

from __future__ import annotations

import ssl

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.request import Request
from tests.attacks.world import (
    ALICE,
    LOCALHOST,
    Connection,
    attacked,
    both_versions,
    client_of,
    server_of,
)

ONE = Authority.root("one for all")
SERVER = ONE.issue(Request.server("localhost", subject="server"))
CLIENT = ONE.issue(Request.client("alice.test", subject="alice"))
# A client's certificate with the server's name in it: only its usage is wrong.
NAMED = ONE.issue(Request.client("localhost", subject="server"))


def refusals(connection: Connection) -> list[tuple[str | None, str | None]]:
    """Who refused and with which alert, by the client's report and by the server's."""
    return [
        (report.rejected_by, None if report.alert is None else report.alert.name)
        for report in (connection.client, connection.server)
    ]


@both_versions
async def test_with_separate_cas_the_other_kind_is_of_an_unknown_ca(
    version: ssl.TLSVersion,
) -> None:
    async with attacked(context=server_of(version)) as path:
        as_client = await path.converse(client_of(version, LOCALHOST))
    async with attacked(context=server_of(version, ALICE)) as path:
        as_server = await path.converse(client_of(version))

    assert as_client.echoed == as_server.echoed == 0
    assert refusals(as_client) == [("server", "unknown_ca")] * 2
    assert refusals(as_server) == [("client", "unknown_ca")] * 2
    assert "unknown-authority" in as_client.server.causes
    assert "unknown-authority" in as_server.client.causes


@both_versions
async def test_of_one_ca_it_is_refused_for_its_usage(version: ssl.TLSVersion) -> None:
    async with attacked(context=server_of(version, SERVER, ONE.trust)) as path:
        good = await path.converse(client_of(version, CLIENT, ONE.trust))
        as_client = await path.converse(client_of(version, SERVER, ONE.trust))
    async with attacked(context=server_of(version, NAMED, ONE.trust)) as path:
        as_server = await path.converse(client_of(version, CLIENT, ONE.trust))

    assert good.verdicts == ("echoed", "echoed")
    assert as_client.echoed == as_server.echoed == 0
    assert refusals(as_client) == [("server", "unsupported_certificate")] * 2
    assert refusals(as_server) == [("client", "unsupported_certificate")] * 2
    assert as_client.server.causes == ["wrong-usage"]
    assert as_server.client.causes == ["wrong-usage"]
