"""Which clients a service admits, over loopback TCP."""

from __future__ import annotations

import ssl

import pytest

from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.request import Request
from mtls_echo_server.context import ClientAuth, server_context
from mtls_echo_tls.denial import denial_in
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.stream.tls import TLSStream
from tests.server.service.world import pki as pki
from tests.support.servers import (
    VERSIONS,
    Authorities,
    access,
    echoed,
    everything,
    limits,
    running,
)

versions = pytest.mark.parametrize(
    "version", [version for _, version in VERSIONS], ids=[name for name, _ in VERSIONS]
)


@versions
async def test_a_client_with_a_certificate_gets_its_bytes_back(
    pki: Authorities, version: ssl.TLSVersion
) -> None:
    async with running(pki.server_context(), limits=limits()) as here:
        async with await here.connect(pki.client_context(pki.alice, version)) as stream:
            assert await echoed(stream, b"x" * 300_000) == b"x" * 300_000
        accepted = await here.event("accepted")
        report = await here.event("connection")
    assert accepted["identity"] == "alice.test"
    assert accepted["fingerprint"] == pki.alice.fingerprint
    assert report["outcome"] == "echoed"
    assert report["ended"] == "client"
    assert report["bytes_received"] == report["bytes_sent"] == 300_000


@versions
@pytest.mark.parametrize("client_auth", list(ClientAuth))
@pytest.mark.parametrize("who", ["alice", "unauthenticated", "untrusted"])
async def test_client_authentication_is_what_it_is_called(
    pki: Authorities, version: ssl.TLSVersion, client_auth: ClientAuth, who: str
) -> None:
    credential = {"alice": pki.alice, "unauthenticated": None, "untrusted": pki.untrusted}[who]
    welcome = {
        ClientAuth.NONE: {"alice", "unauthenticated", "untrusted"},  # no client is asked
        ClientAuth.OPTIONAL: {"alice", "unauthenticated"},
        ClientAuth.REQUIRED: {"alice"},
    }[client_auth]
    async with running(pki.server_context(client_auth), limits=limits()) as here:
        context = pki.client_context(credential, version)
        if who in welcome:
            async with await here.connect(context) as stream:
                assert await echoed(stream) == b"hello"
            accepted = await here.event("accepted")
            proven = who == "alice" and client_auth is not ClientAuth.NONE
            assert accepted["identity"] == ("alice.test" if proven else None)
        else:
            with pytest.raises(TLSFailure) as refusal:
                async with await here.connect(context) as stream:
                    await stream.receive_some()
            alert = refusal.value.evidence.alert
            assert alert is not None
            missing = (
                "certificate_required"
                if version == ssl.TLSVersion.TLSv1_3
                else ("handshake_failure")
            )
            expected = missing if who == "unauthenticated" else "unknown_ca"
            report = await here.event("connection")
            assert report["outcome"] == "refused"
            assert report["alert"]["name"] == expected
            assert report["alert"]["code"] == alert.code
            assert report["client_random"] == refusal.value.evidence.client_random
        assert (await here.event("listening"))["client_auth"] == client_auth.value


@versions
async def test_an_authenticated_client_that_is_not_authorised_reads_why_and_a_clean_end(
    pki: Authorities, version: ssl.TLSVersion
) -> None:
    rules = access(cn=["bob"])
    async with running(pki.server_context(), access=rules, limits=limits()) as here:
        async with await here.connect(pki.client_context(pki.alice, version)) as stream:
            reason = denial_in(await everything(stream))
        report = await here.event("connection")
    assert reason is not None
    assert "alice.test" in reason
    assert report["outcome"] == "denied"
    assert report["causes"] == ["not-authorised"]
    assert report["alert"] is None
    assert not [event for event in here.events if event.name == "accepted"]


async def test_an_anonymous_client_is_denied_where_only_certain_ones_are_authorised(
    pki: Authorities,
) -> None:
    context = pki.server_context(ClientAuth.OPTIONAL)
    async with running(context, access=access(cn=["alice"]), limits=limits()) as here:
        async with await here.connect(pki.client_context()) as stream:
            assert denial_in(await everything(stream))
        async with await here.connect(pki.client_context(pki.alice)) as stream:
            assert await echoed(stream) == b"hello"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(("asked", "is_named"), [("other.test", False), ("localhost", True)])
async def test_a_client_that_leaves_without_a_byte_may_have_minded_the_name(
    pki: Authorities, version: ssl.TLSVersion, asked: str, is_named: bool
) -> None:
    """curl compares the name after the handshake, and sends no alert."""
    context = pki.client_context(pki.alice)
    context.check_hostname = False
    context.minimum_version = context.maximum_version = version
    async with running(pki.server_context(), limits=limits()) as here:
        stream = TLSStream(await here.tcp(), context, server_name=asked)
        await stream.do_handshake()
        await here.event("accepted")
        await stream.aclose()
        report = await here.event("connection")
        [told] = [event.text for event in here.events if event.name == "connection"]
    assert report["outcome"] == "echoed"
    assert "closed by the client before it had sent a byte, as some do that refuse" in told
    assert ("; other.test was asked for" in told) is not is_named
    assert ("found: it names localhost" in told) is not is_named


async def test_the_context_is_asked_for_at_each_connection(pki: Authorities) -> None:
    contexts = [pki.server_context()]
    async with (
        running(lambda: contexts[-1], limits=limits()) as here,
        await here.connect(pki.client_context(pki.alice)) as old,
    ):
        assert await echoed(old) == b"hello"
        others = Authority.root("clients")
        contexts.append(server_context(pki.server, others.trust))
        with pytest.raises(TLSFailure):
            async with await here.connect(pki.client_context(pki.alice)) as stream:
                await stream.receive_some()
        async with await here.connect(
            pki.client_context(others.issue(Request.client("alice.test")))
        ) as stream:
            assert await echoed(stream) == b"hello"
        # Who was let in before stays.
        assert await echoed(old) == b"hello"


@versions
async def test_the_version_of_a_refused_handshake_is_known_once_it_is_chosen(
    pki: Authorities, version: ssl.TLSVersion
) -> None:
    name = version.name.replace("_", ".")
    async with running(pki.server_context(), limits=limits()) as here:
        with pytest.raises(TLSFailure):
            async with await here.connect(pki.client_context(pki.untrusted, version)) as stream:
                await stream.receive_some()
        assert (await here.event("connection"))["tls"] is None
        async with await here.tcp() as transport:
            await transport.send_all(b"SSH-2.0-x\r\n")
        await here.event("connection", 2)
        async with await here.connect(pki.client_context(pki.alice, version)) as stream:
            await echoed(stream)
        await here.event("connection", 3)
    ended = [event.version for event in here.events if event.name == "connection"]
    assert ended == [name, None, name]
