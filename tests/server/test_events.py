"""A log that clients cannot abuse."""

from __future__ import annotations

import datetime
import io
import json
import sys
from dataclasses import replace
from typing import Any, get_args

import msgspec
import pytest
import trio
import trio.testing
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mtls_echo_client.context import client_context
from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.tbs import TBSCertificate
from mtls_echo_pki.flaws.baseline import with_extension
from mtls_echo_server import events, log
from mtls_echo_server.context import server_context
from mtls_echo_server.events import Event
from mtls_echo_server.log import BURST, EventLog, LogFormat
from mtls_echo_tls.diagnosis.diagnose import diagnose
from mtls_echo_tls.diagnosis.evidence import Evidence
from mtls_echo_tls.trace.shown import AlertSeen
from tests.support.authorities import SERVERS
from tests.support.servers import Authorities
from tests.support.tls import LOCALHOST, reports, tls_pair


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def log_lines(*happened: Event, log_format: Any = "text") -> list[str]:
    file = io.StringIO()
    log = EventLog(log_format, file)
    for event in happened:
        log(event)
    return file.getvalue().splitlines()


def refusal(where: str = "127.0.0.1:5", code: int = 116) -> Event:
    alert = AlertSeen(code, sent=True, protected=True)
    reason = "PEER_DID_NOT_RETURN_A_CERTIFICATE"
    evidence = Evidence("server", stage="handshake", reason=reason, alert=alert)
    return events.connection(where, diagnose(evidence), ended="failure", received=0, sent=0)


def test_a_refusal_is_one_line_that_says_who_why_the_alert_and_what_to_do() -> None:
    [line] = log_lines(refusal())
    assert "refused 127.0.0.1:5: " in line
    assert "(sent alert certificate_required (116))" in line
    assert "; hint: " in line


@pytest.mark.parametrize(
    ("reason", "hint"),
    [
        ('"alice" is not among the clients that are authorised', "extend Access, if"),
        ("the client certificate cannot be read", "have the client's certificate issued again"),
        (
            "the client certificate was revoked",
            "nothing, if access was to end; Access is not what",
        ),
    ],
)
def test_a_denial_says_why_and_blames_the_rules_only_where_they_are_the_reason(
    reason: str, hint: str
) -> None:
    evidence = Evidence("client", stage="established", version="TLSv1.3")
    evidence.deny(reason)
    assert ("Access extended" in diagnose(evidence).remedy) == reason.endswith("authorised")
    evidence = Evidence("server", stage="established", version="TLSv1.3")
    evidence.deny(reason)
    event = events.connection("a:5", diagnose(evidence), ended="denied", received=0, sent=0)
    [line] = log_lines(event)

    assert f"; told the client: {reason}; hint: {hint}" in line


def test_of_a_client_that_does_not_speak_tls_its_first_bytes_are_logged() -> None:
    evidence = Evidence("server", stage="handshake", first_bytes=b"PROXY TCP4 \x1b[31m\r\n" * 9)
    event = events.connection("a:5", diagnose(evidence), ended="failure", received=0, sent=0)

    [line] = log_lines(event)

    assert r"speak TLS; received: 'PROXY TCP4 \x1b[31m\r\nPROXY TCP4 \x1b[3'; hint: " in line
    assert line.isprintable()


@pytest.mark.parametrize(
    ("duration_ms", "said"), [(0.31, "0.3 ms"), (999.0, "999.0 ms"), (61_500.0, "61.5 s")]
)
def test_how_long_a_connection_lasted_is_said_in_a_unit_that_shows_it(
    duration_ms: float, said: str
) -> None:
    report = diagnose(Evidence("server", stage="established", version="TLSv1.3"))
    report = msgspec.structs.replace(report, duration_ms=duration_ms)
    [line] = log_lines(events.connection("[::1]:5", report, ended="client", received=6, sent=6))
    assert line.endswith(f"closed by the client, 6 bytes in, 6 bytes out, {said}")


def test_json_has_the_fields_of_the_report_beside_the_event_and_the_time() -> None:
    [line] = log_lines(refusal(), log_format="json")
    event = json.loads(line)
    assert list(event)[:3] == ["event", "time", "peer_address"]
    assert event["event"] == "connection"
    assert event["time"].endswith("Z")
    assert event["causes"] == ["no-client-certificate"]
    assert event["alert"]["code"] == 116


@pytest.mark.parametrize("client_auth", ["none", "optional", "required"])
def test_listening_says_what_is_demanded_of_clients(client_auth: str) -> None:
    event = events.listening("::1", 8443, client_auth=client_auth, pid=7)
    [line] = log_lines(event)
    assert "listening on [::1]:8443, client" in line
    [line] = log_lines(event, log_format="json")
    assert json.loads(line)["client_auth"] == client_auth


def test_a_peer_cannot_forge_a_line_or_move_the_cursor() -> None:
    evil = "alice\n12:00:00 accepted\r\x1b[2J\u202e\ud800"
    [line] = log_lines(events.warning(evil))
    assert line.isprintable()
    assert r"alice\n12:00:00 accepted\r\x1b[2J\u202e\ud800" in line
    [line] = log_lines(events.warning(evil), log_format="json")
    assert json.loads(line)["message"].startswith("alice\n")


def test_a_line_is_bounded_whatever_is_in_it() -> None:
    [line] = log_lines(events.warning("x" * 1_000_000))
    assert len(line) == 1000
    [line] = log_lines(
        events.warning("x" * 1_000_000, names=["y" * 10_000] * 10_000), log_format="json"
    )
    assert len(line) < 40_000


def test_a_flood_is_counted_instead_of_copied() -> None:
    clock, file = Clock(), io.StringIO()
    log = EventLog("json", file, clock=clock)
    for number in range(1000):
        log(refusal(f"192.0.2.1:{number}"))
    assert len(file.getvalue().splitlines()) == BURST
    log(refusal("192.0.2.2:1"))  # another address is not drowned
    assert len(file.getvalue().splitlines()) == BURST + 1
    log.flush()
    clock.now += 10
    log.flush()
    suppressed = json.loads(file.getvalue().splitlines()[-1])
    assert suppressed["event"] == "suppressed"
    assert suppressed["of"] == "connection"
    assert suppressed["count"] == 1000 - BURST
    assert "192.0.2.1" in suppressed["like"]
    assert "no-client-certificate" in suppressed["like"]
    log.flush()
    log.flush(final=True)
    assert len(file.getvalue().splitlines()) == BURST + 2  # counted once


def test_the_last_count_is_written_at_the_end() -> None:
    file = io.StringIO()
    log = EventLog("json", file, clock=Clock())
    for _ in range(300):
        log(refusal())
    log.flush(final=True)
    assert json.loads(file.getvalue().splitlines()[-1])["count"] == 100


def test_addresses_without_end_share_one_count() -> None:
    file = io.StringIO()
    log = EventLog("json", file, clock=Clock())
    for number in range(100_000):
        log(refusal(f"[2001:db8::{number:x}]:1"))
    assert len(file.getvalue().splitlines()) < 64 + BURST + 1


def test_a_lasting_condition_is_logged_once_in_ten_seconds() -> None:
    clock, file = Clock(), io.StringIO()
    log = EventLog("text", file, clock=clock)
    for _ in range(100):
        log(events.accept_error("too many open files"))
        clock.now += 0.1
    assert len(file.getvalue().splitlines()) == 1
    clock.now += 1
    log(events.accept_error("too many open files"))
    once, count, again = file.getvalue().splitlines()
    assert "cannot accept: too many open files" in once
    assert " 99 more events like this in 11 s: accept-error" in count
    assert "cannot accept: too many open files" in again


def test_a_count_is_written_when_due_whatever_stands_between_the_server_and_the_log() -> None:
    clock, file = Clock(), io.StringIO()
    log = EventLog("json", file, clock=clock)

    def wrapped(event: Event) -> None:
        log(event)

    def counts() -> list[int]:
        written = map(json.loads, file.getvalue().splitlines())
        return [event["count"] for event in written if event["event"] == "suppressed"]

    for _ in range(300):
        wrapped(refusal())
    clock.now += 5
    wrapped(events.warning("not yet"))
    assert counts() == []
    clock.now += 5
    wrapped(events.warning("now"))
    assert counts() == [100]
    for _ in range(300):
        wrapped(refusal())
    wrapped(events.stopped(0, 0))
    assert counts() == [100, 200]  # in those 10 s 100 more had become due
    assert json.loads(file.getvalue().splitlines()[-1])["event"] == "stopped"


async def test_a_running_log_writes_counts_when_no_event_comes(
    autojump_clock: trio.testing.MockClock,
) -> None:
    file = io.StringIO()
    log = EventLog("json", file, clock=trio.current_time)
    for _ in range(300):
        log(refusal())
    with trio.move_on_after(60):
        await log.run()
    assert json.loads(file.getvalue().splitlines()[-1])["count"] == 100


def test_what_authenticated_clients_do_is_always_written() -> None:
    pki = Authorities()
    chain = pki.alice.chain_der
    report = diagnose(Evidence("server", stage="established", version="TLSv1.3", peer_chain=chain))
    happened = [
        events.connection(f"127.0.0.1:{number}", report, ended="client", received=1, sent=1)
        for number in range(1000)
    ]
    assert len(log_lines(*happened)) == 1000


def hostile_certificate() -> bytes:
    """Signed by any CA; with names that are long, and longer still when they are escaped."""
    key = ec.generate_private_key(ec.SECP256R1())
    evil = "\u202e\U000e0001\x1b" * 20
    name = x509.Name(
        [x509.NameAttribute(NameOID.STREET_ADDRESS, text) for text in (evil, "ü€" * 99)]
    )
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), (1 << 159) - 1, now, now)
    names = [x509.DNSName("\x1b" * 300), *(x509.DNSName(f"{n}.test") for n in range(2000))]
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def success(chain: tuple[bytes, ...] = (), server_name: str | None = None) -> Evidence:
    return Evidence(
        "server",
        server_name,
        "established",
        version="TLSv1.3",
        cipher="TLS_AES_256_GCM_SHA384",
        peer_chain=chain,
        own_chain=chain,
        client_random="0f" * 32,
    )


@pytest.mark.parametrize("peer", ["anonymous", "ordinary", "hostile"])
def test_a_success_is_encoded_as_any_event_would_be(peer: str) -> None:
    evidence = success()
    if peer == "ordinary":
        evidence = success(Authorities().alice.chain_der, "localhost")
    if peer == "hostile":
        evidence = success((hostile_certificate(),), "\ufffd" * 255)
    report = diagnose(evidence)
    assert report.outcome == "echoed"
    for ended in ("client", "idle", "interrupted", "abort"):
        event = events.connection("[2001:db8::1]:5", report, ended=ended, received=7, sent=5)
        assert log._bounded(event.fields) == event.fields
        general = msgspec.json.encode({"event": "connection", "time": "now", **event.fields})
        assert log._json(event, "now") == general
        [line] = log_lines(event, log_format="json")
        assert list(json.loads(line)) == ["event", "time", *event.fields]


def test_a_traced_success_is_bounded_as_any_event_is() -> None:
    evidence = success()
    evidence.recorder.requested = True
    body = b"\x01\0\0\xff" + bytes(255)
    for _ in range(40):
        evidence.recorder.record("read", 0x0304, 22, body)
    event = events.connection("a:5", diagnose(evidence), ended="client", received=7, sent=5)
    [line] = log_lines(event, log_format="json")
    assert line.startswith('{"event":"connection"')
    assert len(json.loads(line)["trace"]) == 40


def test_without_a_standard_error_nothing_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)  # what Python makes of ``2>&-``
    for log_format in get_args(LogFormat):
        EventLog(log_format)(events.warning("this is not read"))


def test_a_log_that_cannot_be_written_stops_nothing() -> None:
    class Gone(io.StringIO):
        def write(self, _: str) -> int:
            raise BrokenPipeError

    EventLog("text", Gone())(events.warning("this is not read"))
    closed = io.StringIO()
    closed.close()
    EventLog("json", closed)(events.warning("nor this"))


async def test_the_line_of_a_refusal_has_the_certificate_at_fault_and_what_was_found() -> None:
    root = Authority.root("Root")
    issuing = root.intermediate("Issuing CA 2")
    bearer = issuing.issue(Request.client("alice.test"))
    tbs = TBSCertificate.of(issuing.certificate)
    usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])
    above = root.certify(with_extension(tbs, usage))
    one = client_context(SERVERS.trust, replace(bearer, chain=(above,)))

    _, report = await reports(*tls_pair(one, server_context(LOCALHOST, root.trust)))
    happened = events.connection("192.0.2.1:9", report, ended="error", received=0, sent=0)
    (line,) = log_lines(happened)

    assert "the intermediate “Issuing CA 2”, above its certificate, may not issue" in line
    assert "; found: “Issuing CA 2”: extendedKeyUsage is serverAuth; clientAuth is needed" in line
    assert "have the intermediate “Issuing CA 2” reissued by “Root”" in line
