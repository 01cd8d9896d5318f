"""Messages of a handshake: what was recorded, and the fields that every diagnosis needs.

OpenSSL hands them over whole and in the clear (`mtls_echo_tls.trace.recorder`). Their names are
those of RFC 8446 §4 and RFC 5246 §7.4. This module reads what the evidence of every connection
needs, the names and certificates that were sent; `mtls_echo_tls.trace.decoding` reads the rest,
for a trace.

A message is untrusted input. Nothing here raises on one that is malformed, or allocates more than
was received: what cannot be read is treated as absent.
"""

from __future__ import annotations

import ssl
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from mtls_echo_tls.alerts import CLOSURE_ALERTS, alert_name
from mtls_echo_tls.ordinary import cache_ordinary

Direction = Literal["sent", "received"]

# Record content types (RFC 8446 §5.1).
CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION_DATA = 20, 21, 22, 23

# CertificateCompressionAlgorithm (RFC 8879 §7.3); the only one that every Python can inflate, and
# how much it may become: what a recorder keeps of a connection.
_ZLIB = 1
_MOST_INFLATED = 256 * 1024

# The level of an alert that ends a TLS 1.2 connection (RFC 5246 §7.2).
_FATAL = 2

# Extensions (RFC 6066 §3, RFC 8446 §4.2.1).
_SERVER_NAME, _ALPN, _SUPPORTED_VERSIONS, _KEY_SHARE = 0, 16, 43, 51
_READ = frozenset({_SERVER_NAME, _ALPN, _SUPPORTED_VERSIONS})

# RFC 1035 §2.3.4; OpenSSL refuses a longer one, after it was recorded.
_LONGEST_HOST_NAME = 255

_EXTENSION_HEAD = struct.Struct(">HH").unpack_from

_TLS13 = int(ssl.TLSVersion.TLSv1_3).to_bytes(2)

# Handshake messages (RFC 8446 §4, RFC 8879 §4).
CLIENT_HELLO, SERVER_HELLO, ENCRYPTED_EXTENSIONS = 1, 2, 8
CERTIFICATE, CERTIFICATE_REQUEST, COMPRESSED_CERTIFICATE = 11, 13, 25
SERVER_KEY_EXCHANGE, CERTIFICATE_VERIFY = 12, 15

# fmt: off
_HANDSHAKE_NAMES = {
    0: "HelloRequest", 1: "ClientHello", 2: "ServerHello", 4: "NewSessionTicket",
    5: "EndOfEarlyData", 8: "EncryptedExtensions", 11: "Certificate", 12: "ServerKeyExchange",
    13: "CertificateRequest", 14: "ServerHelloDone", 15: "CertificateVerify",
    16: "ClientKeyExchange", 20: "Finished", 22: "CertificateStatus", 24: "KeyUpdate",
    25: "CompressedCertificate",
}
# fmt: on

# TLS 1.2 shows what kind of message it hides; TLS 1.3 does not (RFC 8446 §5.2).
_HIDDEN_NAMES = {ALERT: "alert", HANDSHAKE: "handshake message"}

# The random of a ServerHello that is a HelloRetryRequest (RFC 8446 §4.1.3).
_HELLO_RETRY_RANDOM = bytes.fromhex(
    "cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c"
)


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the handshake, an alert, or a change of cipher, as one side recorded it.

    Attributes:
        time: Seconds since the recording began.
        content_type: 20, 21 or 22 (RFC 8446 §5.1).
        body: The whole message, in the clear; a handshake message with its 4-byte header.
        protected: Whether it travelled encrypted.
        version: The protocol version of the connection at that moment, as OpenSSL numbers it.
        hidden: The size of a message that was seen encrypted only; its body is unknown.
    """

    time: float
    direction: Direction
    content_type: int
    body: bytes = field(repr=False)
    protected: bool
    version: int = ssl.TLSVersion.TLSv1_3
    hidden: int = 0

    @property
    def name(self) -> str:
        """The message's name as its RFC spells it, or `Alert` with its description."""
        if self.hidden:
            return f"encrypted {_HIDDEN_NAMES.get(self.content_type, 'record')}"
        if self.content_type == CHANGE_CIPHER_SPEC:
            return "ChangeCipherSpec"
        if self.content_type == ALERT:
            return f"Alert {alert_name(self.body[1])}" if len(self.body) == 2 else "Alert"
        kind = self.body[0] if self.body else -1
        if kind == 2 and self.body[6:38] == _HELLO_RETRY_RANDOM:
            return "HelloRetryRequest"
        return _HANDSHAKE_NAMES.get(kind, f"handshake message {kind}")

    @property
    def is_fatal_alert(self) -> bool:
        """Whether this alert ends the connection in failure.

        TLS 1.2 goes by the level (RFC 5246 §7.2): a server may warn that it does not know a
        name, and go on. TLS 1.3 ignores the level and goes by the description (RFC 8446 §6).
        """
        if self.content_type != ALERT or len(self.body) != 2 or self.body[1] == 0:
            return False
        if self.version >= ssl.TLSVersion.TLSv1_3:
            return self.body[1] not in CLOSURE_ALERTS
        return self.body[0] == _FATAL

    @property
    def size(self) -> int:
        """The message's length in bytes, without the record around it."""
        return self.hidden or len(self.body)


def certificates_in(message: Message) -> tuple[bytes, ...]:
    """The certificates of a Certificate message, DER, end-entity first; () when malformed.

    TLS 1.3 puts a request context before the list and extensions after each entry (RFC 8446
    §4.4.2); TLS 1.2 has neither (RFC 5246 §7.4.2). A list length that does not reach to the end
    of the message tells the two apart. A CompressedCertificate holds the former (RFC 8879).
    """
    return chain_of(message.body)


@cache_ordinary(128)
def chain_of(message: bytes) -> tuple[bytes, ...]:
    """As `certificates_in`, of a message's bytes; chains of ordinary size are cached."""
    compressed = message[:1] == COMPRESSED_CERTIFICATE.to_bytes()
    body = decompressed(message) if compressed else message[4:]
    for tls13 in (False, True):
        context = 1 + body[0] if tls13 and body else 0
        length, entries = body[context : context + 3], body[context + 3 :]
        if len(length) == 3 and int.from_bytes(length) == len(entries):
            return tuple(_entries(entries, extensions=tls13))
    return ()


def decompressed(message: bytes) -> bytes:
    """The contents of a CompressedCertificate (RFC 8879 §4); b"" if not zlib, or malformed.

    At most the announced length is inflated, and at most what a recorder keeps: a few bytes can
    stand for a thousand times as many.
    """
    algorithm, announced = int.from_bytes(message[4:6]), int.from_bytes(message[6:9])
    if algorithm != _ZLIB or not 0 < announced <= _MOST_INFLATED:
        return b""
    try:
        inflated = zlib.decompressobj().decompress(message[12:], announced + 1)
    except zlib.error:
        return b""
    return inflated if len(inflated) == announced else b""


def _entries(data: bytes, *, extensions: bool) -> list[bytes]:
    found: list[bytes] = []
    at = 0
    while at + 3 <= len(data):
        end = at + 3 + int.from_bytes(data[at : at + 3])
        if end > len(data):
            return []
        found.append(data[at + 3 : end])
        at = end
        if extensions:
            at += 2 + int.from_bytes(data[at : at + 2])
    return found


class Hello(NamedTuple):
    """What a diagnosis needs of a ClientHello (RFC 6066 §3, RFC 7301 §3.1, RFC 8446 §4.2.1)."""

    server_name: str | None
    alpn: bool
    tls13: bool


def read_hello(hello: bytes) -> Hello:
    """Read a ClientHello; what is malformed in it is treated as absent."""
    server_name, alpn, tls13 = None, False, False
    at, end = _start_of_extensions(hello), len(hello) - 4
    while at <= end:  # as `extensions`, which would copy every one of them
        kind, size = _EXTENSION_HEAD(hello, at)
        if kind in _READ and at + size <= end:
            data = hello[at + 4 : at + 4 + size]
            if kind == _ALPN:
                alpn = True
            elif kind == _SUPPORTED_VERSIONS:
                tls13 |= _TLS13 in [data[each : each + 2] for each in range(1, size, 2)]
            elif size > 5 and server_name is None:
                # A list with one entry: its length, the type host_name, the name's length, it.
                length = min(int.from_bytes(data[3:5]), _LONGEST_HOST_NAME)
                server_name = data[5 : 5 + length].decode("ascii", "replace")
        at += size + 4
    return Hello(server_name, alpn, tls13)


def hello_extensions(hello: bytes) -> Iterator[tuple[int, bytes]]:
    """The extensions of a ClientHello."""
    return extensions(hello[_start_of_extensions(hello) :])


def _start_of_extensions(hello: bytes) -> int:
    # Header, legacy_version and random, then three vectors whose lengths take 1, 2 and 1 bytes:
    # legacy_session_id, cipher_suites, legacy_compression_methods (RFC 8446 §4.1.2).
    at = 4 + 2 + 32
    for width in (1, 2, 1):
        at += width + int.from_bytes(hello[at : at + width])
    return at + 2


def selects_tls13(message: bytes) -> bool:
    """Whether this is a ServerHello or HelloRetryRequest that selects TLS 1.3."""
    return message[:1] == b"\x02" and _answered(message).get(_SUPPORTED_VERSIONS) == _TLS13


def _answered(message: bytes) -> dict[int, bytes]:
    """The extensions of a ServerHello."""
    # Header, legacy_version, random, legacy_session_id_echo, suite and compression (§4.1.3).
    at = 4 + 2 + 32
    at += 1 + int.from_bytes(message[at : at + 1]) + 2 + 1
    return dict(extensions(message[at + 2 :]))


def agreed_in(answer: bytes, exchange: bytes, proof: bytes) -> tuple[int, int]:
    """The code points of the group and of the server's signature; 0 where there is none.

    Args:
        answer: ServerHello, which names the group in TLS 1.3.
        exchange: ServerKeyExchange, which in TLS 1.2 names both, if it is that of ECDHE.
        proof: The server's CertificateVerify, of TLS 1.3.
    """
    if exchange:
        # Header, named_curve, the curve, the point, the algorithm, the signature (RFC 8422 §5.4).
        at = 8 + int.from_bytes(exchange[7:8])
        ends = at + 4 + int.from_bytes(exchange[at + 2 : at + 4])
        is_ecdhe = exchange[4:5] == b"\x03" and ends == len(exchange)
        codes = exchange[5:7], exchange[at : at + 2]
        return (int.from_bytes(codes[0]), int.from_bytes(codes[1])) if is_ecdhe else (0, 0)
    return int.from_bytes(_answered(answer).get(_KEY_SHARE, b"")[:2]), int.from_bytes(proof[4:6])


def extensions(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The extensions of a list (RFC 8446 §4.2), without its length, until one is cut short."""
    start, end = 4, len(data)
    while start <= end:
        kind, size = _EXTENSION_HEAD(data, start - 4)
        if start + size > end:
            return
        yield kind, data[start : start + size]
        start += size + 4
