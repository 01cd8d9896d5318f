"""Decode the messages of a handshake into named fields, for a trace.

A reader of a trace wants to know what was offered, what was chosen, which side was asked for a
certificate, and which one it presented: those fields are decoded (RFC 8446 §4, RFC 5246 §7.4) and
the rest is counted as size. Numbers become names where IANA has one (`codepoints`).

Every byte may have been chosen by an attacker. A decoder reads front to back and stops where the
message ends too early: what was read until then stays, and ``malformed`` is set. Lists, texts and
certificates are cut at a bound, and say how many were omitted.
"""

from __future__ import annotations

import contextlib
import functools
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from mtls_echo_tls.alerts import alert_meaning, alert_name
from mtls_echo_tls.path.summaries import bounded, summarise
from mtls_echo_tls.trace import codepoints, cursor
from mtls_echo_tls.trace.codepoints import named
from mtls_echo_tls.trace.cursor import Cursor, MalformedError, names_of, numbers
from mtls_echo_tls.trace.messages import ALERT, HANDSHAKE, Direction, Message, certificates_in
from mtls_echo_tls.trace.recorder import Recorder

# OpenSSL follows a path over at most 10 issuers by default.
_MOST_CERTIFICATES = 11

# The registered number of each extension that is decoded, by its name (IANA, ExtensionType).
_SERVER_NAME, _GROUPS, _SIGNATURES, _ALPN, _COMPRESS, _TICKET = 0, 10, 13, 16, 27, 35
_PRE_SHARED_KEY, _EARLY_DATA, _VERSIONS, _AUTHORITIES, _KEY_SHARE = 41, 42, 43, 47, 51
_RENEGOTIATION = 0xFF01

Fields = dict[str, Any]


class TraceEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One message of the handshake, an alert, or a change of cipher, as the reporting side saw it.

    Attributes:
        time_ms: Since the TLS connection began.
        name: As the RFC spells it. ``left out`` stands for what exceeded the bounds of a trace.
        size: In bytes, the 4 of a handshake message's header included, the record's not.
        protected: Whether it travelled encrypted.
        fields: The decoded fields, which depend on the kind of message.
    """

    time_ms: float
    direction: Direction
    name: str
    size: int
    protected: bool
    fields: dict[str, Any]


class Requested(msgspec.Struct, frozen=True, kw_only=True):
    """What a server asks of a client's certificate (CertificateRequest, RFC 8446 §4.3.2).

    Attributes:
        authorities: The names of the CAs that it accepts; [] when it names none.
        signature_algorithms: Those in which the client may sign.
    """

    authorities: list[str]
    signature_algorithms: list[str]


@functools.lru_cache(maxsize=8)  # a server asks every client for the same
def requested_in(request: bytes, version: int) -> Requested:
    """What a CertificateRequest asks for, as bounded and printable text; never raises."""
    message, found = Message(0, "received", HANDSHAKE, request, False, version), Fields()
    with contextlib.suppress(MalformedError):
        _certificate_request(message, Cursor(request[4:]), found)
    return Requested(
        authorities=[bounded(name) for name in found.get("authorities", ())],
        signature_algorithms=found.get("signature_algorithms", []),
    )


def trace_of(recorder: Recorder) -> list[TraceEntry] | None:
    """A recording in the form of a report; None unless it was requested. Never raises."""
    return entries(recorder) if recorder.requested else None


def entries(recorder: Recorder) -> list[TraceEntry]:
    """Every message of a recording, decoded, in order; and what was omitted, where it began."""
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
    """The messages of one connection, decoded, from its first on."""
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


class Decoder:
    """Decodes the messages of one connection in their order.

    Some fields depend on earlier messages: which key exchange the suite has, whether the server
    resumes the session that the client offered.
    """

    def __init__(self) -> None:
        self._suite = ""
        self._session = b""
        self._decoders: Mapping[str, Callable[[Message, Cursor, Fields], None]] = {
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
        """The decoded fields of a message; never raises."""
        found: Fields = {}
        if message.hidden:
            return found
        try:
            if message.content_type == ALERT:
                _alert(Cursor(message.body), found)
            elif message.content_type == HANDSHAKE and message.name in self._decoders:
                self._decoders[message.name](message, Cursor(message.body[4:]), found)
        except MalformedError:
            found["malformed"] = True
        return found

    def _client_hello(self, _message: Message, body: Cursor, found: Fields) -> None:
        legacy_version = body.number(2)
        body.take(32)
        self._session = body.vector(1)
        suites = body.vector(2)
        body.vector(1)
        offered = body.extensions()
        modern = _VERSIONS in offered
        versions = numbers(offered[_VERSIONS], 1) if modern else [legacy_version]
        found["versions"] = names_of(codepoints.VERSIONS, versions)
        if _SERVER_NAME in offered:
            found["server_name"] = cursor.server_name(Cursor(offered[_SERVER_NAME]))
        if _ALPN in offered:
            found["alpn"] = cursor.protocols(offered[_ALPN])
        found["cipher_suites"] = names_of(codepoints.CIPHER_SUITES, numbers(suites))
        if _GROUPS in offered:
            found["groups"] = names_of(codepoints.GROUPS, numbers(offered[_GROUPS], 2))
        if _KEY_SHARE in offered:
            found["key_shares"] = names_of(
                codepoints.GROUPS, cursor.key_shares(offered[_KEY_SHARE])
            )
        if _SIGNATURES in offered:
            signatures = numbers(offered[_SIGNATURES], 2)
            found["signature_algorithms"] = names_of(codepoints.SIGNATURE_SCHEMES, signatures)
        if _COMPRESS in offered:
            algorithms = numbers(offered[_COMPRESS], 1)
            found["certificate_compression"] = names_of(codepoints.COMPRESSION, algorithms)
        sessions = {
            "pre-shared key": _PRE_SHARED_KEY in offered,
            "session ticket": bool(offered.get(_TICKET)),
            # In TLS 1.3 it is only for middleboxes (§D.4).
            "session ID": bool(self._session and not modern),
        }
        if any(sessions.values()):
            found["resumption"] = [kind for kind, is_offered in sessions.items() if is_offered]
        if _EARLY_DATA in offered:
            found["early_data"] = True
        if len(offered.get(_RENEGOTIATION, b"")) > 1:
            found["renegotiation"] = True  # it carries the last handshake's Finished (RFC 5746)

    def _server_hello(self, _message: Message, body: Cursor, found: Fields) -> None:
        version = body.number(2)
        body.take(32)
        session = body.vector(1)
        self._suite = named(codepoints.CIPHER_SUITES, body.number(2))
        body.take(1)
        chosen = body.extensions()
        modern = _VERSIONS in chosen
        if modern:
            version = int.from_bytes(chosen[_VERSIONS])
        found["version"] = named(codepoints.VERSIONS, version)
        found["cipher_suite"] = self._suite
        if _KEY_SHARE in chosen:
            found["group"] = named(codepoints.GROUPS, int.from_bytes(chosen[_KEY_SHARE][:2]))
        if _ALPN in chosen:
            found["alpn"] = next(iter(cursor.protocols(chosen[_ALPN])), "")
        if _PRE_SHARED_KEY in chosen or (not modern and session and session == self._session):
            found["resumed"] = True

    def _server_key_exchange(self, message: Message, body: Cursor, found: Fields) -> None:
        if "_ECDHE_" in self._suite:
            if body.number(1) != 3:  # named_curve, the only kind left (RFC 8422 §5.4)
                return
            found["group"] = named(codepoints.GROUPS, body.number(2))
            body.vector(1)
        elif "_DHE_" in self._suite:
            found["group"] = f"Diffie-Hellman, {8 * len(body.vector(2).lstrip(bytes(1)))} bits"
            body.vector(2)
            body.vector(2)
        else:
            return
        if message.version >= ssl.TLSVersion.TLSv1_2:
            found["signature_algorithm"] = named(codepoints.SIGNATURE_SCHEMES, body.number(2))


def _encrypted_extensions(_message: Message, body: Cursor, found: Fields) -> None:
    chosen = body.extensions()
    if _ALPN in chosen:
        found["alpn"] = next(iter(cursor.protocols(chosen[_ALPN])), "")
    if _EARLY_DATA in chosen:
        found["early_data"] = True


def _certificate_request(message: Message, body: Cursor, found: Fields) -> None:
    if message.version >= ssl.TLSVersion.TLSv1_3:
        body.vector(1)  # certificate_request_context (RFC 8446 §4.3.2)
        wanted = body.extensions()
        signatures = wanted.get(_SIGNATURES, b"")[2:]
        authorities = wanted.get(_AUTHORITIES, b"")[2:]
    else:
        types = body.vector(1)
        found["certificate_types"] = names_of(codepoints.CERTIFICATE_TYPES, list(types), 1)
        signatures = body.vector(2)
        authorities = body.vector(2)
    found["signature_algorithms"] = names_of(codepoints.SIGNATURE_SCHEMES, numbers(signatures))
    names: list[bytes] = []
    listed = Cursor(authorities)
    try:
        while listed.left:
            names.append(listed.vector(2))
    finally:
        found["authorities"] = cursor.bounded(names, cursor.distinguished_name)


def _certificate(message: Message, _body: Cursor, found: Fields) -> None:
    chain = certificates_in(message)
    # A Certificate message without certificates is a context and a list, both empty.
    if not chain and any(message.body[4:]):
        raise MalformedError
    found["certificates"] = [_summary(one) for one in chain[:_MOST_CERTIFICATES]]
    if len(chain) > _MOST_CERTIFICATES:
        found["more_certificates"] = len(chain) - _MOST_CERTIFICATES


def _compressed_certificate(message: Message, body: Cursor, found: Fields) -> None:
    found["compression"] = named(codepoints.COMPRESSION, body.number(2))
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


def _certificate_verify(_message: Message, body: Cursor, found: Fields) -> None:
    found["signature_algorithm"] = named(codepoints.SIGNATURE_SCHEMES, body.number(2))


def _new_session_ticket(message: Message, body: Cursor, found: Fields) -> None:
    found["lifetime"] = body.number(4)
    if message.version >= ssl.TLSVersion.TLSv1_3:
        body.take(4)  # ticket_age_add
        body.vector(1)  # ticket_nonce (RFC 8446 §4.6.1)
    found["ticket_size"] = len(body.vector(2))


def _key_update(_message: Message, body: Cursor, found: Fields) -> None:
    found["update_requested"] = body.number(1) == 1


def _alert(body: Cursor, found: Fields) -> None:
    level, code = body.number(1), body.number(1)
    found["level"] = {1: "warning", 2: "fatal"}.get(level, f"0x{level:02x}")
    found["description"] = alert_name(code)
    found["code"] = code
    found["meaning"] = alert_meaning(code)
