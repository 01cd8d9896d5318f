"""Wireshark, given the keys, tells the same handshake as our two traces, message for message.

A capture is written by hand from what the client's transport carried, one TLS record per packet,
so that it needs no privileges; `tshark` decrypts it with the key log.
"""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import trio

from mtls_echo_pki.certificates.request import Request
from mtls_echo_tls.diagnosis.diagnose import diagnose
from mtls_echo_tls.diagnosis.report import Report
from mtls_echo_tls.stream.tcp import TCPStream
from mtls_echo_tls.stream.tls import TLSStream
from tests.support.authorities import CLIENTS, UNTRUSTED_CA
from tests.support.timing import TIMEOUT
from tests.support.tls import (
    EXPIRED,
    V12,
    V13,
    both_versions,
    client_side,
    reports,
    server_side,
    tcp_pair,
)

pytestmark = pytest.mark.skipif(
    shutil.which("tshark") is None and not os.environ.get("CI"), reason="tshark is missing"
)

# RFC 8446 §B.3 and RFC 5246 §A.4.
NAMES = {
    1: "ClientHello", 2: "ServerHello", 4: "NewSessionTicket", 8: "EncryptedExtensions",
    11: "Certificate", 12: "ServerKeyExchange", 13: "CertificateRequest", 14: "ServerHelloDone",
    15: "CertificateVerify", 16: "ClientKeyExchange", 20: "Finished",
}  # fmt: skip
HELLO_RETRY = "cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c"

Chunks = list[tuple[str, bytes]]


class Told(NamedTuple):
    """One message, as either of them tells it."""

    sender: str
    name: str
    size: int
    protected: bool
    alert: int | None = None


class RecordedStream(TCPStream):
    """A transport that notes what it carries, in order."""

    def __init__(self, sock: socket.socket, chunks: Chunks) -> None:
        super().__init__(sock)
        self.chunks = chunks

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self.chunks.append(("client", bytes(data)))
        await super().send_all(data)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        data = bytes(await super().receive_some(max_bytes))
        self.chunks.append(("server", data))
        return data


# --- the capture ---------------------------------------------------------------------------------

PORTS = {"client": 50000, "server": 8443}


def records(chunks: Chunks) -> Chunks:
    """The same bytes, a whole TLS record each, where its last byte was carried."""
    pending = {"client": b"", "server": b""}
    found: Chunks = []
    for sender, data in chunks:
        pending[sender] += data
        while len(rest := pending[sender]) >= 5:
            end = 5 + int.from_bytes(rest[3:5])
            if len(rest) < end:
                break
            found.append((sender, rest[:end]))
            pending[sender] = rest[end:]
    return found


def capture(chunks: Chunks) -> bytes:
    """A pcap file (link type 101: each packet begins with its IPv4 header)."""
    packets = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 101)]
    sequence = {"client": 1000, "server": 2000}
    syn, ack, push = 0x02, 0x10, 0x18
    opening = [("client", syn, 0), ("server", syn | ack, 1001), ("client", ack, 2001)]

    def add(sender: str, flags: int, acknowledged: int, data: bytes = b"") -> None:
        other = "server" if sender == "client" else "client"
        tcp = struct.pack(
            ">HHIIBBHHH", PORTS[sender], PORTS[other], sequence[sender], acknowledged,
            5 << 4, flags, 65535, 0, 0,
        )  # fmt: skip
        addresses = b"\x7f\0\0\1\x7f\0\0\2" if sender == "client" else b"\x7f\0\0\2\x7f\0\0\1"
        ip = struct.pack(">BBHHHBBH", 0x45, 0, 40 + len(data), 0, 0, 64, 6, 0) + addresses
        packet = ip + tcp + data
        size = len(packet)
        packets.append(struct.pack("<IIII", 0, len(packets), size, size) + packet)
        sequence[sender] += len(data) + (1 if flags & syn else 0)

    for sender, flags, acknowledged in opening:
        add(sender, flags, acknowledged)
    for sender, data in records(chunks):
        add(sender, push, sequence["server" if sender == "client" else "client"], data)
    return b"".join(packets)


def by_tshark(folder: Path, chunks: Chunks) -> list[Told]:
    """What tshark tells: one packet is one record, so its values belong together."""
    (folder / "handshake.pcap").write_bytes(capture(chunks))
    fields = (
        "tcp.srcport", "tls.record.content_type", "tls.record.opaque_type", "tls.handshake.type",
        "tls.handshake.length", "tls.handshake.random", "tls.alert_message.desc",
    )  # fmt: skip
    ran = subprocess.run(
        ["tshark", "-n", "-r", "handshake.pcap", "-o", "tls.keylog_file:keys.log"]
        + ["-d", f"tcp.port=={PORTS['server']},tls", "-T", "fields", "-E", "separator=;"]
        + [word for field in fields for word in ("-e", field)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=True,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
    )
    told: list[Told] = []
    changed: set[str] = set()
    for line in ran.stdout.splitlines():
        port, types, opaque, kinds, lengths, random, alert = line.split(";")
        sender = "client" if port == str(PORTS["client"]) else "server"
        protected = bool(opaque) or sender in changed
        match types.split(",")[-1]:
            case "20":
                told.append(Told(sender, "ChangeCipherSpec", 1, False))
                if not any(entry.name == "EncryptedExtensions" for entry in told):
                    changed.add(sender)
            case "21":
                told.append(Told(sender, "Alert", 2, protected, int(alert)))
            case "22":
                for kind, length in zip(kinds.split(","), lengths.split(","), strict=True):
                    name = "HelloRetryRequest" if random == HELLO_RETRY else NAMES[int(kind)]
                    told.append(Told(sender, name, int(length) + 4, protected))
    if any(entry.name == "EncryptedExtensions" for entry in told):
        # The first ChangeCipherSpec comes before anything says that this is TLS 1.3.
        told = [e._replace(protected=e.protected and e.name not in CLEAR) for e in told]
    return told


CLEAR = {"ClientHello", "ServerHello", "HelloRetryRequest", "ChangeCipherSpec"}


def by_us(report: Report) -> list[Told]:
    return [
        Told(
            report.side if entry.direction == "sent" else OTHER[report.side],
            entry.name,
            entry.size,
            entry.protected,
            entry.fields.get("code"),
        )
        for entry in report.trace or []
    ]


def without_farewell(told: list[Told]) -> list[Told]:
    """Who has said close_notify reads no further, so the other's is told by the wire only."""
    return [entry for entry in told if entry.alert != 0]


def as_read(told: list[Told]) -> list[Told]:
    """What the side that refused has read: nothing that came after the refused Certificate.

    The other side did not wait for the verdict, so more of its messages were on the wire.
    """
    refuser = told[-1].sender
    verified = max(i for i, e in enumerate(told) if (e.sender, e.name) == (OTHER[refuser], CERT))
    return [e for i, e in enumerate(told) if i <= verified or e.sender == refuser]


def from_one(told: list[Told], sender: str) -> list[Told]:
    return [entry for entry in told if entry.sender == sender]


def meaning(told: list[Told]) -> list[Told]:
    return [entry for entry in told if entry.name != "ChangeCipherSpec"]


CERT = "Certificate"
OTHER = {"client": "server", "server": "client"}


# --- the handshakes ------------------------------------------------------------------------------

Contexts = Callable[[ssl.TLSVersion], tuple[ssl.SSLContext, ssl.SSLContext]]


def with_ticket(version: ssl.TLSVersion) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    issuing = server_side(version)
    issuing.options &= ~ssl.OP_NO_TICKET
    issuing.num_tickets = 2
    return client_side(version), issuing


YESTERDAYS = Request.client(
    "alice.test", lifetime=EXPIRED["lifetime"], backdate=EXPIRED["backdate"]
)
CASES: dict[str, tuple[Contexts, str | None, str]] = {
    "success": (lambda v: (client_side(v), server_side(v)), None, "localhost"),
    "a ticket": (with_ticket, None, "localhost"),
    "no client is asked": (
        lambda v: (client_side(v), server_side(v, clients=None)), None, "localhost"),
    "no client certificate": (
        lambda v: (client_side(v, None), server_side(v)), "server", "localhost"),
    "unknown client authority": (
        lambda v: (
            client_side(v, UNTRUSTED_CA.issue(Request.client("alice.test"))), server_side(v)),
        "server", "localhost"),
    "expired": (
        lambda v: (client_side(v, CLIENTS.issue(YESTERDAYS)), server_side(v)),
        "server", "localhost"),
    "unknown server authority": (
        lambda v: (client_side(v, servers=UNTRUSTED_CA.trust), server_side(v)),
        "client", "localhost"),
    "wrong name": (lambda v: (client_side(v), server_side(v)), "client", "wrong.test"),
}  # fmt: skip


async def observed(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], name: str, folder: Path
) -> tuple[tuple[Report, Report], list[Told]]:
    """Both reports of a traced connection, and what tshark tells of it."""
    contexts[0].keylog_filename = str(folder / "keys.log")
    one, other = tcp_pair()
    chunks: Chunks = []
    pair = await reports(
        TLSStream(RecordedStream(one, chunks), contexts[0], server_name=name, trace=True),
        TLSStream(TCPStream(other), contexts[1], server_side=True, trace=True),
    )
    return pair, await trio.to_thread.run_sync(by_tshark, folder, chunks)


@both_versions
@pytest.mark.parametrize("case", CASES)
async def test_tshark_and_both_traces_tell_the_same(
    case: str, version: ssl.TLSVersion, tmp_path: Path
) -> None:
    contexts, rejected_by, name = CASES[case]

    pair, seen = await observed(contexts(version), name, tmp_path)

    expected = without_farewell(seen)
    assert len(expected) >= 5
    assert (expected[-1].name == "Alert") == (rejected_by is not None)
    for report in pair:
        assert report.rejected_by == rejected_by
        told = without_farewell(by_us(report))
        assert told == (expected if report.side != rejected_by else as_read(expected)), report.side
    if case == "a ticket":
        assert "NewSessionTicket" in [entry.name for entry in expected]


@both_versions
@pytest.mark.parametrize("case", CASES)
async def test_each_side_tells_all_that_it_sent_and_of_the_other_what_it_read(
    case: str, version: ssl.TLSVersion, tmp_path: Path
) -> None:
    """To the end: close_notify, and what a side that refused has left unread, included."""
    contexts, rejected_by, name = CASES[case]
    ours, theirs = contexts(version)
    ours.keylog_filename = str(tmp_path / "keys.log")
    one, other = tcp_pair()
    chunks: Chunks = []
    pair = (
        TLSStream(RecordedStream(one, chunks), ours, server_name=name, trace=True),
        TLSStream(TCPStream(other), theirs, server_side=True, trace=True),
    )

    await reports(*pair)

    wire = await trio.to_thread.run_sync(by_tshark, tmp_path, chunks)
    for stream in pair:
        side = stream.evidence.side
        told = by_us(diagnose(stream.evidence))
        assert from_one(told, side) == from_one(wire, side)
        read, sent = from_one(told, OTHER[side]), from_one(wire, OTHER[side])
        assert read == sent[: len(read)]
        unread = [entry.name for entry in sent[len(read) :]]
        if rejected_by == OTHER[side]:
            assert unread == []
        if rejected_by is None:
            assert from_one(told, side)[-1].alert == 0
            assert unread in ([], ["Alert"])


async def test_tshark_and_both_traces_tell_the_same_hello_retry_request(tmp_path: Path) -> None:
    demanding = server_side(V13)
    demanding.set_ecdh_curve("secp384r1")

    pair, seen = await observed((client_side(V13), demanding), "localhost", tmp_path)

    names = [entry.name for entry in seen if entry.name != "ChangeCipherSpec"]
    assert names[:4] == ["ClientHello", "HelloRetryRequest", "ClientHello", "ServerHello"]
    for report in pair:
        told, expected = without_farewell(by_us(report)), without_farewell(seen)
        # The two ChangeCipherSpecs pass each other; a side tells of its own first.
        for sender in ("client", "server"):
            assert from_one(told, sender) == from_one(expected, sender), report.side
        assert meaning(told) == meaning(expected), report.side


async def test_tshark_and_both_traces_tell_the_same_of_versions_that_do_not_meet(
    tmp_path: Path,
) -> None:
    pair, seen = await observed((client_side(V12), server_side(V13)), "localhost", tmp_path)

    assert [entry.name for entry in seen] == ["ClientHello", "Alert"]
    for report in pair:
        assert by_us(report) == seen, report.side
