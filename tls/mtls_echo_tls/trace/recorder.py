"""Record the messages of a handshake as OpenSSL processes them.

In TLS 1.3 everything after ServerHello is encrypted: no capture on the network shows a refused
client's certificate or the alert that refused it. OpenSSL's message callback does. It is called
with each message in the clear, on the way out and on the way in, in both versions; CPython has
exposed it since 3.8 under the private name ``SSLContext._msg_callback``. This module is the one
place that uses it, behind a guard: on an interpreter without it, `mtls_echo_tls.trace.cleartext`
feeds a `Recorder` with what is in the clear, by the same calls.

Rules that keep it correct and cheap:

* The callback stores and never interprets (`Recorder`). An exception raised inside it would
  replace the handshake's own result, or vanish into it.
* What it stores is bounded, since an unauthenticated peer decides how much it sends.
* It is silenced when the handshake is over (`quiet`): otherwise OpenSSL calls it for each
  record, which makes bulk data clearly slower (measured on a busy machine, in several runs: 15
  to 43 %; silenced, nothing measurable). During the handshake it costs 7 to 26 %, both sides
  together, in the same runs.
"""

from __future__ import annotations

import _ssl
import functools
import ssl
import time
from typing import Any, TypeAlias, cast

import msgspec
from trio.lowlevel import enable_ki_protection

from mtls_echo_tls.trace.messages import (
    ALERT,
    APPLICATION_DATA,
    CHANGE_CIPHER_SPEC,
    HANDSHAKE,
    SERVER_HELLO,
    Direction,
    Message,
    selects_tls13,
)

# Content types of OpenSSL's callback only: a record's header, and the content type inside a
# protected TLS 1.3 record.
RECORD_HEADER, _INNER_CONTENT_TYPE = 256, 257

# A regular handshake has at most 15 messages; OpenSSL itself ends one whose Certificate exceeds
# 100 KiB. These bounds are what a peer can make us keep, not what it may send.
_MOST_MESSAGES = 40
_MOST_BYTES = 256 * 1024

# Beyond the bound of messages: a long connection that is traced may have had many KeyUpdates
# before the alert that explains its end.
_MOST_LATE_ALERTS = 8

# What is kept unread: together no more than those bytes.
_MOST_CALLS, _LARGEST_CALL = 64, 4096

# In each direction. A TLS 1.3 peer may send 32 without a meaning, to fill the recording.
_MOST_CIPHER_CHANGES = 2


class Omission(msgspec.Struct):
    """The messages of one direction beyond the bounds, counted; the time is the first's."""

    time: float
    direction: Direction
    messages: int = 0
    size: int = 0


# The time, and the arguments of OpenSSL's message callback: way, version, content type, data.
Call: TypeAlias = tuple[float, str, int, int, bytes]


class Recording:
    """The messages of a handshake, made of OpenSSL's calls, within the bounds.

    Attributes:
        messages: In the order in which OpenSSL processed them.
        omitted: What was not kept, by direction; empty unless a bound was reached.
    """

    def __init__(self, started: float) -> None:
        self.messages: list[Message] = []
        self.omitted: dict[Direction, Omission] = {}
        self._started = started
        self._kept = 0
        self._late_alerts = 0
        self._record_type = {"read": HANDSHAKE, "write": HANDSHAKE}
        self._cipher_changes = {"read": 0, "write": 0}
        self._known_by_header = False

    def add(self, now: float, way: str, version: int, content_type: int, data: bytes) -> None:
        """Keep one call of OpenSSL's message callback, made at ``now``; never raises."""
        if content_type == RECORD_HEADER:
            # It shows how the next message travels: protected TLS 1.3 records all have the type
            # application data. Noted, not kept: a peer may send any number of records.
            self._record_type[way] = data[0] if data else HANDSHAKE
            if way == "read" and self._record_type[way] == CHANGE_CIPHER_SPEC:
                # OpenSSL 3.0 reports a received ChangeCipherSpec by its record header only,
                # 3.6 in TLS 1.3 by both.
                self.keep(now, way, version, CHANGE_CIPHER_SPEC, b"\x01")
                self._known_by_header = True
            return
        if content_type in (_INNER_CONTENT_TYPE, APPLICATION_DATA):
            return
        if content_type == CHANGE_CIPHER_SPEC and way == "read" and self._known_by_header:
            self._known_by_header = False
            return
        self.keep(now, way, version, content_type, data)

    def keep(
        self, now: float, way: str, version: int, content_type: int, data: bytes, hidden: int = 0
    ) -> None:
        """Keep one message; ``hidden`` is its size, where it cannot be read."""
        if content_type == CHANGE_CIPHER_SPEC:
            protected = False
            self._cipher_changes[way] += 1
        elif version < ssl.TLSVersion.TLSv1_3:
            # TLS 1.2 keeps the content type in the clear; protection starts with the
            # ChangeCipherSpec of that direction.
            protected = self._cipher_changes[way] > 0
        else:
            protected = self._record_type[way] == APPLICATION_DATA
        elapsed = now - self._started
        direction: Direction = "received" if way == "read" else "sent"
        if self._has_room(way, content_type, len(data)):
            self._kept += len(data)
            self.messages.append(
                Message(elapsed, direction, content_type, data, protected, version, hidden)
            )
        else:
            omission = self.omitted.setdefault(direction, Omission(elapsed, direction))
            omission.messages += 1
            omission.size += hidden or len(data)

    def _has_room(self, way: str, content_type: int, size: int) -> bool:
        if content_type == CHANGE_CIPHER_SPEC and self._cipher_changes[way] > _MOST_CIPHER_CHANGES:
            return False
        if self._kept + size > _MOST_BYTES:
            return False
        if len(self.messages) < _MOST_MESSAGES:
            return True
        self._late_alerts += content_type == ALERT
        return content_type == ALERT and self._late_alerts <= _MOST_LATE_ALERTS


class Recorder:
    """The messages that one `ssl.SSLObject` sent and received during its handshake.

    Most recordings are of a success, and never read: so OpenSSL's calls are kept as they are, and
    made into messages when one is read, or when there are too many. One that was ``requested``
    gives its report a trace; one that is ``attached`` is fed by OpenSSL's callback.
    """

    __slots__ = ("_recording", "_started", "attached", "calls", "requested")

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.requested = False
        self.attached = False
        self._recording: Recording | None = None
        self._started = time.perf_counter()

    def record(self, way: str, version: int, content_type: int, data: bytes) -> None:
        """Keep what OpenSSL's message callback would have told; never raises."""
        self.read().add(time.perf_counter(), way, version, content_type, data)

    def record_hidden(self, way: str, version: int, content_type: int, size: int) -> None:
        """Keep that an encrypted record was seen, where it cannot be read."""
        self.read().keep(time.perf_counter(), way, version, content_type, b"", size)

    def read(self) -> Recording:
        """Everything so far, as messages."""
        if self._recording is None:
            self._recording = Recording(self._started)
        calls, self.calls = self.calls, []
        for call in calls:
            self._recording.add(*call)
        return self._recording

    @property
    def messages(self) -> list[Message]:
        """In the order in which OpenSSL processed them."""
        return self.read().messages

    @property
    def omitted(self) -> dict[Direction, Omission]:
        """What was not kept, by direction; empty unless a bound was reached."""
        return self.read().omitted

    def recorded(self) -> list[Call]:
        """Everything so far, without interpreting what has not been read."""
        if self._recording is None:
            return self.calls
        return [
            (
                m.time,
                "read" if m.direction == "received" else "write",
                m.version,
                m.content_type,
                m.body,
            )
            for m in self.messages
        ]

    def find(self, direction: Direction, *names: str) -> Message | None:
        """The last message of that direction with one of these names."""
        for message in reversed(self.messages):
            if message.direction == direction and message.name in names:
                return message
        return None

    def chosen_version(self) -> str | None:
        """The version that a ServerHello chose, without interpreting anything else."""
        for _, _, _, content_type, body in self.recorded():
            if content_type == HANDSHAKE and body and body[0] == SERVER_HELLO:
                return "TLSv1.3" if selects_tls13(body) else "TLSv1.2"
        return None

    @property
    def fatal_alert(self) -> Message | None:
        """The first alert that ended the connection: its sender refused.

        The first, because there is one verdict; alerts after it answer the end.
        """
        return next((message for message in self.messages if message.is_fatal_alert), None)

    def forget(self) -> None:
        """Drop the recording: after a success it is a few KiB per connection, of no use."""
        self.calls = []
        if self._recording is not None:
            self._recording.messages.clear()


# --- the guarded place ---------------------------------------------------------------------------

# The C type's own descriptor: the property of the same name in ssl.py converts each argument to
# an enumeration, two of them wrongly, which costs more than all that is done here.
_callback_slot: Any = getattr(getattr(_ssl, "_SSLContext", None), "_msg_callback", None)


# OpenSSL calls this, and what it raises comes out as the mere context of an SSLWantReadError: a
# Ctrl-C that fell into it would be lost. Protected, it is raised in trio's main task instead.
@enable_ki_protection
def _on_message(
    connection: Any, way: str, version: int, content_type: int, _kind: int, data: bytes
) -> None:
    if content_type == _INNER_CONTENT_TYPE:
        return
    try:
        recorder: Recorder = connection.recorder
    except AttributeError:
        return  # silenced; or not of ours, on a context that we use
    calls = recorder.calls
    calls.append((time.perf_counter(), way, version, content_type, data))
    if len(calls) > _MOST_CALLS or len(data) > _LARGEST_CALL:
        recorder.read()


def wrap(
    context: ssl.SSLContext, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, **options: Any
) -> tuple[ssl.SSLObject, Recorder]:
    """``context.wrap_bio(…)``, with a recorder attached.

    The callback belongs to the context and is set once; it finds the recorder by connection.
    """
    if _callback_slot is not None and _callback_slot.__get__(context) is None:
        _callback_slot.__set__(context, _on_message)
    connection = context.wrap_bio(incoming, outgoing, **options)
    recorder = Recorder()
    recorder.attached = (
        _callback_slot is not None and _callback_slot.__get__(context) is _on_message
    )
    cast("Any", connection).recorder = recorder
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
    if hasattr(connection, "recorder") and _callback_slot is not None:
        delattr(connection, "recorder")
        connection.context = _silent_context(connection.server_side)
