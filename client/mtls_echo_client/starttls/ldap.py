"""LDAP: an extended operation, in as much of BER as its request and its answer need."""

from __future__ import annotations

from mtls_echo_client.starttls.cleartext import LONGEST, Cleartext, NoTLSError, shown

_OID = b"1.3.6.1.4.1.1466.20037"

_SEQUENCE, _INTEGER, _OCTETS, _ENUMERATED = 0x30, 0x02, 0x04, 0x0A
_EXTENDED_REQUEST, _REQUEST_NAME, _EXTENDED_RESPONSE = 0x77, 0x80, 0x78

# resultCode (RFC 4511 §4.1.9) of a server that has no TLS, or not for us.
_RESULTS = {
    1: "operationsError",
    2: "protocolError",
    8: "strongerAuthRequired",
    51: "busy",
    52: "unavailable",
    53: "unwillingToPerform",
}
_NOT_OFFERED = (2, 52)


async def ldap(clear: Cleartext, host: str) -> None:
    """RFC 4511 §4.14: ExtendedRequest StartTLS, and a response of success."""
    name = _encoded(_REQUEST_NAME, _OID)
    message = _encoded(_INTEGER, b"\1") + _encoded(_EXTENDED_REQUEST, name)
    await clear.send(_encoded(_SEQUENCE, message), "an answer to StartTLS")
    code, text = _result(await _message(clear), clear)
    if code:
        what = _RESULTS.get(code, f"result {code}")
        said = f"{what}: {text}" if text else what
        if code in _NOT_OFFERED:
            raise NoTLSError("not-offered", f"StartTLS; the server said {said}")
        raise NoTLSError("refused", said)


async def _message(clear: Cleartext) -> bytes:
    """The contents of one LDAPMessage."""
    header = await clear.exactly(2)
    if header[0] != _SEQUENCE:
        raise clear.not_understood(header)
    length = header[1]
    if length > 0x80:
        if length > 0x84:
            raise clear.not_understood(header)
        length = int.from_bytes(await clear.exactly(length - 0x80), "big")
    elif length == 0x80:
        raise clear.not_understood(header)  # an indefinite length, which LDAP does not have
    if length > LONGEST:
        raise clear.not_understood(header)
    return await clear.exactly(length)


def _result(message: bytes, clear: Cleartext) -> tuple[int, str]:
    """The result code of an extended response, and the server's words for it."""
    try:
        kind, _, rest = _element(message)
        response, contents, _ = _element(rest)
        coded, code, more = _element(contents)
        matched, _, more = _element(more)
        text_kind, text, _ = _element(more)
    except IndexError:
        raise clear.not_understood(message) from None
    expected = (_INTEGER, _EXTENDED_RESPONSE, _ENUMERATED, _OCTETS, _OCTETS)
    if (kind, response, coded, matched, text_kind) != expected or len(code) != 1:
        raise clear.not_understood(message)
    return code[0], shown(text) if text else ""


def _element(data: bytes) -> tuple[int, bytes, bytes]:
    """The tag and the contents of the first element, and what is behind it.

    Raises:
        IndexError: It is not complete.
    """
    tag, length, start = data[0], data[1], 2
    if length > 0x80:
        start += length - 0x80
        length = int.from_bytes(data[2:start], "big")
    if len(data) < start + length:
        raise IndexError
    return tag, data[start : start + length], data[start + length :]


def _encoded(tag: int, contents: bytes) -> bytes:
    """An element; all of ours are short."""
    return bytes([tag, len(contents)]) + contents
