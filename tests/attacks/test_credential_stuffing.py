"""Claim: with mutual TLS, passwords that leaked elsewhere do not even reach the login.

The same login, the same list, in which one name and password fit. Behind TLS alone the attacker
gets in with it. Behind mutual TLS every connection ends in the handshake: the server says
no-client-certificate, the client is told so, and no password is read.

Noticed by the server, at each try: no-client-certificate, certificate_required.
"""

from __future__ import annotations

import pytest

from mtls_echo.attacks.bank import Accounts, Bank
from mtls_echo.attacks.guessing import try_logins
from mtls_echo.attacks.parties import BANK, Parties, running_server
from mtls_echo.attacks.scenes import LEAKED, LOGIN

PARTIES = Parties.make()

CHEAP = 2**4


@pytest.fixture
def accounts() -> Accounts:
    name, _, password = LOGIN.partition(" ")
    return Accounts({name: password}, cost=CHEAP)


async def test_behind_tls_alone_one_of_them_fits(accounts: Accounts) -> None:
    context = PARTIES.server(PARTIES.bank, mutual=False)
    async with running_server(context, Bank(accounts).serve) as server:
        tries = await try_logins(server.port, PARTIES.client(), BANK, LEAKED)

    assert tries.found == LOGIN
    assert tries.checked == accounts.checks == LEAKED.index(LOGIN) + 1
    assert server.causes == ()  # each was an ordinary, anonymous client


async def test_behind_mutual_tls_none_is_read(accounts: Accounts) -> None:
    context = PARTIES.server(PARTIES.bank, mutual=True)
    async with running_server(context, Bank(accounts).serve) as server:
        tries = await try_logins(server.port, PARTIES.client(), BANK, LEAKED)
        noticed = await server.concluded(len(LEAKED))

    assert (tries.found, tries.made, tries.checked) == (None, len(LEAKED), 0)
    assert accounts.checks == 0
    assert [report.causes for report in noticed] == [["no-client-certificate"]] * len(LEAKED)
    assert tries.refusal is not None
    assert tries.refusal.causes == ["no-client-certificate"]
    assert tries.refusal.alert is not None
    assert tries.refusal.alert.name == "certificate_required"


async def test_the_owner_of_the_certificate_still_logs_in(accounts: Accounts) -> None:
    context = PARTIES.server(PARTIES.bank, mutual=True)
    async with running_server(context, Bank(accounts).serve) as server:
        tries = await try_logins(server.port, PARTIES.client(PARTIES.alice), BANK, [LOGIN])

    assert tries.found == LOGIN
