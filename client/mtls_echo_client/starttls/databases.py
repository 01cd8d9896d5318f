"""PostgreSQL and MySQL: a packet that asks for TLS before anything else is said.

PostgreSQL answers with one byte, and MySQL not at all: its greeting has said whether it can.
"""

from __future__ import annotations

import struct

from mtls_echo_client.starttls.cleartext import LONGEST, Cleartext, NoTLSError, shown

# Its length, then 1234 and 5679 in the place of a protocol version.
_SSL_REQUEST = struct.pack("!IHH", 8, 1234, 5679)

# The capabilities of the MySQL protocol that matter here.
_SSL = 0x800
_OURS = 0x200 | _SSL | 0x8000 | 0x80000  # protocol 4.1, TLS, authentication by plugins
_LARGEST_PACKET = 16 * 1024 * 1024
_UTF8 = 45


async def postgres(clear: Cleartext, host: str) -> None:
    """PostgreSQL's SSLRequest: S for yes, N for no, an error from a server that is not ready."""
    await clear.send(_SSL_REQUEST, "an answer to SSLRequest")
    answer = await clear.exactly(1)
    if answer == b"N":
        raise NoTLSError("not-offered", "SSLRequest (ssl = on)")
    if answer == b"E":
        raise NoTLSError("refused", await _error(clear))
    if answer != b"S" or clear.unread.startswith(b"SH-"):
        raise clear.not_understood(answer)


async def _error(clear: Cleartext) -> str:
    """The message of an ErrorResponse: fields of a letter and a string, each ended by a zero."""
    (length,) = struct.unpack("!I", await clear.exactly(4))
    if not 4 < length <= LONGEST:
        raise clear.not_understood(b"E" + length.to_bytes(4, "big"))
    fields = (await clear.exactly(length - 4)).split(b"\0")
    found = next((field[1:] for field in fields if field[:1] == b"M"), b"")
    return shown(found)


async def mysql(clear: Cleartext, host: str) -> None:
    """The greeting of MySQL and MariaDB, and an SSLRequest if that offers TLS."""
    clear.awaited = "its greeting"
    header = await clear.exactly(4)
    length, number = int.from_bytes(header[:3], "little"), header[3]
    if number or not 1 < length <= LONGEST:
        raise clear.not_understood(header)
    greeting = await clear.exactly(length)
    if greeting[0] == 0xFF:
        raise NoTLSError("refused", shown(greeting[3:]))  # behind the error's number
    if greeting[0] != 10:
        raise clear.not_understood(header + greeting)
    version, ended, rest = greeting[1:].partition(b"\0")
    # Behind it: a thread's number, 8 bytes of a challenge, a zero, and the lower capabilities.
    if not ended or len(rest) < 15 or not version.isascii():
        raise clear.not_understood(header + greeting)
    (able,) = struct.unpack("<H", rest[13:15])
    if not able & _SSL:
        raise NoTLSError("not-offered", "CLIENT_SSL")
    request = struct.pack("<IIB23x", _OURS, _LARGEST_PACKET, _UTF8)
    await clear.send(len(request).to_bytes(3, "little") + b"\1" + request, "")
