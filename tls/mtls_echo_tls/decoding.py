"""What a message says, field by field, in the words of the RFCs.

A trace is read by somebody who wants to know what was offered, what was chosen, who was asked to
prove what, and with which certificate: those fields are decoded (RFC 8446 §4, RFC 5246 §7.4) and
the rest is counted as size. Numbers become names where IANA has one (`codepoints`).

Every byte may have been chosen by a stranger. A decoder reads front to back and stops where the
message ends too early: what was read until then stays, and ``malformed`` says so. Lists, texts
and certificates are cut at a bound, and say how many were left out.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from cryptography import x509

from mtls_echo_tls.alerts import alert_meaning, alert_name
from mtls_echo_tls.codepoints import (
    CERTIFICATE_TYPES,
    CIPHER_SUITES,
    COMPRESSION,
    GROUPS,
    SIGNATURE_SCHEMES,
    VERSIONS,
    named,
)
from mtls_echo_tls.messages import ALERT, HANDSHAKE, Message, certificates_in, extensions
from mtls_echo_tls.report import TraceEntry
from mtls_echo_tls.trace import Recorder
from mtls_echo_tls.wording import summarise

# Entries of a list, of which the last may say how many more there were. OpenSSL offers 31 suites.
_MOST_ENTRIES = 64
_LONGEST_TEXT = 256
# OpenSSL follows a path over at most 10 issuers unless told otherwise.
_MOST_CERTIFICATES = 11

# The registered number of each extension that is decoded, by its name (IANA, ExtensionType).
_SERVER_NAME, _GROUPS, _SIGNATURES, _ALPN, _COMPRESS, _TICKET = 0, 10, 13, 16, 27, 35
_PRE_SHARED_KEY, _EARLY_DATA, _VERSIONS, _AUTHORITIES, _KEY_SHARE = 41, 42, 43, 47, 51
_RENEGOTIATION = 0xFF01

Fields = dict[str, Any]


def trace_of(recorder: Recorder) -> list[TraceEntry] | None:
    """A recording as a report has it; None unless it was asked for. Never raises."""
    return entries(recorder) if recorder.requested else None


def entries(recorder: Recorder) -> list[TraceEntry]:
    """Every message of a recording, decoded, in order; and what was left out, where it began."""
    found = decoded(recorder.messages)
    found += (
        TraceEntry(
            time_ms=round(omission.time * 1000, 3),
            direction=direction,
            name="left out",
            size=omission.size,
            protected=True,
            fields={"messages": omission.messages},
        )
        for direction, omission in recorder.omitted.items()
    )
    return sorted(found, key=lambda entry: entry.time_ms)


def decoded(messages: Sequence[Message]) -> list[TraceEntry]:
    """The messages of one connection, from its first on."""
    decoder = Decoder()
    return [
        TraceEntry(
            time_ms=round(message.time * 1000, 3),
            direction=message.direction,
            name="Alert" if message.content_type == ALERT and not message.hidden else message.name,
            size=message.size,
            protected=message.protected,
            fields=decoder.fields(message),
        )
        for message in messages
    ]


class _MalformedError(Exception):
    """The message ends before its fields do."""


class _Cursor:
    """Reads a message front to back, and never beyond its end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, size: int) -> bytes:
        if size > self.left:
            raise _MalformedError
        self._at += size
        return self._data[self._at - size : self._at]

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width))

    def vector(self, width: int) -> bytes:
        """What follows a length of ``width`` bytes (RFC 8446 §3.4)."""
        return self.take(self.number(width))

    def extensions(self) -> dict[int, bytes]:
        """The extensions that end a message; none at all in old ones."""
        return dict(extensions(self.vector(2))) if self.left else {}


class Decoder:
    """Decodes the messages of one connection in their order.

    What some fields mean depends on what came before: which key exchange the suite has, whether
    the server took up the session that the client offered.
    """

    def __init__(self) -> None:
        self._suite = ""
        self._session = b""
        self._decoders: Mapping[str, Callable[[Message, _Cursor, Fields], None]] = {
            "ClientHello": self._client_hello,
            "ServerHello": self._server_hello,
            "HelloRetryRequest": self._server_hello,
            "EncryptedExtensions": _encrypted_extensions,
            "CertificateRequest": _certificate_request,
            "Certificate": _certificate,
            "CompressedCertificate": _compressed_certificate,
            "CertificateVerify": _certificate_verify,
            "ServerKeyExchange": self._server_key_exchange,
            "NewSessionTicket": _new_session_ticket,
            "KeyUpdate": _key_update,
        }

    def fields(self, message: Message) -> Fields:
        """The fields of a message that matter to a reader; never raises."""
        found: Fields = {}
        if message.hidden:
            return found
        try:
            if message.content_type == ALERT:
                _alert(_Cursor(message.body), found)
            elif message.content_type == HANDSHAKE and message.name in self._decoders:
                self._decoders[message.name](message, _Cursor(message.body[4:]), found)
        except _MalformedError:
            found["malformed"] = True
        return found

    def _client_hello(self, _message: Message, body: _Cursor, found: Fields) -> None:
        legacy_version = body.number(2)
        body.take(32)
        self._session = body.vector(1)
        suites = body.vector(2)
        body.vector(1)
        offered = body.extensions()
        modern = _VERSIONS in offered
        versions = _numbers(offered[_VERSIONS], 1) if modern else [legacy_version]
        found["versions"] = _names(VERSIONS, versions)
        if _SERVER_NAME in offered:
            found["server_name"] = _server_name(_Cursor(offered[_SERVER_NAME]))
        if _ALPN in offered:
            found["alpn"] = _protocols(offered[_ALPN])
        found["cipher_suites"] = _names(CIPHER_SUITES, _numbers(suites))
        if _GROUPS in offered:
            found["groups"] = _names(GROUPS, _numbers(offered[_GROUPS], 2))
        if _KEY_SHARE in offered:
            found["key_shares"] = _names(GROUPS, _key_shares(offered[_KEY_SHARE]))
        if _SIGNATURES in offered:
            found["signature_algorithms"] = _names(
                SIGNATURE_SCHEMES, _numbers(offered[_SIGNATURES], 2)
            )
        if _COMPRESS in offered:
            found["certificate_compression"] = _names(COMPRESSION, _numbers(offered[_COMPRESS], 1))
        sessions: list[str] = []
        if _PRE_SHARED_KEY in offered:
            sessions.append("pre-shared key")
        if offered.get(_TICKET):
            sessions.append("session ticket")
        if self._session and not modern:  # in TLS 1.3 it is there for middleboxes (§D.4)
            sessions.append("session ID")
        if sessions:
            found["resumption"] = sessions
        if _EARLY_DATA in offered:
            found["early_data"] = True
        if len(offered.get(_RENEGOTIATION, b"")) > 1:
            found["renegotiation"] = True  # it carries the last handshake's Finished (RFC 5746)

    def _server_hello(self, _message: Message, body: _Cursor, found: Fields) -> None:
        version = body.number(2)
        body.take(32)
        session = body.vector(1)
        self._suite = named(CIPHER_SUITES, body.number(2))
        body.take(1)
        chosen = body.extensions()
        modern = _VERSIONS in chosen
        if modern:
            version = int.from_bytes(chosen[_VERSIONS])
        found["version"] = named(VERSIONS, version)
        found["cipher_suite"] = self._suite
        if _KEY_SHARE in chosen:
            found["group"] = named(GROUPS, int.from_bytes(chosen[_KEY_SHARE][:2]))
        if _ALPN in chosen:
            found["alpn"] = next(iter(_protocols(chosen[_ALPN])), "")
        if _PRE_SHARED_KEY in chosen or (not modern and session and session == self._session):
            found["resumed"] = True

    def _server_key_exchange(self, message: Message, body: _Cursor, found: Fields) -> None:
        if "_ECDHE_" in self._suite:
            if body.number(1) != 3:  # named_curve, the only kind left (RFC 8422 §5.4)
                return
            found["group"] = named(GROUPS, body.number(2))
            body.vector(1)
        elif "_DHE_" in self._suite:
            found["group"] = f"Diffie-Hellman, {8 * len(body.vector(2).lstrip(bytes(1)))} bits"
            body.vector(2)
            body.vector(2)
        else:
            return
        if message.version >= ssl.TLSVersion.TLSv1_2:
            found["signature_algorithm"] = named(SIGNATURE_SCHEMES, body.number(2))


def _encrypted_extensions(_message: Message, body: _Cursor, found: Fields) -> None:
    chosen = body.extensions()
    if _ALPN in chosen:
        found["alpn"] = next(iter(_protocols(chosen[_ALPN])), "")
    if _EARLY_DATA in chosen:
        found["early_data"] = True


def _certificate_request(message: Message, body: _Cursor, found: Fields) -> None:
    if message.version >= ssl.TLSVersion.TLSv1_3:
        body.vector(1)  # certificate_request_context (RFC 8446 §4.3.2)
        wanted = body.extensions()
        signatures = wanted.get(_SIGNATURES, b"")[2:]
        authorities = wanted.get(_AUTHORITIES, b"")[2:]
    else:
        types = body.vector(1)
        found["certificate_types"] = _names(CERTIFICATE_TYPES, list(types), 1)
        signatures = body.vector(2)
        authorities = body.vector(2)
    found["signature_algorithms"] = _names(SIGNATURE_SCHEMES, _numbers(signatures))
    names: list[bytes] = []
    listed = _Cursor(authorities)
    try:
        while listed.left:
            names.append(listed.vector(2))
    finally:
        found["authorities"] = _bounded(names, distinguished_name)


def _certificate(message: Message, _body: _Cursor, found: Fields) -> None:
    chain = certificates_in(message)
    # What a Certificate without certificates is like: the context and a list, both empty.
    if not chain and any(message.body[4:]):
        raise _MalformedError
    found["certificates"] = [_summary(one) for one in chain[:_MOST_CERTIFICATES]]
    if len(chain) > _MOST_CERTIFICATES:
        found["more_certificates"] = len(chain) - _MOST_CERTIFICATES


def _compressed_certificate(message: Message, body: _Cursor, found: Fields) -> None:
    found["compression"] = named(COMPRESSION, body.number(2))
    found["uncompressed_size"] = body.number(3)
    chain = certificates_in(message)
    if chain:
        _certificate(message, body, found)


def _summary(certificate: bytes) -> Fields:
    summary = summarise((certificate,))
    if summary is None:
        return {"unreadable": len(certificate)}
    read: Fields = msgspec.to_builtins(summary)
    return read


def _certificate_verify(_message: Message, body: _Cursor, found: Fields) -> None:
    found["signature_algorithm"] = named(SIGNATURE_SCHEMES, body.number(2))


def _new_session_ticket(message: Message, body: _Cursor, found: Fields) -> None:
    found["lifetime"] = body.number(4)
    if message.version >= ssl.TLSVersion.TLSv1_3:
        body.take(4)  # ticket_age_add
        body.vector(1)  # ticket_nonce (RFC 8446 §4.6.1)
    found["ticket_size"] = len(body.vector(2))


def _key_update(_message: Message, body: _Cursor, found: Fields) -> None:
    found["update_requested"] = body.number(1) == 1


def _alert(body: _Cursor, found: Fields) -> None:
    level, code = body.number(1), body.number(1)
    found["level"] = {1: "warning", 2: "fatal"}.get(level, f"0x{level:02x}")
    found["description"] = alert_name(code)
    found["code"] = code
    found["meaning"] = alert_meaning(code)


# --- parts of messages ---------------------------------------------------------------------------


def _numbers(data: bytes, prefix: int = 0) -> list[int]:
    """The two-byte numbers of a vector, after a length of ``prefix`` bytes."""
    whole = _Cursor(data).vector(prefix) if prefix else data
    return [int.from_bytes(whole[at : at + 2]) for at in range(0, len(whole) - 1, 2)]


def _names(table: Mapping[int, str], codes: Sequence[int], width: int = 2) -> list[str]:
    return _bounded(codes, lambda code: named(table, code, width))


def _bounded(items: Sequence[Any], told: Callable[[Any], str]) -> list[str]:
    if len(items) <= _MOST_ENTRIES:
        return [told(item) for item in items]
    shown = _MOST_ENTRIES - 1
    return [*map(told, items[:shown]), f"and {len(items) - shown} more"]


def _server_name(extension: _Cursor) -> str:
    names = _Cursor(extension.vector(2))
    names.number(1)
    return _text(names.vector(2))


def _protocols(extension: bytes) -> list[str]:
    listed = _Cursor(_Cursor(extension).vector(2))
    names: list[bytes] = []
    while listed.left:
        names.append(listed.vector(1))
    return _bounded(names, _text)


def _key_shares(extension: bytes) -> list[int]:
    shares = _Cursor(_Cursor(extension).vector(2))
    groups: list[int] = []
    while shares.left:
        groups.append(shares.number(2))
        shares.vector(2)
    return groups


def _text(data: bytes) -> str:
    return data[:_LONGEST_TEXT].decode("utf-8", "backslashreplace")


def _der(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8)
    return bytes([tag, 0x80 | len(length)]) + length + content


_ED25519 = _der(0x30, bytes.fromhex("06032b6570"))
_NO_KEY = _der(0x30, _ED25519 + _der(0x03, bytes(33)))
_NO_SIGNATURE = _ED25519 + _der(0x03, bytes(65))


def distinguished_name(name: bytes) -> str:
    """A DER Name as RFC 4514 writes it; in hexadecimal when it is none.

    `cryptography` reads a Name only as a part of something. A certification request is the
    smallest thing that has one, and nobody looks at its signature.
    """
    request = _der(0x30, b"\x02\x01\x00" + name + _NO_KEY + b"\xa0\x00")
    try:
        read = x509.load_der_x509_csr(_der(0x30, request + _NO_SIGNATURE))
        return read.subject.rfc4514_string()[:_LONGEST_TEXT]
    except (ValueError, TypeError):
        return f"0x{name[:32].hex()}"
