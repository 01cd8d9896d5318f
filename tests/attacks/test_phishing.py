"""Claim: what a phisher is given under mutual TLS is of no use to it anywhere else.

The look-alike has a good certificate for a name of its own, the victim's client accepts it, and
everything is handed on to the real server at once. A password is all that the real one asks for,
and the phisher is in. Of a client with a certificate the phisher gets the certificate, which is
public, and CertificateVerify: a signature over the victim's handshake with *this* server, its
randoms and its certificate included (RFC 8446 §4.4.3, RFC 5246 §7.4.8). The real server verifies
signatures over its own handshakes only.
"""

from __future__ import annotations

import ssl

import pytest

from mtls_echo.attacks.bank import Bank, Customer
from mtls_echo.attacks.copies import is_signature_over, present_copy
from mtls_echo.attacks.impostor import Impostor, Site
from mtls_echo.attacks.parties import BANK, LOOKALIKE, Parties, running_server
from mtls_echo.attacks.scenes import LOGIN, ORDER, THEFT, phish
from tests.attacks.world import V12, V13, both_versions

PARTIES = Parties.make()

CIPHER = {V12: "", V13: "TLS_AES_256_GCM_SHA384"}


@pytest.mark.real_time
async def test_with_a_password_the_phisher_is_in_and_no_one_notices() -> None:
    without, with_it = await phish(PARTIES)

    assert f"{BANK} did: {THEFT}" in without.happened
    assert f'"{LOGIN}"' in without.holds
    assert f'"done: {ORDER}"' in without.client
    assert without.causes == ()
    assert not with_it.succeeded


@both_versions
async def test_with_mutual_tls_it_holds_a_signature_over_one_handshake(
    version: ssl.TLSVersion,
) -> None:
    bank = Bank()
    context = PARTIES.server(PARTIES.bank, mutual=True, version=version)
    async with running_server(context, bank.serve) as real:
        phisher = Impostor(
            Site(real.port, BANK, lambda: PARTIES.client(version=version)), order=THEFT
        )
        lookalike = PARTIES.server(PARTIES.lookalike, mutual=True, version=version)
        async with running_server(lookalike, phisher.serve, trace=True) as fake:
            victim = await Customer(None, (ORDER,)).visit(
                fake.port, PARTIES.client(PARTIES.alice, version=version), LOOKALIKE
            )
        [noticed] = [event.report for event in real.events if event.report]

    # The victim's client was deceived: it accepted the look-alike, and proved itself to it.
    assert victim.report.rejected_by is None
    assert victim.answers == []
    assert phisher.certificate == PARTIES.alice.chain_der[0]
    assert phisher.signature is not None
    # In TLS 1.2 the phisher put that signature into its handshake; in TLS 1.3 it cannot even that.
    assert noticed.rejected_by == "server"
    assert "key-not-owned" in noticed.causes
    assert phisher.refusal is not None
    assert phisher.refusal.rejected_by == "server"
    for report in noticed, phisher.refusal:
        assert report.alert is not None
        assert report.alert.name == "decrypt_error"
    assert phisher.answers == []
    assert bank.orders == []
    # And why: it was made for the one handshake and not for the other.
    cipher = CIPHER[version]
    good = (phisher.signature, phisher.certificate)
    assert is_signature_over(*good, phisher.victims_handshake, cipher)
    assert not is_signature_over(*good, phisher.own_handshake, cipher)


@both_versions
async def test_nor_does_the_certificate_let_it_in_later(version: ssl.TLSVersion) -> None:
    bank = Bank()
    context = PARTIES.client(version=version)
    present_copy(context, PARTIES.alice.chain_der[0])
    server = PARTIES.server(PARTIES.bank, mutual=True, version=version)
    async with running_server(server, bank.serve) as real:
        visit = await Customer(None, (THEFT,)).visit(real.port, context, BANK)

    assert visit.report.rejected_by == "server"
    assert real.causes[0] == "key-not-owned"
    assert bank.orders == []
