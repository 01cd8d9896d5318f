"""Claim: a login with a password can be guessed, and a private key cannot.

A guesser of passwords needs as many tries as the password is down the list, and each makes the
server spend far more than the guesser, since checking a password is made expensive on purpose.
With mutual TLS a try is a handshake, refused before any login. To be accepted it needs the
client's private key, and the best method known to find a P-256 key takes 2**128 steps.

Noticed by the server, at each guess at a key: key-not-owned, decrypt_error. A guess at a password
is an ordinary connection.
"""

from __future__ import annotations

import ssl
import time

from mtls_echo.attacks.bank import COST, Accounts, Bank, Customer
from mtls_echo.attacks.copies import present_copy
from mtls_echo.attacks.guessing import KEY_STEPS, measure_handshake, try_logins, years
from mtls_echo.attacks.parties import BANK, Parties, running_server
from mtls_echo.attacks.scenes import COMMON, WEAK
from tests.attacks.world import V13, both_versions

PARTIES = Parties.make()

GUESSES = 10


def copy_of_alice(version: ssl.TLSVersion) -> ssl.SSLContext:
    context = PARTIES.client(version=version)
    present_copy(context, PARTIES.alice.chain_der[0])
    return context


async def test_a_common_password_is_found() -> None:
    accounts = Accounts({"alice": WEAK}, cost=2**4)
    context = PARTIES.server(PARTIES.bank, mutual=False)
    async with running_server(context, Bank(accounts).serve) as server:
        logins = [f"alice {password}" for password in COMMON]
        tries = await try_logins(server.port, PARTIES.client(), BANK, logins)

    assert tries.found == f"alice {WEAK}"
    assert tries.made == accounts.checks == COMMON.index(WEAK) + 1


@both_versions
async def test_no_guessed_key_is_accepted_and_each_is_noticed(version: ssl.TLSVersion) -> None:
    bank = Bank()
    context = PARTIES.server(PARTIES.bank, mutual=True, version=version)
    async with running_server(context, bank.serve) as server:
        for _ in range(GUESSES):
            visit = await Customer(None).visit(server.port, copy_of_alice(version), BANK)
            assert visit.report.rejected_by == "server"
            assert "key-not-owned" in visit.report.causes
        noticed = [report.causes for report in await server.concluded(GUESSES)]

    # TLS 1.2, where it passes in the clear: or the signature was altered on its way.
    causes = ["key-not-owned"] if version is V13 else ["key-not-owned", "tampered"]
    assert noticed == [causes] * GUESSES
    assert bank.orders == []


def test_a_guess_at_a_key_costs_the_server_less_than_one_at_a_password() -> None:
    accounts = Accounts({"alice": WEAK}, cost=COST)
    accounts.check("alice", "wrong")
    server = PARTIES.server(PARTIES.bank, mutual=True)
    cost = measure_handshake(lambda: copy_of_alice(ssl.TLSVersion.TLSv1_3), server, BANK)

    assert 0 < cost.server < accounts.seconds / 4
    assert cost.client > 0


def test_an_unknown_name_is_hashed_like_a_known_one() -> None:
    accounts = Accounts({"alice": WEAK}, cost=2**12)
    spent: list[float] = []
    for name in ("alice", "nobody"):
        began = time.thread_time()
        for _ in range(5):
            assert not accounts.check(name, "wrong")
        spent.append(time.thread_time() - began)

    assert accounts.checks == 10
    assert spent[1] > spent[0] / 4  # without a hash it would be a thousandth


def test_a_key_takes_longer_than_the_universe_has_lasted() -> None:
    a_thousand_million_computers = 1e9 * 1e9

    assert years(KEY_STEPS, a_thousand_million_computers) > 700 * 13.8e9
    assert years(COMMON.index(WEAK) + 1, 10) < 1e-6
