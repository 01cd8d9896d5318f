"""A TLS 1.3 client by hand, which can sign what no library would: for a stolen signature.

In TLS 1.3 CertificateVerify is encrypted: an attacker that wants to put another client's signature
into its own handshake has to be the client of that handshake, and OpenSSL only sends signatures
that it makes itself. The client of a handshake (RFC 8446 §2) is not much, though, if it verifies
nothing, as an attacker has no need to: one cipher suite, one group, and the key schedule (§7.1).

With the right signature it logs in like any other client, which a test does, to be sure that it is
the signature that a server refuses.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import trio
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from mtls_echo.attacks.copies import ECDSA_P256, content_to_sign
from mtls_echo.attacks.relay import HEADER, take_records
from mtls_echo_tls.trace.messages import (
    ALERT,
    APPLICATION_DATA,
    CERTIFICATE,
    CERTIFICATE_VERIFY,
    CHANGE_CIPHER_SPEC,
    CLIENT_HELLO,
    HANDSHAKE,
)

# The suite that our servers prefer (RFC 8446 §B.4), and the hash that everything depends on.
SUITE = "TLS_AES_256_GCM_SHA384"
_SUITE, _KEY_SIZE, _IV_SIZE = b"\x13\x02", 32, 12
_HASH, _HASH_SIZE = "sha384", 48

_X25519 = b"\x00\x1d"
_LEGACY_VERSION, _TLS13 = b"\x03\x03", b"\x03\x04"
_FINISHED = 20

# Extensions (RFC 8446 §4.2).
_SERVER_NAME, _GROUPS, _SIGNATURES, _VERSIONS, _KEY_SHARE = 0, 10, 13, 43, 51

# From what is to be signed to what is sent as the signature (ecdsa_secp256r1_sha256).
Sign: TypeAlias = Callable[[bytes], bytes]


@dataclass(frozen=True)
class Answer:
    """What a server made of the client's last flight.

    Attributes:
        alert: The number of its alert, or None.
        data: The first data that it sent, or nothing.
        transcript: What CertificateVerify had to be over.
    """

    alert: int | None = None
    data: bytes = b""
    transcript: bytes = b""


async def present(port: int, name: str, certificate: bytes, sign: Sign) -> Answer:
    """Present a certificate (DER) and what ``sign`` returns, and wait for the verdict.

    Raises:
        EOFError: The server has closed the connection without one.
    """
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        records = _Records(stream)
        key = X25519PrivateKey.generate()
        transcript = _client_hello(name, key.public_key().public_bytes_raw())
        await stream.send_all(_record(HANDSHAKE, transcript))
        _, server_hello = await records.read()
        transcript += server_hello

        # The key schedule (RFC 8446 §7.1), without a pre-shared key.
        nothing = bytes(_HASH_SIZE)
        early = _extract(nothing, nothing)
        secret = _extract(_derive(early, "derived", b""), key.exchange(_share_in(server_hello)))
        client_secret = _derive(secret, "c hs traffic", transcript)
        records.protection = _Protection(_derive(secret, "s hs traffic", transcript))
        flight = b""
        while _FINISHED not in _types_of(flight):
            flight += (await records.read())[1]
        transcript += flight
        master = _extract(_derive(secret, "derived", b""), nothing)
        records.protection = _Protection(_derive(master, "s ap traffic", transcript))

        listed = _sized(3, certificate) + _sized(2, b"")  # without extensions
        messages = _message(CERTIFICATE, _sized(1, b"") + _sized(3, listed))
        signed = transcript + messages
        signature = sign(content_to_sign(signed, SUITE))
        messages += _message(CERTIFICATE_VERIFY, ECDSA_P256 + _sized(2, signature))
        finished = _expand(client_secret, "finished", b"", _HASH_SIZE)
        proof = hmac.digest(finished, _hashed(transcript + messages), _HASH)
        messages += _message(_FINISHED, proof)
        await stream.send_all(_Protection(client_secret).seal(HANDSHAKE, messages))
        kind, data = await records.read()
        alert = data[1] if kind == ALERT else None
        return Answer(alert, data if kind == APPLICATION_DATA else b"", signed)


def _client_hello(name: str, share: bytes) -> bytes:
    extensions = {
        _SERVER_NAME: _sized(2, b"\0" + _sized(2, name.encode())),
        _GROUPS: _sized(2, _X25519),
        _SIGNATURES: _sized(2, ECDSA_P256),
        _VERSIONS: _sized(1, _TLS13),
        _KEY_SHARE: _sized(2, _X25519 + _sized(2, share)),
    }
    written = b"".join(kind.to_bytes(2) + _sized(2, body) for kind, body in extensions.items())
    session_id, compression = _sized(1, b""), _sized(1, b"\0")
    start = _LEGACY_VERSION + os.urandom(32) + session_id + _sized(2, _SUITE) + compression
    return _message(CLIENT_HELLO, start + _sized(2, written))


def _share_in(server_hello: bytes) -> X25519PublicKey:
    """The server's key share, the one extension that begins like this."""
    size = 32
    body = _X25519 + size.to_bytes(2)
    head = _KEY_SHARE.to_bytes(2) + (len(body) + size).to_bytes(2) + body
    return X25519PublicKey.from_public_bytes(server_hello.partition(head)[2][:size])


def _types_of(flight: bytes) -> Iterator[int]:
    """The types of the handshake messages that are whole."""
    while len(flight) >= 4:
        size = 4 + int.from_bytes(flight[1:4])
        if len(flight) >= size:
            yield flight[0]
        flight = flight[size:]


# --- records and keys ----------------------------------------------------------------------------


class _Protection:
    """The protection of records in one direction (RFC 8446 §5.2, §7.3)."""

    def __init__(self, secret: bytes) -> None:
        self._cipher = AESGCM(_expand(secret, "key", b"", _KEY_SIZE))
        self._iv = int.from_bytes(_expand(secret, "iv", b"", _IV_SIZE))
        self._number = 0

    def seal(self, kind: int, data: bytes) -> bytes:
        """A record that is encrypted."""
        size = len(data) + 1 + 16
        header = bytes([APPLICATION_DATA]) + _LEGACY_VERSION + size.to_bytes(2)
        return header + self._cipher.encrypt(self._nonce(), data + bytes([kind]), header)

    def open(self, record: bytes) -> tuple[int, bytes]:
        """The content of an encrypted record, and of which type it is."""
        inner = self._cipher.decrypt(self._nonce(), record[HEADER:], record[:HEADER]).rstrip(b"\0")
        return inner[-1], inner[:-1]

    def _nonce(self) -> bytes:
        nonce = (self._iv ^ self._number).to_bytes(_IV_SIZE)
        self._number += 1
        return nonce


class _Records:
    """The records that a server sends, opened once there are keys."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.protection: _Protection | None = None
        self._stream = stream
        self._arrived = bytearray()
        self._whole: list[bytes] = []

    async def read(self) -> tuple[int, bytes]:
        """The type and the content of the next one.

        Raises:
            EOFError: The server has closed.
        """
        while not self._whole:
            data = await self._stream.receive_some()
            if not data:
                raise EOFError
            self._arrived += data
            arrived = take_records(self._arrived)
            # Sent for the sake of middleboxes, and ignored (RFC 8446 §D.4).
            self._whole += (each for each in arrived if each[0] != CHANGE_CIPHER_SPEC)
        record = self._whole.pop(0)
        if self.protection is None or record[0] != APPLICATION_DATA:
            return record[0], record[HEADER:]
        return self.protection.open(record)


def _record(kind: int, data: bytes) -> bytes:
    return bytes([kind]) + _LEGACY_VERSION + _sized(2, data)


def _message(kind: int, body: bytes) -> bytes:
    return bytes([kind]) + _sized(3, body)


def _sized(width: int, data: bytes) -> bytes:
    """A vector: its length, in so many bytes, and its contents (RFC 8446 §3.4)."""
    return len(data).to_bytes(width) + data


def _hashed(messages: bytes) -> bytes:
    return hashlib.new(_HASH, messages).digest()


def _extract(salt: bytes, secret: bytes) -> bytes:
    return hmac.digest(salt, secret, _HASH)


def _derive(secret: bytes, label: str, messages: bytes) -> bytes:
    return _expand(secret, label, _hashed(messages), _HASH_SIZE)


def _expand(secret: bytes, label: str, context: bytes, size: int) -> bytes:
    info = size.to_bytes(2) + _sized(1, f"tls13 {label}".encode()) + _sized(1, context)
    return HKDFExpand(hashes.SHA384(), size, info).derive(secret)
