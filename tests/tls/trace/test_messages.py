"""Messages of real handshakes, decoded into what a person reads."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import subprocess

import msgspec
import pytest
import trio
from cryptography import x509
from cryptography.x509.oid import NameOID

from mtls_echo_tls.diagnosis.report import Report
from mtls_echo_tls.stream.tcp import TCPStream
from mtls_echo_tls.stream.tls import TLSStream
from mtls_echo_tls.trace.codepoints import CIPHER_SUITES, GROUPS, SIGNATURE_SCHEMES, named
from mtls_echo_tls.trace.cursor import distinguished_name
from mtls_echo_tls.trace.decoding import TraceEntry, entries
from tests.support.tls import (
    V12,
    V13,
    both_versions,
    client_side,
    openssl,
    printed,
    reports,
    s_client,
    server_side,
    tcp_pair,
    write,
)


async def traced(client: ssl.SSLContext, server: ssl.SSLContext) -> tuple[Report, Report]:
    one, other = tcp_pair()
    return await reports(
        TLSStream(TCPStream(one), client, server_name="localhost", trace=True),
        TLSStream(TCPStream(other), server, server_side=True, trace=True),
    )


def the(report: Report, name: str, direction: str | None = None) -> TraceEntry:
    assert report.trace is not None
    return next(e for e in report.trace if e.name == name and direction in (None, e.direction))


# --- real handshakes -----------------------------------------------------------------------------


@both_versions
async def test_hellos_tell_what_was_offered_and_what_was_chosen(version: ssl.TLSVersion) -> None:
    client, server = client_side(version), server_side(version)
    client.set_alpn_protocols(["h2", "echo"])
    server.set_alpn_protocols(["echo"])

    for report in await traced(client, server):
        offered, chosen = the(report, "ClientHello").fields, the(report, "ServerHello").fields
        assert offered["versions"] == [report.tls and report.tls.version]
        assert offered["server_name"] == "localhost"
        assert offered["alpn"] == ["h2", "echo"]
        assert {"x25519", "secp256r1"} <= set(offered["groups"])
        assert "ecdsa_secp256r1_sha256" in offered["signature_algorithms"]
        assert "resumption" not in offered
        assert chosen["version"] == report.tls.version if report.tls else False
        assert chosen["cipher_suite"] in offered["cipher_suites"]
        assert not any(name.startswith("0x") for name in offered["cipher_suites"])
        answer = the(report, "EncryptedExtensions").fields if version == V13 else chosen
        assert answer["alpn"] == "echo"
        group = the(report, "ServerHello" if version == V13 else "ServerKeyExchange")
        # OpenSSL prefers a hybrid with ML-KEM from 3.5 on, for which TLS 1.2 has no key exchange.
        hybrid = version == V13 and ssl.OPENSSL_VERSION_INFO >= (3, 5)
        assert group.fields["group"] == ("X25519MLKEM768" if hybrid else "x25519")


@both_versions
async def test_a_request_names_signatures_and_a_certificate_its_holder(
    version: ssl.TLSVersion,
) -> None:
    for report in await traced(client_side(version), server_side(version)):
        request = the(report, "CertificateRequest").fields
        assert request["authorities"] == []
        assert "ecdsa_secp256r1_sha256" in request["signature_algorithms"]
        shown = {
            entry.direction: entry.fields["certificates"][0]["names"]
            for entry in report.trace or []
            if entry.name == "Certificate"
        }
        ours, theirs = ("alice.test", "localhost")[:: 1 if report.side == "client" else -1]
        assert shown == {"sent": [ours], "received": [theirs]}
        verified = the(report, "CertificateVerify").fields["signature_algorithm"]
        assert verified == "ecdsa_secp256r1_sha256"


@both_versions
async def test_the_cas_that_a_server_names_are_shown(version: ssl.TLSVersion) -> None:
    options = (
        "-accept",
        "127.0.0.1:0",
        "-cert",
        "server.pem",
        "-CAfile",
        "ca.pem",
        "-Verify",
        "1",
    )
    async with openssl("s_server", *options) as (process, _):
        accepting = await printed(process, b"\n")
        while b"ACCEPT" not in accepting:
            accepting += await printed(process, b"\n")
        port = int(accepting.split(b"ACCEPT", 1)[1].split(b":")[-1].split()[0])
        stream = TLSStream(
            await TCPStream.connect("127.0.0.1", port),
            client_side(version),
            server_name="localhost",
            trace=True,
        )
        with contextlib.suppress(trio.BrokenResourceError):
            await stream.do_handshake()
        told = entries(stream.evidence.recorder)
        await trio.aclose_forcefully(stream)
    request = next(entry for entry in told if entry.name == "CertificateRequest")
    assert request.fields["authorities"] == ["CN=servers"]


@both_versions
async def test_no_certificate_is_shown_as_none_and_an_alert_with_its_meaning(
    version: ssl.TLSVersion,
) -> None:
    for report in await traced(client_side(version, None), server_side(version)):
        sent_by_client = "sent" if report.side == "client" else "received"
        empty = the(report, "Certificate", sent_by_client)
        assert empty.fields == {"certificates": []}
        alert = the(report, "Alert")
        assert alert.fields["level"] == "fatal"
        assert report.alert is not None
        assert alert.fields["description"] == report.alert.name
        assert alert.fields["code"] == report.alert.code
        assert alert.fields["meaning"]


async def test_a_trace_is_only_in_the_report_when_asked_for() -> None:
    one, other = tcp_pair()
    with_trace, without = await reports(
        TLSStream(TCPStream(one), client_side(), server_name="localhost", trace=True),
        TLSStream(TCPStream(other), server_side(), server_side=True),
    )
    assert without.trace is None
    value = json.loads(with_trace.encode())["trace"]
    assert set(value[0]) == {"time_ms", "direction", "name", "size", "protected", "fields"}
    assert [entry["time_ms"] for entry in value] == sorted(entry["time_ms"] for entry in value)
    assert msgspec.convert(value, list[TraceEntry]) == with_trace.trace


async def test_tickets_key_updates_and_resumption_are_shown() -> None:
    server = server_side(V13)
    server.options &= ~ssl.OP_NO_TICKET
    server.num_tickets = 1
    async with s_client("-cert", "alice.pem", "-CAfile", "ca.pem") as (sock, process):
        stream = TLSStream(TCPStream(sock), server, server_side=True, trace=True)
        await stream.do_handshake()
        await write(process, b"K\n")  # a KeyUpdate that demands one of ours
        await printed(process, b"KEYUPDATE")
        await write(process, b"hello\n")
        assert await stream.receive_some() == b"hello\n"
        await stream.send_all(b"hello")
        told = entries(stream.evidence.recorder)
        await trio.aclose_forcefully(stream)
    ticket = next(entry for entry in told if entry.name == "NewSessionTicket")
    assert ticket.fields["lifetime"] == 7200
    updates = [(e.direction, e.fields["update_requested"]) for e in told if e.name == "KeyUpdate"]
    assert updates == [("received", True), ("sent", False)]


async def test_a_refused_renegotiation_is_shown() -> None:
    server = server_side(V12)
    server.options |= ssl.OP_NO_RENEGOTIATION
    async with s_client("-cert", "alice.pem", "-CAfile", "ca.pem", "-tls1_2") as (
        sock,
        process,
    ):
        stream = TLSStream(TCPStream(sock), server, server_side=True, trace=True)
        await stream.do_handshake()
        await stream.send_all(b"welcome\n")
        await printed(process, b"welcome")
        async with trio.open_nursery() as nursery:

            async def receive() -> None:
                # It ends with the process, which says no close_notify.
                with contextlib.suppress(trio.BrokenResourceError):
                    while await stream.receive_some():
                        pass

            nursery.start_soon(receive)
            await write(process, b"R\n")
            await printed(process, b"no renegotiation")
            process.kill()
        told = entries(stream.evidence.recorder)
        await trio.aclose_forcefully(stream)
    refusal = next(entry for entry in told if entry.name == "Alert")
    assert (refusal.direction, refusal.protected) == ("sent", True)
    assert refusal.fields["description"] == "no_renegotiation"
    assert refusal.fields["level"] == "warning"


async def test_a_resumed_session_is_shown_in_both_versions() -> None:
    for version in (V12, V13):
        context, server = client_side(version), server_side(version)
        server.options &= ~ssl.OP_NO_TICKET
        server.num_tickets = 1
        server.set_ciphers("ECDHE")
        session = None
        hellos: list[dict[str, object]] = []
        for _ in range(2):
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            connection = context.wrap_bio(
                incoming, outgoing, server_hostname="localhost", session=session
            )
            one, other = tcp_pair()
            stream = TLSStream(TCPStream(other), server, server_side=True, trace=True)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stream.do_handshake)
                peer = trio.SocketStream(trio.socket.from_stdlib_socket(_unblocked(one)))
                while True:
                    try:
                        connection.do_handshake()
                    except ssl.SSLWantReadError:
                        await peer.send_all(outgoing.read())
                        incoming.write(await peer.receive_some())
                    else:
                        break
                if outgoing.pending:
                    await peer.send_all(outgoing.read())
            await stream.send_all(b"x")
            while True:
                try:
                    assert connection.read() == b"x"
                except ssl.SSLWantReadError:
                    incoming.write(await peer.receive_some())
                else:
                    break
            session = connection.session
            shown = entries(stream.evidence.recorder)
            hellos += [e.fields for e in shown if e.name in ("ClientHello", "ServerHello")]
            await trio.aclose_forcefully(stream)
            await trio.aclose_forcefully(peer)
        first, answer, again, resumed = hellos
        assert "resumption" not in first
        assert "resumed" not in answer
        assert again["resumption"]
        assert resumed["resumed"] is True


def _unblocked(sock: socket.socket) -> socket.socket:
    sock.setblocking(False)
    return sock


# --- names ---------------------------------------------------------------------------------------


def test_suites_have_the_names_that_openssl_gives_them() -> None:
    listed = subprocess.run(
        ["openssl", "ciphers", "-V", "-stdname", "ALL:COMPLEMENTOFALL:@SECLEVEL=0"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    theirs = {
        int(high + low, 16): name
        for high, low, name in re.findall(r"0x(..),0x(..) - (TLS_\w+)", listed)
    }
    ours = {code: name for code, name in CIPHER_SUITES.items() if code in theirs}
    assert len(ours) >= 40
    assert ours == {code: theirs[code] for code in ours}
    families = ("TLS_ECDHE_ECDSA_WITH_AES", "TLS_ECDHE_RSA_WITH_AES", "TLS_RSA_WITH_AES",
                "TLS_DHE_RSA_WITH_AES", "TLS_AES", "TLS_CHACHA20")  # fmt: skip
    assert {n for n in theirs.values() if n.startswith(families)} <= set(CIPHER_SUITES.values())


@pytest.mark.parametrize(
    ("table", "code", "name"),
    [
        (GROUPS, 0x11EC, "X25519MLKEM768"),
        (GROUPS, 23, "secp256r1"),
        (GROUPS, 256, "ffdhe2048"),
        (SIGNATURE_SCHEMES, 0x0905, "mldsa65"),
        (SIGNATURE_SCHEMES, 0x0804, "rsa_pss_rsae_sha256"),
        (CIPHER_SUITES, 0x5600, "TLS_FALLBACK_SCSV"),
        (CIPHER_SUITES, 0xFEDC, "0xfedc"),
        (CIPHER_SUITES, 0x1A1A, "GREASE 0x1a1a"),
    ],
)
def test_code_points_have_their_registered_names_or_are_hexadecimal(
    table: dict[int, str], code: int, name: str
) -> None:
    assert named(table, code) == name


def test_a_distinguished_name_is_written_as_rfc_4514_has_it() -> None:
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Zäh, Sohn"),
            x509.NameAttribute(NameOID.COMMON_NAME, "issuing CA"),
        ]
    )
    assert distinguished_name(name.public_bytes()) == name.rfc4514_string()
    assert distinguished_name(b"\x30\x05abc") == "0x3005616263"
    many = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "x" * 60)] * 20)
    assert len(distinguished_name(many.public_bytes())) == 256
