"""Claim: a session gives nothing that its owner does not have now.

A resumed session skips certificates and signatures (RFC 8446 §2.2, RFC 5246 §7.3): what stole it
could come in without either. So by default no TLS 1.3 session is resumed at all. Where tickets are
switched on, and in TLS 1.2, where the standard library cannot switch session IDs off, a resumed
session is that of the client that began it, whatever certificate is at hand now; what it may do is
decided anew, by the trust and the rules of now; and another server has never heard of it.

Noticed by the server, which verifies again by what is in use now.
"""

from __future__ import annotations

import ssl

import trio

from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_server.context import server_context
from mtls_echo_tls.denial import denial_in
from tests.attacks.world import ALICE, LOCALHOST, V13, both_versions
from tests.support.authorities import CLIENTS, SERVERS, UNTRUSTED_CA
from tests.support.servers import access, running, visit

CAROL = CLIENTS.issue(Request.client("carol.test", subject="carol"))


def plain_client(version: ssl.TLSVersion) -> ssl.SSLContext:
    """A client of the standard library with alice's certificate: ours never resumes a session."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = context.maximum_version = version
    SERVERS.trust.load_into(context)
    ALICE.load_into(context)
    return context


def resuming_server(trust: Trust = CLIENTS.trust) -> ssl.SSLContext:
    return server_context(LOCALHOST, trust, session_tickets=True)


async def test_by_default_there_is_no_session_to_steal_in_tls13() -> None:
    context = plain_client(V13)
    async with running(server_context(LOCALHOST, CLIENTS.trust)) as here:
        _, _, session = await trio.to_thread.run_sync(visit, context, here.port, None)
        received, reused, _ = await trio.to_thread.run_sync(visit, context, here.port, session)

    assert session is not None
    assert not session.has_ticket
    assert received == b"hello"
    assert not reused  # it was the certificate that let it in again


@both_versions
async def test_a_session_stays_that_of_the_client_that_began_it(version: ssl.TLSVersion) -> None:
    context = plain_client(version)
    async with running(resuming_server()) as here:
        _, _, session = await trio.to_thread.run_sync(visit, context, here.port, None)
        CAROL.load_into(context)  # from here on it would present carol's certificate
        _, reused, _ = await trio.to_thread.run_sync(visit, context, here.port, session)
        _, fresh, _ = await trio.to_thread.run_sync(visit, context, here.port, None)
        identities = [(await here.event("accepted", n))["identity"] for n in (1, 2, 3)]

    assert (reused, fresh) == (True, False)
    assert identities == ["alice.test", "alice.test", "carol.test"]


@both_versions
async def test_nor_does_it_lend_its_owner_the_rights_of_another(version: ssl.TLSVersion) -> None:
    context = plain_client(version)
    async with running(resuming_server(), access=access(dns=["carol.test"])) as here:
        first, _, session = await trio.to_thread.run_sync(visit, context, here.port, None)
        CAROL.load_into(context)
        again, reused, _ = await trio.to_thread.run_sync(visit, context, here.port, session)

    assert reused
    assert denial_in(first) == denial_in(again)
    assert "alice.test" in (denial_in(again) or "")


@both_versions
async def test_a_session_does_not_outlive_the_trust_in_its_ca(version: ssl.TLSVersion) -> None:
    context = plain_client(version)
    contexts = [resuming_server()]
    async with running(lambda: contexts[-1]) as here:
        _, _, session = await trio.to_thread.run_sync(visit, context, here.port, None)
        contexts.append(resuming_server(UNTRUSTED_CA.trust))
        refused = await trio.to_thread.run_sync(attempt, context, here.port, session)
        report = await here.event("connection", 2)

    assert refused
    assert report["rejected_by"] == "server"
    assert "unknown-authority" in report["causes"]


def attempt(context: ssl.SSLContext, port: int, session: ssl.SSLSession | None) -> bool:
    """Whether the server refuses by an alert."""
    try:
        visit(context, port, session)
    except ssl.SSLError as error:
        return error.reason == "TLSV1_ALERT_UNKNOWN_CA"
    return False


@both_versions
async def test_another_server_does_not_know_the_session(version: ssl.TLSVersion) -> None:
    context = plain_client(version)
    async with running(resuming_server()) as one, running(resuming_server()) as other:
        _, _, session = await trio.to_thread.run_sync(visit, context, one.port, None)
        received, reused, _ = await trio.to_thread.run_sync(visit, context, other.port, session)

    assert session is not None
    assert not reused
    assert received == b"hello"
