"""A handshake over a reload: who is admitted by what is in use afterwards."""

from __future__ import annotations

import datetime
import ssl
from collections.abc import Callable
from types import SimpleNamespace

import pytest
import trio
from cryptography import x509

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_server import admission
from mtls_echo_server.access import Access
from mtls_echo_server.admission import Admission
from mtls_echo_server.connection import Connection
from mtls_echo_server.context import ClientAuth, server_context
from mtls_echo_server.handlers import echo
from mtls_echo_tls.denial import denial_in
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.stream.tls import TLSStream
from tests.server.admission_world import (
    ALICE,
    BELOW,
    CLIENTS,
    DAY,
    ISSUING,
    LOCALHOST,
    NOW,
    OTHERS,
    Halfway,
    dated,
    is_served,
    listed,
    tls_client,
    trusting,
    two_lists,
    versions,
)
from tests.support.servers import Running, echoed, limits, running

BOB = CLIENTS.issue(Request.client("bob.test"))


def _revoking(authority: Authority, revoked: Credential | x509.Certificate) -> Trust:
    fresh = Authority(authority.certificate, authority.key)
    fresh.revoke(revoked)
    return listed(authority.trust, fresh.crl())


DENIED = [
    pytest.param(ALICE, OTHERS.trust, "issuer is not trusted", id="authority dropped"),
    pytest.param(BELOW, OTHERS.trust, "issuer is not trusted", id="authority above dropped"),
    pytest.param(
        ALICE, Authority.root("clients").trust, "issuer is not trusted", id="same name trusted"
    ),
    pytest.param(
        ALICE, Trust((dated(CLIENTS, -20, -10),)), "not valid any more", id="authority expired"
    ),
    pytest.param(ALICE, _revoking(CLIENTS, ALICE), "was revoked", id="revoked"),
    pytest.param(
        BELOW,
        two_lists(ISSUING.certificate, issued_by_root=True),
        "a CA of the client certificate was revoked",
        id="authority revoked",
    ),
    pytest.param(
        BELOW,
        listed(CLIENTS.trust, Authority(CLIENTS.certificate, CLIENTS.key).crl()),
        "cannot be checked",
        id="no list of the intermediate",
    ),
    pytest.param(
        ALICE,
        listed(
            CLIENTS.trust,
            Authority(CLIENTS.certificate, CLIENTS.key, clock=lambda: NOW - 9 * DAY).crl(),
        ),
        "cannot be checked for revocation any more",
        id="list expired",
    ),
]

SERVED = [
    pytest.param(ALICE, CLIENTS.trust, id="nothing but the server's certificate is new"),
    pytest.param(ALICE, CLIENTS.trust | OTHERS.trust, id="authority added"),
    pytest.param(BELOW, OTHERS.trust | CLIENTS.trust, id="authority added, path of three"),
    pytest.param(BELOW, Trust((ISSUING.certificate,)), id="intermediate pinned"),
    pytest.param(ALICE, Trust((ALICE.certificate,)), id="client pinned"),
    pytest.param(ALICE, _revoking(CLIENTS, BOB), id="another revoked"),
    pytest.param(BELOW, two_lists(ALICE.certificate, issued_by_root=True), id="two lists"),
    pytest.param(
        ALICE,
        listed(
            CLIENTS.trust,
            Authority(CLIENTS.certificate, CLIENTS.key, clock=lambda: NOW - 9 * DAY).crl(),
            Authority(CLIENTS.certificate, CLIENTS.key).crl(),
        ),
        id="an expired list beside a valid one",
    ),
    # One name and key: OpenSSL takes the valid one, whichever stands first.
    pytest.param(
        ALICE,
        Trust((dated(CLIENTS, -20, -10), dated(CLIENTS, -1, 1))),
        id="an expired authority beside its renewal",
    ),
    pytest.param(
        BELOW,
        Trust((dated(CLIENTS, -1, 1), dated(CLIENTS, -20, -10))),
        id="an authority's renewal beside the expired one",
    ),
    pytest.param(ALICE, None, id="no client is asked any more"),
]


@versions
@pytest.mark.parametrize(("who", "trust", "reason"), DENIED)
async def test_a_client_that_began_before_a_reload_is_denied_by_what_is_in_use_after(
    who: Credential, trust: Trust, reason: str, version: ssl.TLSVersion
) -> None:
    contexts = [trusting(CLIENTS.trust)]
    async with running(lambda: contexts[-1], limits=limits()) as here:
        halfway = await Halfway.into(here, tls_client(who, version))
        contexts.append(trusting(trust))
        said = denial_in(await halfway.go_on())
        report = await here.event("connection")
        assert not await is_served(here, who)  # OpenSSL is of the same opinion
    assert said is not None
    assert reason in said
    assert (report["outcome"], report["ended"]) == ("denied", "denied")
    assert report["causes"] == ["not-authorised"]
    assert not [event for event in here.events if event.name == "accepted"]


@versions
@pytest.mark.parametrize(("who", "trust"), SERVED)
async def test_a_client_that_began_before_a_reload_is_served_if_it_would_be_now(
    who: Credential, trust: Trust | None, version: ssl.TLSVersion
) -> None:
    contexts = [trusting(CLIENTS.trust)]
    async with running(lambda: contexts[-1], limits=limits()) as here:
        halfway = await Halfway.into(here, tls_client(who, version))
        contexts.append(trusting(trust))
        assert await halfway.go_on() == b"hello"
        report = await here.event("connection")
        assert await is_served(here, who)  # OpenSSL is of the same opinion
    assert report["outcome"] == "echoed"


async def test_asking_whether_a_client_is_denied_changes_nothing() -> None:
    served, replaced = trusting(CLIENTS.trust), trusting(OTHERS.trust)
    reasons: list[str | None] = []

    async def ask(stream: TLSStream) -> None:
        assert isinstance(stream, Connection)
        admission = Admission(Access())
        for context in (served, replaced, replaced, served):
            reasons.append(admission.denial(stream, context))
            assert stream.verified_with is served
            assert not admission._issuers
        await echo(stream)

    async with running(served, ask, limits=limits()) as here:
        assert await is_served(here, BELOW)
    assert reasons[0] is reasons[3] is None
    assert reasons[1] == reasons[2] == "the client certificate's issuer is not trusted any more"


async def test_an_anonymous_client_is_denied_when_a_certificate_is_needed_by_now() -> None:
    contexts = [server_context(LOCALHOST, CLIENTS.trust, client_auth=ClientAuth.OPTIONAL)]
    async with running(lambda: contexts[-1], limits=limits()) as here:
        for needed in (False, True):
            halfway = await Halfway.into(here, tls_client(None))
            auth = ClientAuth.REQUIRED if needed else ClientAuth.OPTIONAL
            contexts.append(server_context(LOCALHOST, CLIENTS.trust, client_auth=auth))
            answer = await halfway.go_on()
            assert (denial_in(answer) is not None) is needed


async def test_undescribed_contexts_are_examined_as_far_as_can_be_seen() -> None:
    def plain(*trust: Trust) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_REQUIRED
        LOCALHOST.load_into(context)
        for each in trust:
            each.load_into(context)
        return context

    # A list among them, or an anchor that is not a CA, cannot be seen.
    for trust, admitted in (
        (CLIENTS.trust, True),
        (OTHERS.trust, False),
        (_revoking(CLIENTS, BOB), False),
        (CLIENTS.trust | Trust((BELOW.certificate,)), False),
    ):
        contexts = [plain(CLIENTS.trust)]
        async with running(lambda: contexts[-1], limits=limits()) as here:  # noqa: B023
            halfway = await Halfway.into(here, tls_client(ALICE))
            contexts.append(plain(trust))
            assert (denial_in(await halfway.go_on()) is None) is admitted


@versions
async def test_a_silent_client_meets_the_context_in_use_at_its_first_byte(
    version: ssl.TLSVersion,
) -> None:
    contexts = [trusting(CLIENTS.trust)]
    async with running(lambda: contexts[-1], limits=limits()) as here:
        silent = await here.tcp()
        async with await here.connect(tls_client(ALICE)) as other:
            assert await echoed(other) == b"hello"  # so the silent one was accepted before it
        contexts.append(trusting(OTHERS.trust))
        late = TLSStream(silent, tls_client(ALICE, version), server_name="localhost")

        async def speak() -> None:
            async with late:
                await late.do_handshake()
                await late.receive_some()

        with pytest.raises(TLSFailure) as refusal:
            await speak()
        alert = refusal.value.evidence.alert
        assert alert is not None
        assert alert.code == 48  # unknown_ca: OpenSSL's verdict, in the handshake


async def answer_to_one_that_waits(here: Running, meanwhile: Callable[[], None]) -> bytes:
    """What a client gets that has to wait for the only place, while something happens."""
    # Both are accepted while there is a place; when one has it, the other waits for it.
    waiting = await Halfway.into(here, tls_client(ALICE))
    first = await here.connect(tls_client(ALICE))
    assert await echoed(first) == b"hello"
    answers: list[bytes] = []

    async def go_on() -> None:
        answers.append(await waiting.go_on())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(go_on)
        # Its handshake is complete, and nothing tells us when it begins to wait.
        while not here.server._capacity.statistics().tasks_waiting:
            await trio.testing.wait_all_tasks_blocked(0.001)
        meanwhile()
        await first.aclose()
    [answer] = answers
    return answer


@pytest.mark.parametrize("days", [0, 40])
async def test_a_client_that_waits_for_a_place_is_denied_if_its_certificate_expires_meanwhile(
    monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    context = trusting(CLIENTS.trust)
    later = SimpleNamespace(now=lambda _: NOW + days * DAY)
    clock = SimpleNamespace(UTC=datetime.UTC, datetime=later)
    async with running(lambda: context, limits=limits(max_connections=1)) as here:
        answer = await answer_to_one_that_waits(
            here, lambda: monkeypatch.setattr(admission, "datetime", clock)
        )
        # The place that it waited for is free again.
        monkeypatch.undo()
        async with await here.connect(tls_client(ALICE)) as next_one:
            assert await echoed(next_one) == b"hello"
    assert denial_in(answer) == ("the client certificate is not valid any more" if days else None)


async def test_a_client_that_waits_for_a_place_over_a_reload_is_verified_again() -> None:
    contexts = [trusting(CLIENTS.trust)]
    async with running(lambda: contexts[-1], limits=limits(max_connections=1)) as here:
        answer = await answer_to_one_that_waits(
            here, lambda: contexts.append(trusting(OTHERS.trust))
        )
    assert denial_in(answer) is not None
