"""Claim: what a phisher is given under mutual TLS is of no use to it anywhere else.

The look-alike has a good certificate for a name of its own, the victim's client accepts it, and
everything is handed on to the real server at once. A password is all that the real one asks for,
and the phisher is in. Of a client with a certificate the phisher gets the certificate, which is
public, and CertificateVerify: a signature over the victim's handshake with *this* server, its
randoms and its certificate included (RFC 8446 §4.4.3, RFC 5246 §7.4.8). The real server verifies
signatures over its own handshakes only.

Noticed by the real server: key-not-owned, decrypt_error.
"""

from __future__ import annotations

import ssl

import pytest
import trio
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from mtls_echo.attacks.bank import WELCOME, Bank, Customer
from mtls_echo.attacks.copies import present_copy
from mtls_echo.attacks.handmade import present
from mtls_echo.attacks.impostor import Impostor, Site
from mtls_echo.attacks.parties import BANK, LOOKALIKE, Parties, running_server
from mtls_echo.attacks.relay import Relay
from mtls_echo.attacks.scenes import LOGIN, ORDER, THEFT, phish
from mtls_echo_tls.alerts import AlertDescription
from tests.attacks.world import both_versions

PARTIES = Parties.make()


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
    """Got from the victim in this version, and presented in TLS 1.3 to the real server."""
    bank = Bank()
    async with running_server(PARTIES.server(PARTIES.bank, mutual=True), bank.serve) as real:
        phisher = Impostor(Site(real.port, BANK, PARTIES.client), order=THEFT)
        lookalike = PARTIES.server(PARTIES.lookalike, mutual=True, version=version)
        async with running_server(lookalike, phisher.serve, trace=True) as fake:
            victim = await Customer(None, (ORDER,)).visit(
                fake.port, PARTIES.client(PARTIES.alice), LOOKALIKE
            )
        [noticed] = await real.concluded(1)
    proof, verdict = phisher.proof, phisher.verdict

    # The victim's client was deceived: it accepted the look-alike, and proved itself to it.
    assert victim.report.rejected_by is None
    assert proof is not None
    assert proof.certificate == PARTIES.alice.chain_der[0]
    # The real server knows whose certificate was abused, and that it was not its owner.
    assert (noticed.rejected_by, noticed.causes) == ("server", ["key-not-owned"])
    assert noticed.peer is not None
    assert noticed.peer.fingerprint == PARTIES.alice.fingerprint
    assert verdict is not None
    assert verdict.alert == AlertDescription.decrypt_error
    assert victim.answers == phisher.answers == []
    assert bank.orders == []
    # And why: it was made for the one handshake and not for the other.
    assert proof.is_valid_here
    assert not proof.is_valid_in(verdict.transcript)


async def test_the_phishers_client_would_be_let_in_with_a_signature_that_fits() -> None:
    """So nothing else about its handshake is wrong; it takes the private key to make one."""
    key = PARTIES.alice.key
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    async with running_server(PARTIES.server(PARTIES.bank, mutual=True), Bank().serve) as real:
        answer = await present(
            real.port,
            BANK,
            PARTIES.alice.chain_der[0],
            lambda content: key.sign(content, ec.ECDSA(hashes.SHA256())),
        )

    assert answer.alert is None
    assert answer.data == f"{WELCOME}alice.test\n".encode()


@both_versions
async def test_nor_does_the_certificate_let_it_in_later(version: ssl.TLSVersion) -> None:
    bank = Bank()
    context = PARTIES.client(version=version)
    present_copy(context, PARTIES.alice.chain_der[0])
    server = PARTIES.server(PARTIES.bank, mutual=True, version=version)
    async with running_server(server, bank.serve) as real:
        visit = await Customer(None, (THEFT,)).visit(real.port, context, BANK)
        await real.concluded(1)

    assert visit.report.rejected_by == "server"
    assert real.causes[0] == "key-not-owned"
    assert bank.orders == []


async def test_passed_on_unchanged_the_handshake_shows_another_name() -> None:
    async with (
        running_server(PARTIES.server(PARTIES.bank, mutual=True), Bank().serve) as real,
        trio.open_nursery() as nursery,
    ):
        relay = Relay(real.port)
        await nursery.start(relay.run)
        visit = await Customer(None).visit(relay.port, PARTIES.client(PARTIES.alice), LOOKALIKE)
        nursery.cancel_scope.cancel()
    assert visit.report.rejected_by == "client"
    assert [*visit.report.causes] == ["wrong-name"]
    assert not visit.is_logged_in
