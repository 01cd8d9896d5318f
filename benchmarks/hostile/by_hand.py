"""A TLS client by hand: it stops, lies or leaves wherever it is told to in a handshake.

Its TLS is `ssl.SSLObject` between two buffers, so that each flight can be held back, cut, repeated
or replaced before it is sent. Used by the tests of hostile clients and by `benchmarks.soak`.
"""

from __future__ import annotations

import socket
import ssl
import tempfile
from collections.abc import Callable
from pathlib import Path

import trio
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

# How far a client may get, in this order.
STATES = (
    "connected",
    "a byte",
    "half a hello",
    "hello",
    "answered",
    "half a flight",
    "flight",
    "message",
    "half a message",
)

_HANDSHAKE, _APPLICATION_DATA, _KEY_UPDATE = 22, 23, 24
_ALL_TYPES = range(20, 25)


def record(content_type: int, body: bytes, version: int = 0x0303) -> bytes:
    """A record in the clear (RFC 8446 §5.1)."""
    return bytes([content_type]) + version.to_bytes(2) + len(body).to_bytes(2) + body


# What a client may send in place of what is due.
GARBAGE: dict[str, bytes] = {
    "bytes": bytes(range(256)) * 4,
    "zeroes": bytes(100_000),
    "text": b"EHLO localhost\r\n" * 10,
    "a hello again": record(_HANDSHAKE, b"\x01\0\0\x26\x03\x03" + bytes(36)),
    "an empty message": record(_HANDSHAKE, b"\x14\0\0\0"),
    "a long message": record(_HANDSHAKE, b"\x0b\xff\xff\xff" + bytes(1000)),
    "too long a record": record(_APPLICATION_DATA, bytes(20_000)),
    "a thousand empty records": record(_HANDSHAKE, b"") * 1000,
    "a thousand warnings": record(21, b"\x01\x5a") * 1000,
    "a thousand cipher changes": record(20, b"\x01") * 1000,
    **{f"type {kind}": record(kind, b"junk!" * 5) for kind in _ALL_TYPES},
    "tiny records": b"".join(record(_HANDSHAKE, b"\x01") for _ in range(1000)),
    "an old version": record(_HANDSHAKE, b"\x01\0\0\0", 0x0200),
}


class ByHand:
    """A client that is driven step by step; its connection is closed by `leave` or `reset`."""

    def __init__(self, stream: trio.SocketStream, context: ssl.SSLContext) -> None:
        self.stream = stream
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname="localhost")

    @classmethod
    async def connect(cls, port: int, context: ssl.SSLContext, host: str = "127.0.0.1") -> ByHand:
        """A connected one, from an address of its own if said."""
        sock = trio.socket.socket()
        await sock.bind((host, 0))
        await sock.connect(("127.0.0.1", port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return cls(trio.SocketStream(sock), context)

    async def reach(self, state: str) -> None:
        """Get as far as this, one of `STATES`."""
        steps = STATES.index(state)
        if steps == 0:
            return
        hello = self._flight()
        if state in ("a byte", "half a hello"):
            await self.send(hello[: 1 if state == "a byte" else len(hello) // 2])
            return
        await self.send(hello)
        if steps <= STATES.index("hello"):
            return
        if state == "answered":
            self._incoming.write(await self.stream.receive_some())
            return
        while not (flight := self._flight()):
            self._incoming.write(await self.stream.receive_some())
        if state == "half a flight":
            await self.send(flight[: len(flight) // 2])
            return
        await self.send(flight)
        if steps > STATES.index("flight"):
            await self.complete()
            message = self.encrypted(b"hello")
            await self.send(message if state == "message" else message[:-3])

    async def complete(self) -> None:
        """End the handshake, when the flight has been sent."""
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                self._incoming.write(await self.stream.receive_some())
            else:
                return

    def encrypted(self, data: bytes) -> bytes:
        """Application data as it has to be sent."""
        self.tls.write(data)
        return self._outgoing.read()

    async def send(self, data: bytes) -> None:
        """Send these bytes, unless the server is gone."""
        try:
            await self.stream.send_all(data)
        except trio.BrokenResourceError:
            return

    async def leave(self) -> None:
        """End our direction, read what still comes, close."""
        try:
            await self.stream.send_eof()
            while await self.stream.receive_some():
                pass
        except (OSError, trio.BrokenResourceError):
            pass
        await self.stream.aclose()

    def reset(self) -> None:
        """Close with RST."""
        sock = self.stream.socket
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        sock.close()

    def _flight(self) -> bytes:
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError:
            return self._outgoing.read() or b"\x15\x03\x03\0\2\2\x28"
        return self._outgoing.read()


def key_updates(context: ssl.SSLContext) -> Callable[[bool], bytes]:
    """What makes KeyUpdate messages for the next connection of a TLS 1.3 context, one by one.

    Each asks for the server's in return, or does not (RFC 8446 §4.6.3). Python cannot send any, so
    they are made from the secrets of the key log: call it first, connect, and then send nothing
    else. For TLS_AES_256_GCM_SHA384 only.
    """
    with tempfile.NamedTemporaryFile(delete=False) as file:
        log = Path(file.name)
    context.keylog_filename = str(log)
    secret = b""

    def make(ask: bool) -> bytes:
        nonlocal secret
        if not secret:
            lines = log.read_text().splitlines()
            [line] = [line for line in lines if line.startswith("CLIENT_TRAFFIC_SECRET_0 ")]
            secret = bytes.fromhex(line.split()[2])
            log.unlink()
        inner = bytes([_KEY_UPDATE, 0, 0, 1, ask, _HANDSHAKE])
        header = bytes([_APPLICATION_DATA, 3, 3]) + (len(inner) + 16).to_bytes(2)
        key, nonce = _expand(secret, b"key", 32), _expand(secret, b"iv", 12)
        secret = _expand(secret, b"traffic upd", 48)
        return header + AESGCM(key).encrypt(nonce, inner, header)

    return make


def _expand(secret: bytes, label: bytes, length: int) -> bytes:
    """HKDF-Expand-Label without a context (RFC 8446 §7.1)."""
    full = b"tls13 " + label
    info = length.to_bytes(2) + bytes([len(full)]) + full + b"\0"
    return HKDFExpand(SHA384(), length, info).derive(secret)
