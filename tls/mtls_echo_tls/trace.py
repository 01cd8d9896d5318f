"""The handshake, message by message, as OpenSSL processed it.

In TLS 1.3 everything after ServerHello is encrypted: no capture of the wire shows a refused
client's certificate or the alert that refused it. OpenSSL's message callback does. It is called
with each message in the clear, on the way out and on the way in, in both versions; CPython has
exposed it since 3.8 under the private name ``SSLContext._msg_callback``. This module is the one
place that uses it, behind a guard: on an interpreter without it, a `Recorder` stays empty and
the evidence is reduced to what `ssl` itself reports.

Rules that keep it honest and cheap:

* The callback stores and never interprets. An exception raised inside it would replace the
  handshake's own result, or vanish into it.
* What it stores is bounded, since an unauthenticated peer decides how much it sends.
* It is silenced when the handshake is over (`quiet`): otherwise OpenSSL calls it for each
  record, which makes an echo of 16 KiB dearer by a third or more (measured: 34 % in TLS 1.3,
  43 % in TLS 1.2). During the handshake it costs 7 to 10 %, both sides together.
"""

from __future__ import annotations

import _ssl
import functools
import ssl
import time
import weakref
from dataclasses import dataclass, field
from typing import Any, Literal

from mtls_echo_tls.alerts import CLOSURE_ALERTS, alert_name

Direction = Literal["sent", "received"]

# Record content types (RFC 8446 §5.1), and the two that only OpenSSL's callback knows: a record's
# header, and the content type hidden inside a protected TLS 1.3 record.
CHANGE_CIPHER_SPEC, ALERT, HANDSHAKE, APPLICATION_DATA = 20, 21, 22, 23
_RECORD_HEADER, _INNER_CONTENT_TYPE = 256, 257

# The level of an alert that ends a TLS 1.2 connection (RFC 5246 §7.2).
_FATAL = 2

_HANDSHAKE_NAMES = {
    0: "HelloRequest",
    1: "ClientHello",
    2: "ServerHello",
    4: "NewSessionTicket",
    5: "EndOfEarlyData",
    8: "EncryptedExtensions",
    11: "Certificate",
    12: "ServerKeyExchange",
    13: "CertificateRequest",
    14: "ServerHelloDone",
    15: "CertificateVerify",
    16: "ClientKeyExchange",
    20: "Finished",
    22: "CertificateStatus",
    24: "KeyUpdate",
    25: "CompressedCertificate",
}

# The random of a ServerHello that is a HelloRetryRequest (RFC 8446 §4.1.3).
_HELLO_RETRY_RANDOM = bytes.fromhex(
    "cf21ad74e59a6111be1d8c021e65b891c2a211167abb8c5e079e09e2c8a8339c"
)

# An honest handshake has at most 15 messages; OpenSSL itself ends one whose Certificate exceeds
# 100 KiB. These bounds are what a peer can make us keep, not what it may send.
_MOST_MESSAGES = 40
_MOST_BYTES = 256 * 1024

# RFC 1035 §2.3.4; OpenSSL refuses a longer one, after we have seen it.
_LONGEST_HOST_NAME = 255


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the handshake, an alert, or a change of cipher.

    Attributes:
        time: Seconds since the recording began.
        direction: As seen from the side that recorded it.
        content_type: 20, 21 or 22 (RFC 8446 §5.1).
        body: The whole message, in the clear; a handshake message with its 4-byte header.
        protected: Whether it travelled encrypted.
        version: The protocol version of the connection at that moment, as OpenSSL numbers it.
    """

    time: float
    direction: Direction
    content_type: int
    body: bytes = field(repr=False)
    protected: bool
    version: int = ssl.TLSVersion.TLSv1_3

    @property
    def name(self) -> str:
        """The message's name as its RFC spells it, or `Alert` with its description."""
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
        return len(self.body)

    @property
    def detail(self) -> str:
        """What a reader needs to know beside the name: so far, that a Certificate is empty."""
        if self.name == "Certificate" and not certificates_in(self):
            return "empty"
        return ""


class Recorder:
    """What one `ssl.SSLObject` sent and received during its handshake.

    Attributes:
        messages: In the order in which OpenSSL processed them.
        complete: False once a bound was reached and messages were left out.
    """

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.complete = True
        self._started = time.perf_counter()
        self._kept = 0
        self._record_type = {"read": HANDSHAKE, "write": HANDSHAKE}
        self._cipher_changed = {"read": False, "write": False}

    def record(self, way: str, version: int, content_type: int, data: bytes) -> None:
        """Keep one call of OpenSSL's message callback; never raises."""
        if content_type == _RECORD_HEADER:
            # Says how the next message travels: protected TLS 1.3 records all claim to be
            # application data. Remembered, not kept: a peer may send any number of records.
            self._record_type[way] = data[0] if data else HANDSHAKE
            if way == "read" and self._record_type[way] == CHANGE_CIPHER_SPEC:
                # OpenSSL 3.0 reports a received ChangeCipherSpec by its record header only.
                self._cipher_changed[way] = True
            return
        if content_type in (_INNER_CONTENT_TYPE, APPLICATION_DATA):
            return
        if len(self.messages) >= _MOST_MESSAGES or self._kept + len(data) > _MOST_BYTES:
            self.complete = False
            return
        protected = self._record_type[way] == APPLICATION_DATA
        if version < ssl.TLSVersion.TLSv1_3:
            # TLS 1.2 keeps the content type in the clear; protection starts with the
            # ChangeCipherSpec of that direction.
            protected = self._cipher_changed[way] and content_type != CHANGE_CIPHER_SPEC
            if content_type == CHANGE_CIPHER_SPEC:
                self._cipher_changed[way] = True
        self._kept += len(data)
        elapsed = time.perf_counter() - self._started
        direction: Direction = "received" if way == "read" else "sent"
        self.messages.append(Message(elapsed, direction, content_type, data, protected, version))

    def find(self, direction: Direction, *names: str) -> Message | None:
        """The last message of that direction with one of these names."""
        for message in reversed(self.messages):
            if message.direction == direction and message.name in names:
                return message
        return None

    @property
    def fatal_alert(self) -> Message | None:
        """The first alert that ended the connection: who sent it, refused.

        The first, because the verdict is spoken once; what follows it answers the end.
        """
        return next((message for message in self.messages if message.is_fatal_alert), None)

    @property
    def server_name(self) -> str | None:
        """The host name in the ClientHello's server_name extension (RFC 6066 §3)."""
        for message in self.messages:
            if message.name == "ClientHello":
                return server_name_in(message)
        return None

    def forget(self) -> None:
        """Drop what was recorded: after a success it is a few KiB per connection for nothing."""
        self.messages.clear()

    @property
    def client_random(self) -> str | None:
        """``ClientHello.random`` in hexadecimal: known to both sides, it joins their reports."""
        for message in self.messages:
            # 4 bytes of header, 2 of legacy_version, then the random (RFC 8446 §4.1.2); after a
            # HelloRetryRequest the second ClientHello repeats it.
            if message.name == "ClientHello" and len(message.body) >= 38:
                return message.body[6:38].hex()
        return None


def certificates_in(message: Message) -> tuple[bytes, ...]:
    """The certificates of a Certificate message, DER, end-entity first; () when malformed.

    TLS 1.3 puts a request context before the list and extensions after each entry (RFC 8446
    §4.4.2); TLS 1.2 has neither (RFC 5246 §7.4.2). A list length that does not reach to the end
    of the message tells the two apart.
    """
    body = message.body[4:]
    for tls13 in (False, True):
        context = 1 + body[0] if tls13 and body else 0
        length, entries = body[context : context + 3], body[context + 3 :]
        if len(length) == 3 and int.from_bytes(length) == len(entries):
            return tuple(_entries(entries, extensions=tls13))
    return ()


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


def server_name_in(hello: Message) -> str | None:
    """The host name that a ClientHello asks for; None when it names none, or is malformed."""
    body = hello.body
    # Header, legacy_version and random, then three vectors whose lengths take 1, 2 and 1 bytes:
    # legacy_session_id, cipher_suites, legacy_compression_methods (RFC 8446 §4.1.2).
    at = 4 + 2 + 32
    for width in (1, 2, 1):
        at += width + int.from_bytes(body[at : at + width])
    at += 2
    while at + 4 <= len(body):
        kind, size = int.from_bytes(body[at : at + 2]), int.from_bytes(body[at + 2 : at + 4])
        if kind == 0 and size > 5:
            # A list with one entry: its length, the type host_name, the name's length, the name.
            length = min(int.from_bytes(body[at + 7 : at + 9]), size - 5, _LONGEST_HOST_NAME)
            return body[at + 9 : at + 9 + length].decode("ascii", "replace")
        at += 4 + size
    return None


# --- the guarded place ---------------------------------------------------------------------------

_recorders: weakref.WeakKeyDictionary[object, Recorder] = weakref.WeakKeyDictionary()

# The C type's own descriptor: the property of the same name in ssl.py converts each argument to
# an enumeration, twice mistaking one, which costs more than all that is done here.
_callback_slot: Any = getattr(getattr(_ssl, "_SSLContext", None), "_msg_callback", None)


def _on_message(
    connection: object, way: str, version: int, content_type: int, _kind: int, data: bytes
) -> None:
    recorder = _recorders.get(connection)
    if recorder is not None:
        recorder.record(way, version, content_type, data)


def wrap(
    context: ssl.SSLContext, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, **options: Any
) -> tuple[ssl.SSLObject, Recorder]:
    """``context.wrap_bio(incoming, outgoing, **options)``, with a recorder attached.

    The callback belongs to the context and is set once; it finds the recorder by connection.
    """
    if _callback_slot is not None and _callback_slot.__get__(context) is None:
        _callback_slot.__set__(context, _on_message)
    connection = context.wrap_bio(incoming, outgoing, **options)
    recorder = Recorder()
    _recorders[connection] = recorder
    return connection, recorder


@functools.cache
def _silent_context(server_side: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)
    # getpeercert() answers only where the context verifies.
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def quiet(connection: ssl.SSLObject) -> None:
    """Stop recording on a connection whose handshake is over.

    Assigning `ssl.SSLObject.context`, which exists for SNI callbacks, makes CPython take the
    message callback from the new context, here one without any. Nothing else that an established
    connection uses comes from there: keys, peer certificate, ALPN and shutdown stay (checked on
    3.11 to 3.13). One thing goes: `ssl.SSLObject.session`, read afterwards, belongs to the silent
    context, and can resume no connection of the old one. We never resume.
    """
    if _recorders.pop(connection, None) is not None and _callback_slot is not None:
        connection.context = _silent_context(connection.server_side)
