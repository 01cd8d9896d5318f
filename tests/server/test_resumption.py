"""A resumed session is verified again by what is in use."""

from __future__ import annotations

import datetime
import ssl

import pytest
import trio
from cryptography import x509

from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_tls.denial import denial_in
from tests.server.admission_world import (
    BELOW,
    CLIENTS,
    DAY,
    ISSUING,
    OTHERS,
    Halfway,
    is_served,
    lapsing,
    tls_client,
    trusting,
    two_lists,
    versions,
)
from tests.support.servers import limits, running, visit


@versions
@pytest.mark.parametrize(
    ("lapse", "reason"),
    [
        pytest.param("certificate", "the client certificate is not valid any more", id="its own"),
        pytest.param("issuing", "a CA of the client certificate is not valid", id="issuer's"),
        pytest.param("root", "a CA of the client certificate is not valid", id="the anchor's"),
        pytest.param("list", "cannot be checked for revocation any more", id="a list's"),
    ],
)
async def test_a_resumed_session_is_over_with_the_first_date_on_its_path(
    lapse: str, reason: str, version: ssl.TLSVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    trust, issuing, leaf = lapsing(lapse)
    served = trusting(trust, session_tickets=True)
    context = tls_client(Credential(BELOW.key, leaf, issuing.chain), version)
    session: ssl.SSLSession | None = None
    said: list[str | None] = []

    class Later(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Later:
            return cls.fromtimestamp((super().now(tz) + ahead * DAY).timestamp(), tz)

    ahead = 0.0
    monkeypatch.setattr("mtls_echo_server.admission.datetime.datetime", Later)
    async with running(served, limits=limits()) as here:
        for ahead in (0.0, 0.5, 2.5, 0.5):
            received, reused, session = await trio.to_thread.run_sync(
                visit, context, here.port, session
            )
            assert reused is bool(ahead)
            said.append(denial_in(received))
    assert said[0] is said[1] is None
    assert reason in (said[2] or "")
    assert said[3] is None  # nothing was held against it but the date


@versions
@pytest.mark.parametrize(
    ("trust", "reason"),
    [
        pytest.param(CLIENTS.trust, None, id="same trust"),
        pytest.param(OTHERS.trust, "not trusted any more", id="authority dropped"),
        pytest.param(
            two_lists(ISSUING.certificate, issued_by_root=True), "revoked", id="authority revoked"
        ),
        pytest.param(two_lists(BELOW.certificate, issued_by_root=False), "revoked", id="revoked"),
    ],
)
async def test_a_resumption_that_began_before_a_reload_is_verified_as_any_other(
    trust: Trust, reason: str | None, version: ssl.TLSVersion
) -> None:
    context = tls_client(BELOW, version)
    contexts = [trusting(CLIENTS.trust, session_tickets=True)]
    async with running(lambda: contexts[-1], limits=limits()) as here:
        _, _, session = await trio.to_thread.run_sync(visit, context, here.port, None)
        halfway = await Halfway.into(here, context, session)
        contexts.append(trusting(trust))
        said = denial_in(await halfway.go_on())
        assert (await here.event("connection", 2))["tls"]["resumed"]
    assert (said is None) is (reason is None)
    assert (reason or "") in (said or "")


async def test_what_clients_send_along_is_not_kept_in_mind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mtls_echo_server.admission._MOST_ISSUERS", 2)
    junk = tuple(OTHERS.intermediate(f"junk {number}").certificate for number in range(3))
    departments = [CLIENTS.intermediate(f"department {number}") for number in range(3)]
    async with running(trusting(CLIENTS.trust, session_tickets=True), limits=limits()) as here:
        for department in departments:
            issued = department.issue(Request.client("alice.test"))
            sent = Credential(issued.key, issued.certificate, (*issued.chain, *junk))
            assert await is_served(here, sent)
    kept = [x509.load_der_x509_certificate(der) for der in here.server._admission._issuers]
    assert kept == [department.certificate for department in departments[1:]]
