"""What crossed the wire, and what OpenSSL said of it, is what the reports say, and no more."""

from __future__ import annotations

import contextlib
import ssl
from collections import Counter

import pytest
import trio

from mtls_echo_tls.alerts import AlertDescription
from mtls_echo_tls.diagnosis.diagnose import diagnose
from mtls_echo_tls.diagnosis.evidence import Evidence
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.diagnosis.report import Report
from mtls_echo_tls.path.certificates import end_entity
from mtls_echo_tls.reasons import ALERT_OF_REASON, CAUSES_BY_REASON, UNKNOWN
from mtls_echo_tls.stream.answering import AnsweringStream
from mtls_echo_tls.stream.tcp import TCPStream
from mtls_echo_tls.stream.tls import TLSStream
from mtls_echo_tls.trace.cleartext import ends_in_alert
from mtls_echo_tls.trace.codepoints import GROUPS, SIGNATURE_SCHEMES, named
from mtls_echo_tls.trace.decoding import requested_in
from mtls_echo_tls.trace.shown import AlertSeen
from tests.support.ports import server_port
from tests.support.tls import (
    BLURS_DAMAGE,
    LOCALHOST,
    V12,
    V13,
    assert_damaged,
    both_versions,
    client_side,
    connected,
    converse,
    handshake,
    openssl,
    printed,
    reports,
    server_side,
    tcp_pair,
)


def reason_in(report: Report) -> str | None:
    return next((fact.value for fact in report.evidence if fact.fact == "reason"), None)


def sent_in(report: Report) -> str | None:
    """The alert that a report says was sent."""
    alert = report.alert
    return alert.name if alert is not None and alert.direction == "sent" else None


async def receive_to_the_end(stream: TLSStream) -> Report:
    with contextlib.suppress(TLSFailure):
        while await stream.receive_some():
            pass
    return diagnose(stream.evidence)


async def after_bad_record(version: ssl.TLSVersion, bit: int, *, trace: bool) -> Report:
    """The report of a server that gets a record with one bit changed, behind its handshake."""
    ours, theirs = tcp_pair()
    client = TLSStream(TCPStream(ours), client_side(version), server_name="localhost")
    context = server_side(version)
    server = TLSStream(TCPStream(theirs), context, server_side=True, trace=trace)
    await handshake(client, server)
    record = bytearray(client._records.encrypt(b"hello")[0])
    record[bit // 8] ^= 1 << bit % 8
    await client.transport.send_all(record)
    await client.transport.send_eof()
    report = await receive_to_the_end(server)
    await trio.aclose_forcefully(client)
    await trio.aclose_forcefully(server)
    return report


@both_versions
async def test_behind_the_handshake_the_alert_said_to_be_sent_is_the_one_that_was(
    version: ssl.TLSVersion,
) -> None:
    # A traced connection's recording has each alert that OpenSSL writes; another one's has not.
    told: Counter[str] = Counter()
    # Of the type, the version and the length in the header, and one behind them.
    for bit in (0, 1, 2, 7, 8, 9, 15, 16, 17, 23, 24, 29, 30, 31, 32, 33, 35, 37, 38, 39, 40):
        traced = await after_bad_record(version, bit, trace=True)
        plain = await after_bad_record(version, bit, trace=False)
        assert sent_in(plain) in (None, sent_in(traced)), bit
        assert reason_in(plain) == reason_in(traced)
        assert plain.causes[0] in ("tampered", "truncated"), (bit, plain.causes)
        told[str(sent_in(plain))] += 1
    if not BLURS_DAMAGE:
        assert told["bad_record_mac"] >= 2
        assert told["record_overflow"] >= 1


@both_versions
async def test_an_alert_of_an_unknown_kind_is_answered_as_the_report_says(
    version: ssl.TLSVersion,
) -> None:
    sent = AlertSeen(AlertDescription.illegal_parameter, sent=True, protected=True)
    evidence = Evidence("server", stage="handshake", version="TLSv1.3", failed=False)
    evidence.accept()
    evidence.note_error(_error("UNKNOWN_ALERT_TYPE"))
    evidence.note_answer(b"\x17\x03\x03\x00\x13" + bytes(19))
    assert evidence.alert == sent
    async with connected(version) as (one, _):
        # Nothing was written: then nothing was sent, whatever the reason.
        one.evidence.accept()
        one.evidence.note_error(_error("UNKNOWN_ALERT_TYPE"))
        one.evidence.note_answer(b"")
        assert one.evidence.alert is None


def _error(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, reason)
    error.reason = reason
    return error


def test_only_an_alert_has_the_length_of_one() -> None:
    assert ends_in_alert(b"\x15\x03\x03\x00\x1a" + bytes(26))  # TLS 1.2 says so
    assert ends_in_alert(b"\x17\x03\x03\x00\x05" + bytes(5) + b"\x17\x03\x03\x00\x13" + bytes(19))
    assert not ends_in_alert(b"\x17\x03\x03\x00\x13" + bytes(19) + b"\x17\x03\x03\x00\x20")
    assert not ends_in_alert(b"\x17\x03\x03\x00\x16" + bytes(22))  # a KeyUpdate has five bytes
    assert not ends_in_alert(b"")


@both_versions
@pytest.mark.parametrize("how", ["loop", "answer_all", "closes"])
async def test_a_good_record_and_a_bad_one_in_one_read_are_both_handled(
    how: str, version: ssl.TLSVersion
) -> None:
    ours, theirs = tcp_pair()
    client = TLSStream(TCPStream(ours), client_side(version), server_name="localhost")
    server = AnsweringStream(TCPStream(theirs), server_side(version), server_side=True)
    await handshake(client, server)
    [good], [bad] = client._records.encrypt(b"good"), client._records.encrypt(b"bad")
    seen: list[bytes] = []

    def answer(data: bytes) -> bytes:
        seen.append(data)
        return data

    async def serve() -> None:
        with contextlib.suppress(TLSFailure):
            if how == "answer_all":
                await server.answer_all(answer)
            while data := await server.receive_some():
                seen.append(data)
                if how == "closes":
                    break
                await server.send_all(data)
        await server.aclose()

    async with trio.open_nursery() as nursery:
        await client.transport.send_all(good + bad[:-1] + bytes([bad[-1] ^ 1]))
        nursery.start_soon(serve)
        theirs_says = await receive_to_the_end(client)
        await client.aclose()
    assert seen == [b"good"]
    ours_says = diagnose(server.evidence)
    assert_damaged(ours_says)
    assert theirs_says.alert is not None
    assert (theirs_says.alert.name, theirs_says.causes) == ("bad_record_mac", ["tampered"])
    assert theirs_says.rejected_by == "server"
    for report in (ours_says, theirs_says):
        assert report.alert is None or report.alert.protected


@both_versions
async def test_a_certificate_that_cannot_be_parsed_is_called_that(version: ssl.TLSVersion) -> None:
    [length] = [at for at in range(8) if LOCALHOST.chain_der[0][at : at + 2] == b"\x30\x82"][1:2]
    broken = bytearray(LOCALHOST.chain_der[0])
    broken[length] = 0x31
    assert end_entity((bytes(broken),)) is None
    evidence = Evidence(
        "client",
        stage="handshake",
        peer_chain=(bytes(broken),),
        alert=AlertSeen(AlertDescription.bad_certificate, sent=True, protected=False),
        failed=True,
        is_tls13=version == V13,
        hello_answered=True,
    )
    report = diagnose(evidence)
    # In the clear it may have been damaged on its way.
    assert report.causes == ["not-conforming", *(["tampered"] if version != V13 else [])]
    assert "cannot be read" in report.summary


def test_every_reason_is_in_one_family_and_has_a_cause() -> None:
    assert len(CAUSES_BY_REASON) > 170
    assert {*ALERT_OF_REASON} <= {*CAUSES_BY_REASON}


@pytest.mark.parametrize(
    ("reason", "causes", "says"),
    [
        ("UNSAFE_LEGACY_RENEGOTIATION_DISABLED", ["renegotiation"], "RFC 5746"),
        ("DH_KEY_TOO_SMALL", ["weak-key"], "Diffie-Hellman"),
        ("NO_SHARED_SIGNATURE_ALGORITHMS", ["no-common-signature-algorithm"], "P-256"),
        ("WRONG_SIGNATURE_TYPE", ["no-common-signature-algorithm", "tampered"], "P-256"),
        ("BAD_LEGACY_VERSION", ["tampered", "protocol-violation"], "alters data"),
        ("ENCRYPTED_LENGTH_TOO_LONG", ["tampered", "oversize"], "alters data"),
        ("BAD_KEY_UPDATE", ["protocol-violation"], "updated"),
        ("BAD_LENGTH", ["tampered", "protocol-violation"], "alters data"),
        ("EXCESSIVE_MESSAGE_SIZE", ["tampered", "oversize"], "alters data"),
    ],
)
def test_a_reason_has_its_causes_and_is_a_fact(reason: str, causes: list[str], says: str) -> None:
    evidence = Evidence("client", stage="handshake")
    evidence.note_error(_error(reason))
    evidence.fail()
    report = diagnose(evidence)
    assert report.causes == causes
    assert reason_in(report) == reason
    assert says in report.remedy


def test_what_came_under_the_connections_keys_was_not_altered() -> None:
    for reason, alone in (
        ("BAD_LENGTH", "protocol-violation"),
        ("EXCESSIVE_MESSAGE_SIZE", "oversize"),
    ):
        evidence = Evidence("client", stage="established", version="TLSv1.3", hello_answered=True)
        evidence.note_error(_error(reason))
        evidence.fail()
        assert diagnose(evidence).causes == [alone]
    # The record around it can be altered at any time.
    evidence = Evidence("client", stage="established", version="TLSv1.3")
    evidence.note_error(_error("BAD_RECORD_TYPE"))
    evidence.fail()
    assert diagnose(evidence).causes == ["tampered", "protocol-violation"]


@pytest.mark.parametrize("code", [None, AlertDescription.internal_error])
def test_a_reason_that_is_not_known_is_shown_and_not_explained(code: int | None) -> None:
    alert = None if code is None else AlertSeen(code, sent=True, protected=True)
    evidence = Evidence("client", stage="handshake", alert=alert)
    evidence.note_error(_error("OF_AN_OPENSSL_TO_COME"))
    evidence.fail()
    report = diagnose(evidence)
    assert tuple(report.causes) == UNKNOWN
    assert reason_in(report) == "OF_AN_OPENSSL_TO_COME"


@pytest.mark.parametrize(
    ("side", "answered", "version", "causes"),
    [
        (
            "client",
            False,
            None,
            [
                "no-common-version",
                "no-server-certificate",
                "no-common-signature-algorithm",
                "tampered",
            ],
        ),
        ("client", True, None, ["tampered", "protocol-violation"]),
        ("client", True, "TLSv1.2", ["tampered", "protocol-violation"]),
        ("server", True, None, ["no-common-version", "tampered", "protocol-violation"]),
        ("server", True, "TLSv1.3", ["tampered", "protocol-violation"]),
    ],
)
def test_a_version_that_was_agreed_on_is_not_in_dispute(
    side: str, answered: bool, version: str | None, causes: list[str]
) -> None:
    evidence = Evidence(
        "client" if side == "client" else "server",
        stage="handshake",
        hello_answered=answered,
        tls13_offered=True,
        client_random="00" * 32,
        version=version,
        alert=AlertSeen(AlertDescription.protocol_version, sent=False, protected=False),
        failed=True,
    )
    assert diagnose(evidence).causes == causes


async def _met(version: ssl.TLSVersion, server_name: str) -> tuple[Report, Report]:
    """What a client that asks for this name, and the server, report of their connection."""
    ours, theirs = tcp_pair()
    one = TLSStream(TCPStream(ours), client_side(version), server_name=server_name)
    other = TLSStream(TCPStream(theirs), server_side(version), server_side=True)
    return await reports(one, other)


@both_versions
async def test_the_reason_is_a_fact_on_both_sides_of_every_refusal(
    version: ssl.TLSVersion,
) -> None:
    client, server = await _met(version, "wrong.test")
    assert reason_in(client) == "CERTIFICATE_VERIFY_FAILED"
    assert reason_in(server) == "SSLV3_ALERT_BAD_CERTIFICATE"


@both_versions
async def test_both_reports_say_what_was_asked_of_the_client_and_what_was_agreed_on(
    version: ssl.TLSVersion,
) -> None:
    client, server = await _met(version, "localhost")
    assert client.requested == server.requested
    assert client.requested is not None
    assert client.requested.authorities == []  # `ssl` names none, whatever a server trusts
    assert "ecdsa_secp256r1_sha256" in client.requested.signature_algorithms
    assert client.tls == server.tls
    assert client.tls is not None
    hybrid = version == V13 and ssl.OPENSSL_VERSION_INFO >= (3, 5)
    assert client.tls.group == ("X25519MLKEM768" if hybrid else "x25519")
    assert client.tls.signature == "ecdsa_secp256r1_sha256"


@both_versions
async def test_a_client_is_told_whose_certificates_were_asked_for(
    version: ssl.TLSVersion,
) -> None:
    port = server_port()
    options = ("-accept", f"127.0.0.1:{port}", "-cert", "server.pem", "-Verify", "1")
    async with openssl("s_server", *options, "-CAfile", "ca.pem") as (process, _):
        await printed(process, b"ACCEPT")
        transport = await TCPStream.connect("127.0.0.1", port)
        stream = TLSStream(transport, client_side(version, None), server_name="localhost")
        report = await converse(stream)
    assert report.causes == ["no-client-certificate"]
    assert report.requested is not None
    assert report.requested.authorities == ["CN=servers"]
    assert report.requested.signature_algorithms


@both_versions
async def test_a_server_that_asks_for_no_certificate_requested_nothing(
    version: ssl.TLSVersion,
) -> None:
    ours, theirs = tcp_pair()
    one = TLSStream(TCPStream(ours), client_side(version, None), server_name="localhost")
    other = TLSStream(TCPStream(theirs), server_side(version, clients=None), server_side=True)
    for report in await reports(one, other):
        assert (report.outcome, report.requested) == ("echoed", None)


def test_what_a_server_asks_for_is_bounded_and_printable() -> None:
    evil = b"\x30\x0f\x31\x0d\x30\x0b\x06\x03\x55\x04\x03\x0c\x04\x1b[2J"
    listed = b"".join(len(name).to_bytes(2) + name for name in [evil] * 500)
    for version in (V12, V13):
        if version == V12:
            body = b"\x01\x40\x00\x02\x04\x03" + len(listed).to_bytes(2) + listed
        else:
            names = b"\x00\x2f" + (len(listed) + 2).to_bytes(2) + len(listed).to_bytes(2) + listed
            body = b"\x00" + len(names).to_bytes(2) + names
        requested = requested_in(b"\x0d" + len(body).to_bytes(3) + body, version)
        assert len(requested.authorities) == 64
        assert requested.authorities[-1].startswith("and ")
        assert "\x1b" not in "".join(requested.authorities)
        for cut in range(0, len(body) + 4, 211):
            assert len(requested_in((b"\x0d" + bytes(3) + body)[:cut], version).authorities) <= 64


def test_all_groups_and_signature_schemes_that_iana_has_have_names() -> None:
    assert named(GROUPS, 0x11EC) == "X25519MLKEM768"
    assert {0x0200, 0x0201, 0x0202, 0x11EB, 0x11ED, 0x11EE, 0xFF01, 0xFF02} <= {*GROUPS}
    slh_dsa = range(0x0911, 0x091D)
    assert {0x0704, 0x0709, 0x070F, 0x0420, 0x0520, 0x0620, *slh_dsa} <= {*SIGNATURE_SCHEMES}
    assert len({*SIGNATURE_SCHEMES.values()}) == len(SIGNATURE_SCHEMES)
    assert len({*GROUPS.values()}) == len(GROUPS)
