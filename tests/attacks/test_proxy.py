"""Claim: a proxy on the path that ends TLS itself is refused by the end before which it stands.

It has certificates for every name, from a CA of its own. Before the client it presents one for the
server's name, before the server one for the client's; whichever end it stands before does not
trust that CA, and says so with unknown_ca. If the client's device was made to trust the CA, TLS
alone is lost: the proxy reads and alters. With mutual TLS it still cannot come before the server.

Noticed by the end before which it stands: unknown-authority, unknown_ca.
"""

from __future__ import annotations

import ssl

import pytest

from mtls_echo.attacks.bank import Bank, Customer
from mtls_echo.attacks.impostor import Impostor, Site
from mtls_echo.attacks.parties import BANK, Parties, running_server
from mtls_echo.attacks.scenes import ORDER, intercept
from mtls_echo_pki.certificates.request import Request
from mtls_echo_tls.diagnosis.report import Report
from tests.attacks.world import both_versions

PARTIES = Parties.make()


def verdict(report: Report | None) -> tuple[str | None, str | None, bool]:
    """Who refused, with which alert, and whether for want of trust in a CA."""
    assert report is not None
    alert = None if report.alert is None else report.alert.name
    return report.rejected_by, alert, "unknown-authority" in report.causes


@both_versions
async def test_before_the_client_it_is_refused_and_the_server_hears_nothing(
    version: ssl.TLSVersion,
) -> None:
    bank = Bank()
    bank_context = PARTIES.server(PARTIES.bank, mutual=True, version=version)
    async with running_server(bank_context, bank.serve) as real:
        proxy = Impostor(Site(real.port, BANK, PARTIES.client))
        context = PARTIES.server(PARTIES.proxy, mutual=True, version=version)
        async with running_server(context, proxy.serve, trace=True) as fake:
            visit = await Customer(None, (ORDER,)).visit(
                fake.port, PARTIES.client(PARTIES.alice, version=version), BANK
            )
            [seen] = await fake.concluded(1)

    assert verdict(visit.report) == ("client", "unknown_ca", True)
    assert verdict(seen) == ("client", "unknown_ca", True)
    assert visit.answers == proxy.heard == []
    assert bank.orders == []
    assert proxy.proof is None  # it has not even seen who alice is
    assert [event.name for event in real.events] == ["listening", "stopped"]


@both_versions
async def test_before_the_server_it_is_refused_with_a_certificate_of_its_own_ca(
    version: ssl.TLSVersion,
) -> None:
    bank = Bank()
    made_up = PARTIES.mallory.issue(Request.client("alice.test", subject="alice"))
    context = PARTIES.server(PARTIES.bank, mutual=True, version=version)
    async with running_server(context, bank.serve) as real:
        visit = await Customer(None, (ORDER,)).visit(
            real.port, PARTIES.client(made_up, version=version), BANK
        )
        [seen] = await real.concluded(1)

    assert verdict(visit.report) == ("server", "unknown_ca", True)
    assert verdict(seen) == ("server", "unknown_ca", True)
    assert visit.answers == []
    assert bank.orders == []


@pytest.mark.real_time
async def test_if_the_client_trusts_its_ca_mutual_tls_still_keeps_it_from_the_server() -> None:
    without, with_it = await intercept(PARTIES)

    assert without.succeeded  # the order was altered on the way ...
    assert f'"done: {ORDER}"' in without.client  # ... and alice cannot know
    assert not with_it.succeeded
    assert "key-not-owned" in with_it.causes
    assert not any(ORDER in said for said in with_it.client)
