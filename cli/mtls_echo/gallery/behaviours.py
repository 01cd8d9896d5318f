"""What exhibits do with a connection: most complete the handshake and answer, some do not."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

import trio

from mtls_echo.gallery.page import show_exhibit
from mtls_echo_tls.alerts import CLOSURE_ALERTS, AlertDescription
from mtls_echo_tls.stream.tcp import TCPStream
from mtls_echo_tls.trace.messages import ALERT

if TYPE_CHECKING:
    from mtls_echo.gallery.exhibit import ExhibitVisit

_WARNING, _FATAL = 1, 2
_TLS12 = b"\x03\x03"

# What `plaintext` sends: it must not be taken for an answer.
_PLAINTEXT = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno\n"

# The half of an answer that `truncates` sends.
_HALF = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1000\r\n\r\n" + b"half " * 100
)

# How `slow` sends, in bytes and seconds: a handshake takes about a second.
_PIECE, _PAUSE = 64, 0.03

# Seconds in which a client may end its side, so that a reset does not eat what it was sent.
_DRAIN = 2.0


async def close(visit: ExhibitVisit) -> None:
    """Close the TCP connection after the ClientHello."""
    await _end(visit.transport)


async def reset(visit: ExhibitVisit) -> None:
    """Reset the TCP connection after the ClientHello."""
    # Closing without lingering sends RST.
    linger = struct.pack("ii", 1, 0)
    visit.transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    await trio.lowlevel.checkpoint()


async def stay_silent(visit: ExhibitVisit) -> None:
    """Send nothing at all, and close in the end."""
    with trio.move_on_after(visit.hold):
        while await visit.transport.receive_some():
            pass


async def speak_plaintext(visit: ExhibitVisit) -> None:
    """Answer in HTTP without TLS."""
    await visit.transport.send_all(_PLAINTEXT)
    await _end(visit.transport)


async def answer_slowly(visit: ExhibitVisit) -> None:
    """Complete the handshake and answer, but send a few bytes at a time."""
    visit.transport = _Slow(visit.transport.socket)
    await show_exhibit(visit)


async def cut_off(visit: ExhibitVisit) -> None:
    """Answer the first half, and end the TCP connection without close_notify."""
    stream = await visit.handshake()
    await stream.receive_some()
    await stream.send_all(_HALF)
    await _end(visit.transport)
    await trio.aclose_forcefully(stream)


async def send_alert(alert: AlertDescription, visit: ExhibitVisit) -> None:
    """Send one alert in place of a ServerHello."""
    level = _WARNING if alert in CLOSURE_ALERTS else _FATAL
    await visit.transport.send_all(bytes([ALERT]) + _TLS12 + b"\0\2" + bytes([level, alert]))
    await _end(visit.transport)


async def _end(transport: TCPStream) -> None:
    """End our side, and read what still comes: what is unread when we close would reset."""
    await transport.send_eof()
    with trio.move_on_after(_DRAIN):
        while await transport.receive_some():
            pass


class _Slow(TCPStream):
    """A connection that sends a few bytes at a time."""

    __slots__ = ()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        for start in range(0, len(data), _PIECE):
            await super().send_all(data[start : start + _PIECE])
            await trio.sleep(_PAUSE)
