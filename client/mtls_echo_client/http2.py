"""One request in HTTP/2, and the status of its answer, of servers that speak nothing else.

Of RFC 9113 as much as one request takes, and of header compression (RFC 7541) as much as a status
does, which comes first. The rest of a header is not read, so that a redirect is not judged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from mtls_echo_tls.answers.answer import MOST_BODY, ServerAnswer, http_answer
from mtls_echo_tls.diagnosis.failure import TLSFailure

if TYPE_CHECKING:
    from mtls_echo_client.http import HTTPRequest
    from mtls_echo_client.session import Session

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

# Types of frames, and their flags (RFC 9113 §6).
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _PING, _GOAWAY = 0, 1, 3, 4, 6, 7
_ACK = _END_STREAM = 0x1
_END_HEADERS, _PADDED, _PRIORITY = 0x4, 0x8, 0x20

# Bytes before the payload, and the most of that, as we have not allowed more.
_HEAD, _MOST = 9, 16 * 1024

# REFUSED_STREAM and ENHANCE_YOUR_CALM (§7).
_TOO_OFTEN = (7, 11)

# The static table from ":status" on (RFC 7541 appendix A), and the digits' codes (appendix B).
_FIRST = 8
_STATIC = (200, 204, 206, 304, 400, 404, 500)
_DIGITS = {
    **{f"{digit:05b}": str(digit) for digit in range(3)},
    **{f"{22 + digit:06b}": str(digit) for digit in range(3, 10)},
}

# An answer that is a redirect leads where this does not read.
_REDIRECTS = range(300, 400)

# As for HTTP/1.1: the status has been read by then.
_BODY_PATIENCE = 1.0


async def ask(session: Session, request: HTTPRequest, port: int, limit: float) -> None:
    """Send one request, and note the answer in the session's evidence.

    Raises:
        TLSFailure: There was no answer: a refusal, an end, or silence.
    """
    fields = request.fields(session.evidence.server_name or "", port)
    header = {":method": request.method, ":scheme": "https", ":path": request.path}
    for name, value in fields:
        if name.lower() != "connection":
            header[":authority" if name.lower() == "host" else name.lower()] = value
    # The pseudo-header comes first (RFC 9113 §8.3).
    ordered = sorted(header.items(), key=lambda each: not each[0].startswith(":"))
    block = b"".join(b"\0" + _string(name) + _string(value) for name, value in ordered)
    with trio.move_on_after(limit) as scope:
        await session.stream.send_all(
            _PREFACE
            + _frame(_SETTINGS, 0, 0)
            + _frame(_HEADERS, _END_STREAM | _END_HEADERS, 1, block)
        )
        session.evidence.hear(await _answer(session))
    if scope.cancelled_caught:
        raise session.stream.expire()


async def _answer(session: Session) -> ServerAnswer:
    """The answer, once it has a status; its text as far as that comes soon."""
    received, body, status = bytearray(), bytearray(), 0
    with trio.CancelScope() as patience:
        while len(body) < MOST_BODY:
            frame = await _next(session, received, optional=bool(status))
            if frame is None:
                break
            kind, flags, stream, payload = frame
            if kind in (_SETTINGS, _PING) and not flags & _ACK:
                answer = _frame(kind, _ACK, 0, payload if kind == _PING else b"")
                await session.stream.send_all(answer)
            elif kind == _HEADERS and stream == 1 and not status:
                status = read_status(_unpadded(payload, flags))
                status = 0 if 100 <= status < 200 else status
                patience.deadline = trio.current_time() + _BODY_PATIENCE
            elif kind == _DATA and stream == 1:
                body += _unpadded(payload, flags & ~_PRIORITY)
            elif kind == _GOAWAY or (kind == _RST_STREAM and stream == 1):
                code = int.from_bytes(payload[4:8] if kind == _GOAWAY else payload[:4])
                if not status:
                    return _turned_away(session, code)
                break
            if kind in (_DATA, _HEADERS) and stream == 1 and flags & _END_STREAM:
                break
    return _made(status, body)


async def _next(
    session: Session, received: bytearray, *, optional: bool
) -> tuple[int, int, int, bytes] | None:
    """The next frame: type, flags, stream and payload; None at the end, if that may come."""
    while len(received) < _HEAD or len(received) < _HEAD + int.from_bytes(received[:3]):
        if int.from_bytes(received[:3]) > _MOST:
            raise _closed(session)
        try:
            data = await session.stream.receive_some()
        except TLSFailure:
            if not optional:
                raise
            return None
        if not data and optional:
            return None
        if not data:
            raise _closed(session)
        received += data
    end = _HEAD + int.from_bytes(received[:3])
    kind, flags, stream = received[3], received[4], int.from_bytes(received[5:_HEAD])
    payload = bytes(received[_HEAD:end])
    del received[:end]
    return kind, flags, stream, payload


def _turned_away(session: Session, code: int) -> ServerAnswer:
    """What an error is in place of an answer: one of the rate, or as good as an end."""
    if code not in _TOO_OFTEN:
        raise _closed(session)
    return ServerAnswer(protocol="HTTP/2", text=f"it is asked too often: error {code}")


def _closed(session: Session) -> TLSFailure:
    if session.evidence.stage != "first-read":
        session.evidence.close_early("before it had answered")
    return TLSFailure(session.evidence)


def _made(status: int, body: bytearray) -> ServerAnswer:
    if status in _REDIRECTS:
        return ServerAnswer(protocol="HTTP/2", text=f"a redirect ({status})")
    return http_answer(b"2", status, b"", {}, bytes(body))


def _frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes((kind, flags)) + stream.to_bytes(4) + payload


def _unpadded(payload: bytes, flags: int) -> bytes:
    """What is in a frame, without its padding and the stream's priority."""
    if flags & _PADDED:
        payload = payload[1 : len(payload) - payload[0]]
    return payload[5:] if flags & _PRIORITY else payload


def _string(text: str) -> bytes:
    """As a header has it (RFC 7541 §5.1, §5.2): no code, and the length in seven bits or more."""
    length, raw = len(text), text.encode()
    if length < 0x7F:
        return bytes((length,)) + raw
    length -= 0x7F
    prefix = bytearray(b"\x7f")
    while length >= 0x80:
        prefix.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes((*prefix, length)) + raw


def read_status(block: bytes) -> int:
    """The status at the beginning of a header; 599 where it is not to be read."""
    # A change of the table's size, which may be of several bytes, is passed over (§6.3).
    while block and block[0] & 0xE0 == 0x20:
        more = block[0] == 0x3F
        block = block[1:]
        while more and block:
            more, block = bool(block[0] & 0x80), block[1:]
    first = block[0] if block else 0
    index = first & (0x7F if first & 0x80 else 0x3F if first & 0x40 else 0x0F)
    if not _FIRST <= index < _FIRST + len(_STATIC):
        return 599
    if first & 0x80:
        return _STATIC[index - _FIRST]
    length = block[1] & 0x7F if len(block) > 1 else 0
    value = block[2 : 2 + length]
    if block[1:2] and not block[1] & 0x80:
        return int(value) if value.isdigit() else 599
    bits, digits = "".join(f"{byte:08b}" for byte in value), ""
    while len(digits) < 3:
        code = next((c for c in (bits[:5], bits[:6]) if c in _DIGITS), None)
        if code is None:
            return 599
        digits, bits = digits + _DIGITS[code], bits[len(code) :]
    return int(digits)
