"""The drawings: what a reader sees, within the columns there are, whatever a peer wrote."""

from __future__ import annotations

import ssl
from functools import partial
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import Request
from mtls_echo_tls.diagnosis.report import Report
from mtls_echo_tls.diagrams.full import sequence
from mtls_echo_tls.diagrams.overview import draw
from mtls_echo_tls.stream.tcp import TCPStream
from mtls_echo_tls.stream.tls import TLSStream
from mtls_echo_tls.trace.decoding import TraceEntry
from mtls_echo_tls.trace.messages import Message
from tests.support import timing
from tests.support.authorities import UNTRUSTED_CA
from tests.support.tls import (
    ALICE,
    V12,
    V13,
    both_versions,
    client_side,
    reports,
    server_side,
    tcp_pair,
)


async def conversation(
    version: ssl.TLSVersion,
    *,
    certificate: bool = True,
    name: str = "localhost",
    bearer: Credential = ALICE,
) -> tuple[Report, Report, list[Message]]:
    one, other = tcp_pair()
    client = client_side(version, bearer if certificate else None)
    stream = TLSStream(TCPStream(one), client, server_name=name, trace=True)
    server = TLSStream(TCPStream(other), server_side(version), server_side=True, trace=True)
    return *await reports(stream, server), stream.evidence.recorder.messages


def index(lines: list[str], *words: str) -> int:
    """The only line with these words."""
    [found] = [i for i, line in enumerate(lines) if all(word in line for word in words)]
    return found


@both_versions
async def test_every_message_is_an_arrow_with_its_moment_and_size(
    version: ssl.TLSVersion,
) -> None:
    client, server, _ = await conversation(version)
    for report in (client, server):
        lines = sequence(report)
        arrows = [line for line in lines if "▶" in line or "◀" in line]
        assert report.trace
        assert len(arrows) == len(report.trace)
        for entry, arrow in zip(report.trace, arrows, strict=True):
            assert f" {entry.name} " in arrow
            assert f" {entry.size} byte" in arrow
            assert arrow.split()[0] == f"{entry.time_ms:.1f}"
            to_server = (entry.direction == "sent") == (report.side == "client")
            assert ("▶" in arrow) == to_server
            assert ("══" in arrow) == entry.protected
        assert {len(line) for line in lines[:-1]} == {80}


@both_versions
async def test_both_verifications_stand_where_they_happen(version: ssl.TLSVersion) -> None:
    client, _, _ = await conversation(version)
    lines = sequence(client)
    server_is_verified = index(lines, "the client verifies the server's certificate: accepted")
    client_is_verified = index(lines, "the server verifies the client's certificate: accepted")
    theirs, ours = [i for i, line in enumerate(lines) if " Certificate " in line]
    assert theirs < server_is_verified < ours < client_is_verified
    assert index(lines, "both send application data") > client_is_verified
    assert index(lines, "names", "localhost") < index(lines, "names", "alice.test")


@both_versions
async def test_a_refusal_stands_before_its_alert_with_its_cause(version: ssl.TLSVersion) -> None:
    for report in (await conversation(version, certificate=False))[:2]:
        lines = sequence(report)
        none = index(lines, "certificate", "none: it presents no certificate")
        refusal = index(lines, "the server refuses: no-client-certificate")
        alert = index(lines, " Alert ", "◀")
        assert none < refusal < alert
        assert report.alert is not None
        assert index(lines, "alert", f"{report.alert.name} ({report.alert.code})") > alert
        assert "both send" not in "\n".join(lines)


async def test_a_refusal_that_can_mean_much_is_not_narrowed_to_the_first_two() -> None:
    refused_side, verifier, _ = await conversation(
        V13, bearer=UNTRUSTED_CA.issue(Request.client("a.test"))
    )
    assert len(verifier.causes) == 2
    assert "the server refuses: unknown-authority, or missing-intermediate" in "\n".join(
        sequence(verifier)
    )
    others = len(refused_side.causes) - 1
    lines = sequence(refused_side)
    assert index(lines, f"the server refuses: unknown-authority, or one of {others} others")
    assert {len(line) for line in lines[:-1]} == {80}


async def test_a_client_that_refuses_does_so_before_it_presents_anything() -> None:
    client, server, messages = await conversation(V13, name="wrong.test")
    for lines in (sequence(client), sequence(server), draw(messages, client)):
        text = "\n".join(lines)
        assert "the client refuses: wrong-name" in text
        assert "accepted" not in text
        assert "alice" not in text


@both_versions
async def test_the_glance_puts_each_flight_on_one_arrow(version: ssl.TLSVersion) -> None:
    client, _, messages = await conversation(version)
    lines = draw(messages, client, width=76)
    assert {len(line) for line in lines} == {76}
    text = "\n".join(lines)
    assert "ClientHello for localhost" in text
    assert "Certificate of alice.test" in text
    assert text.count("accepted") == 2
    assert "both send application data" in text
    assert ("ChangeCipherSpec" in text) == (version == V12)
    arrows = [line for line in lines if "▶" in line or "◀" in line]
    assert len(arrows) < len(messages) / 2


@both_versions
async def test_without_line_drawing_everything_is_ascii(version: ssl.TLSVersion) -> None:
    client, _, messages = await conversation(version)
    for lines in (sequence(client, ascii_only=True), draw(messages, client, ascii_only=True)):
        assert all(line.isascii() for line in lines)
        assert any("==" in line for line in lines)
        assert any("->" in line for line in lines)


async def test_a_report_that_was_logged_can_be_drawn() -> None:
    client, _, _ = await conversation(V13)
    logged = client.encode()
    assert sequence(msgspec.json.decode(logged, type=Report)) == sequence(client)


async def test_without_a_trace_there_is_nothing_to_draw() -> None:
    client, _, _ = await conversation(V13)
    assert sequence(msgspec.structs.replace(client, trace=None)) == []
    assert sequence(msgspec.structs.replace(client, trace=[])) == []


# --- whatever a peer wrote -----------------------------------------------------------------------

SEEN = timing.run(partial(conversation, V13))[0]


def drawn(**entry: Any) -> list[str]:
    known = {"time_ms": 1.0, "direction": "received", "name": "ClientHello", "size": 9}
    traced = TraceEntry(**{**known, "protected": False, "fields": {}, **entry})
    return sequence(msgspec.structs.replace(SEEN, side="server", trace=[traced], outcome="failed"))


@given(st.text(max_size=300), st.lists(st.text(max_size=80), max_size=70))
def test_no_text_of_a_peer_breaks_out_of_the_columns(name: str, protocols: list[str]) -> None:
    certificate = {
        "subject": name, "issuer": name, "names": protocols,
        "not_before": "2026-01-01T00:00:00Z", "not_after": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    for lines in (
        drawn(fields={"server_name": name, "alpn": protocols}),
        drawn(name="Certificate", fields={"certificates": [certificate]}),
        drawn(name="CertificateRequest", fields={"authorities": protocols}),
    ):
        assert all(len(line) <= 80 and line.isprintable() for line in lines)
        assert len(lines) < 30


def test_what_would_move_the_cursor_is_written_as_a_number() -> None:
    text = "\n".join(drawn(fields={"server_name": "a\x1b[2Jb\u202ec\u4e2d"}))
    assert r"a\x1b[2Jb\u202ec\u4e2d" in text


@pytest.mark.parametrize(
    ("name", "fields", "words"),
    [
        ("HelloRetryRequest", {"group": "secp384r1"}, "say hello again"),
        ("KeyUpdate", {"update_requested": True}, "yes"),
        ("NewSessionTicket", {"lifetime": 7200, "ticket_size": 9}, "7200 seconds"),
        ("ServerHello", {"resumed": True}, "earlier session"),
        ("ClientHello", {"resumption": ["session ticket"]}, "by session ticket"),
        ("ChangeCipherSpec", {}, "from here on I encrypt"),
        ("CertificateRequest", {"authorities": []}, "any CA"),
        ("Certificate", {"certificates": [{"unreadable": 7}]}, "unreadable, 7 bytes"),
        ("left out", {"messages": 12}, "12 more, too many to keep"),
    ],
)
def test_the_meaning_of_a_message_is_shown(name: str, fields: dict[str, Any], words: str) -> None:
    assert words in "\n".join(drawn(name=name, fields=fields))
