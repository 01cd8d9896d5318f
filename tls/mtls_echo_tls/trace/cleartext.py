"""Record what a handshake shows in the clear, where OpenSSL's message callback is not available.

An interpreter without that callback (`mtls_echo_tls.trace.recorder`) leaves the bytes themselves.
TLS records frame them (RFC 8446 §5.1): in TLS 1.2 everything up to ChangeCipherSpec is readable,
certificates included; in TLS 1.3 the two hellos are, and after them only how many bytes went which
way. `CleartextRecorder` reads that and feeds a `Recorder` with the calls that OpenSSL would have
made.

It reads two streams of untrusted bytes, so it keeps at most one record and one handshake message
of each, and stops for good at anything that is not TLS.
"""

from __future__ import annotations

import ssl

from mtls_echo_tls.trace.messages import (
    ALERT,
    APPLICATION_DATA,
    CHANGE_CIPHER_SPEC,
    HANDSHAKE,
    selects_tls13,
)
from mtls_echo_tls.trace.recorder import RECORD_HEADER, Recorder

# TLSCiphertext.length, of TLS 1.2, which allows more (RFC 5246 §6.2.3).
_LARGEST_RECORD = (1 << 14) + 2048

# OpenSSL's own limit for the largest message there is, a Certificate.
_LARGEST_MESSAGE = 100 * 1024


def ends_in_alert(written: bytes) -> bool:
    """Whether the last of some whole records can only be an alert, protected or not.

    TLS 1.2 says so in the record's header; in TLS 1.3 an alert is the one message of two bytes,
    to which come its content type and a tag of 8 or 16 bytes (RFC 8446 §5.2).
    """
    at = kind = size = 0
    while at + 5 <= len(written):
        kind, size = written[at], int.from_bytes(written[at + 3 : at + 5])
        at += 5 + size
    return kind == ALERT or (kind == APPLICATION_DATA and size in (2 + 1 + 8, 2 + 1 + 16))


class CleartextRecorder:
    """Reads the records of one connection in both directions, where they are in the clear."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._version = int(ssl.TLSVersion.TLSv1_2)
        self._records = {"read": bytearray(), "write": bytearray()}
        self._messages = {"read": bytearray(), "write": bytearray()}
        self._encrypted = {"read": False, "write": False}
        self._ended: set[str] = set()

    def received(self, data: bytes | bytearray | memoryview) -> None:
        """Take received bytes; never raises."""
        self._take("read", data)

    def sent(self, data: bytes) -> None:
        """Take sent bytes, other than application data; never raises."""
        self._take("write", data)

    def handshake_complete(self) -> None:
        """Stop reading: what is received from now on may be application data."""
        self._end("read")

    def _take(self, way: str, data: bytes | bytearray | memoryview) -> None:
        if way in self._ended:
            return
        buffer = self._records[way]
        buffer += data
        start = 0
        while len(buffer) - start >= 5 and way not in self._ended:
            size = int.from_bytes(buffer[start + 3 : start + 5])
            if not self._is_record(buffer[start], buffer[start + 1], size):
                self._end(way)
                return
            end = start + 5 + size
            if end > len(buffer):
                break
            self._record(way, bytes(buffer[start:end]))
            start = end
        del buffer[:start]

    @staticmethod
    def _is_record(content_type: int, major: int, size: int) -> bool:
        known = CHANGE_CIPHER_SPEC <= content_type <= APPLICATION_DATA
        return known and major == 3 and size <= _LARGEST_RECORD

    def _record(self, way: str, record: bytes) -> None:
        content_type, fragment = record[0], record[5:]
        self._recorder.record(way, self._version, RECORD_HEADER, record[:5])
        if content_type == CHANGE_CIPHER_SPEC:
            self._recorder.record(way, self._version, content_type, fragment)
            # In TLS 1.3 it changes nothing (RFC 8446 §D.4).
            self._encrypted[way] = self._version < ssl.TLSVersion.TLSv1_3
        elif content_type == APPLICATION_DATA or self._encrypted[way]:
            self._recorder.record_hidden(way, self._version, content_type, len(fragment))
        elif content_type == ALERT:
            self._recorder.record(way, self._version, content_type, fragment)
        else:
            self._handshake(way, fragment)

    def _handshake(self, way: str, fragment: bytes) -> None:
        """Reassemble messages: a record may hold several, and a message take several."""
        buffer = self._messages[way]
        buffer += fragment
        while len(buffer) >= 4:
            end = 4 + int.from_bytes(buffer[1:4])
            if end > _LARGEST_MESSAGE:
                self._end(way)
                return
            if end > len(buffer):
                return
            message = bytes(buffer[:end])
            del buffer[:end]
            if selects_tls13(message):
                self._version = int(ssl.TLSVersion.TLSv1_3)
            self._recorder.record(way, self._version, HANDSHAKE, message)

    def _end(self, way: str) -> None:
        self._ended.add(way)
        self._records[way].clear()
        self._messages[way].clear()
