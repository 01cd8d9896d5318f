"""What a server that does not echo proves by its handshake."""

from __future__ import annotations

import socket
import ssl

import pytest
import trio.testing
from msgspec import structs

from mtls_echo_client.check import check
from mtls_echo_client.context import client_context
from mtls_echo_client.exit_status import exit_status
from mtls_echo_tls.denial import denial_line
from mtls_echo_tls.diagnosis.joint import join_reports
from tests.client.checking import facts, falling_silent, report_of, silent
from tests.client.sessions import alice, versions
from tests.client.sessions import world as world
from tests.support.authorities import UNTRUSTED_CA
from tests.support.clients import (
    Behaviour,
    World,
    accepted,
    close_at_once,
    saying,
    serving,
    speaking_plainly,
)
from tests.support.timing import TIMEOUT, flying


@versions
async def test_a_silent_server_has_not_refused_us_and_no_more(
    world: World, version: str, mock_clock: trio.testing.MockClock
) -> None:
    behaviour = falling_silent(flying(mock_clock))

    report = await report_of(world, behaviour, version=version, wait=1)

    told = facts(report)
    assert (report.outcome, report.causes, exit_status(report)) == ("completed", [], 0)
    assert report.stage == ("established" if version == "1.2" else "first-read")
    assert told["server"].startswith("proved to be localhost, by a certificate for localhost")
    assert told["asked for"].startswith("a certificate of any CA: it names none; signed by ")
    assert told["we sent"].startswith("certificate for alice.test, issued by ")
    assert report.summary.endswith("the server has not refused us within 1 s")
    assert told["proved"].startswith(
        "our certificate is not refused within 1 s, which is not yet proof that it is accepted"
    )


@versions
async def test_a_server_that_asks_for_no_certificate_is_not_mutual_tls(
    world: World, version: str, mock_clock: trio.testing.MockClock
) -> None:
    behaviour = falling_silent(flying(mock_clock))

    report = await report_of(world, behaviour, version=version, verify=ssl.CERT_NONE, wait=1)

    assert facts(report)["asked for"] == "no certificate of ours: this is not mutual TLS"
    assert report.requested is None
    assert exit_status(report) == 0


@versions
@pytest.mark.parametrize(
    ("presented", "cause"), [(None, "no-client-certificate"), ("untrusted", "unknown-authority")]
)
async def test_a_refusal_comes_while_it_is_waited_for(
    world: World, version: str, presented: str | None, cause: str
) -> None:
    credential = world.untrusted if presented else None
    context = client_context(world.servers.trust, credential)

    report = await report_of(world, silent, version=version, context=context)

    assert (report.outcome, report.rejected_by, report.causes[0]) == ("refused", "server", cause)
    assert exit_status(report) == 5


@versions
async def test_a_first_word_is_proof(world: World, version: str) -> None:
    report = await report_of(world, saying(b"220 mx.test ESMTP Exim\r\n"), version=version)

    assert (report.outcome, report.stage) == ("completed", "established")
    assert report.answer is not None
    assert (report.answer.protocol, report.answer.text) == ("SMTP", "220 mx.test ESMTP Exim")
    assert exit_status(report) == 0


@versions
async def test_a_close_without_a_word_is_not_a_success(world: World, version: str) -> None:
    report = await report_of(world, saying(), version=version)

    assert (report.outcome, exit_status(report)) == ("failed", 6)
    assert "closed-without-alert" in report.causes


@versions
async def test_an_end_without_a_word_may_be_for_the_certificate(
    world: World, version: str
) -> None:
    """As GnuTLS has it in TLS 1.2: its programs verify when the handshake is complete."""
    lenient = world.server_context(version, trust=UNTRUSTED_CA.trust)
    context = client_context(world.servers.trust, world.untrusted)

    with serving(lambda tcp, settings: accepted(tcp, settings).close(), lenient) as port:
        report = await check("localhost", port, context, wait=TIMEOUT)

    assert report.causes[0] == "unknown-authority"
    assert report.causes[-1] in ("closed-without-alert", "truncated", "reset")
    assert report.summary.startswith("the server left without having sent a byte, perhaps")
    assert "alpn h2" in facts(report)["offered"]  # or for want of a protocol, as gRPC's
    assert exit_status(report) == 6


@pytest.mark.parametrize(
    ("offered", "told"),
    [(("http/1.1", "http/1.0"), "http/1.1, http/1.0,"), (("h2", "http/1.1"), "")],
)
async def test_what_was_offered_is_told_where_it_may_be_too_little(
    world: World, offered: tuple[str, ...], told: str
) -> None:
    context = client_context(world.servers.trust, world.alice, alpn=offered)

    report = await report_of(world, silent, context=context, http="/")

    assert report.causes == ["no-common-alpn"]
    assert facts(report).get("offered", "").partition(" which a server of HTTP/2")[0] == told


async def test_a_denial_is_a_denial(world: World) -> None:
    for http in (None, "/"):
        report = await report_of(world, saying(denial_line("only bob")), http=http)

        assert (report.outcome, exit_status(report)) == ("denied", 9)


@pytest.mark.parametrize(
    ("behaviour", "status"), [(speaking_plainly(b"SSH-2.0-x\r\n"), 8), (close_at_once, 6)]
)
async def test_no_handshake_is_a_failure(world: World, behaviour: Behaviour, status: int) -> None:
    report = await report_of(world, behaviour)

    assert (report.outcome, exit_status(report)) == ("failed", status)


@pytest.mark.parametrize("tickets", [0, 1])
async def test_a_session_ticket_is_told_and_is_not_proof(
    world: World, tickets: int, mock_clock: trio.testing.MockClock
) -> None:
    context = world.server_context()
    context.num_tickets = tickets
    with serving(falling_silent(flying(mock_clock)), context) as port:
        report = await check("localhost", port, alice(world))

    assert report.stage == "first-read"
    assert ("sent a session ticket" in facts(report)["proved"]) is bool(tickets)


async def test_what_to_look_up_is_that_of_the_protocol_in_which_tls_began(world: World) -> None:
    def postgres(connection: socket.socket, context: ssl.SSLContext) -> None:
        connection.recv(8)
        connection.sendall(b"S")
        silent(connection, context)

    stranger = client_context(world.servers.trust, world.untrusted)
    with serving(postgres, world.server_context()) as port:
        report = await check("localhost", port, stranger, starttls="postgres", wait=TIMEOUT)

    assert exit_status(report) == 5
    told = [fact for fact in facts(report) if fact.startswith("on ")]
    assert told == ["on PostgreSQL"]


async def test_both_ends_reports_of_a_handshake_are_joined(world: World) -> None:
    report = await report_of(world, saying(b"220 mx.test ESMTP\r\n"))
    other = structs.replace(report, side="server", outcome="failed", causes=["timeout"])

    well = join_reports(report, structs.replace(report, side="server", outcome="echoed"))
    not_well = join_reports(report, other)

    assert (well.causes, well.summary) == ((), "the client and the server accepted each other")
    assert not_well.causes == ("timeout",)
