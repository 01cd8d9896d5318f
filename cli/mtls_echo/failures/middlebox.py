"""Somebody on the path: who swallows, cuts, resets, alters or forges what passes.

TLS assumes the network to be in an attacker's hands (RFC 8446 §E), and most of the time it is in
those of a tired middlebox. Both look alike to the two ends. What such a one can do depends on the
moment: before the keys are in use everything passes in the clear and can be read, altered and
made up, and only the Finished messages reveal it afterwards; from then on nothing can be altered
without notice, and all that is left is to cut the line.

Each function here takes the path between one client and one server (`encounters.Path`) and acts
once. A flight is what one receive brings: over loopback the ends write a flight in one piece.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable

import trio

from mtls_echo.failures.play import Path
from mtls_echo_tls.alerts import AlertDescription
from mtls_echo_tls.stream.tcp import TCPStream

# A record's header (RFC 8446 §5.1): type, legacy version, length. Then, in a hello, the
# handshake header of 4 bytes, 2 of legacy version, and the random.
_RANDOM = 5 + 4 + 2

_SUPPORTED_VERSIONS = struct.pack("!H", 43)  # RFC 8446 §4.2.1
_UNASSIGNED = struct.pack("!H", 0xFA57)  # a number that no extension has

_FATAL_ALERT = bytes((21, 3, 3, 0, 2, 2))


async def swallow(path: Path) -> None:
    """Let the hello through and nothing back, until both ends have lost patience."""
    await _first_flights(path)
    path.end_patience()
    await trio.sleep_forever()


async def reset(path: Path) -> None:
    """Reset both connections in the middle of the handshake."""
    await _first_flights(path)
    for stream in (path.client, path.server):
        # Linger on, for no time: close(2) then sends RST (socket(7)).
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.close()


async def close(path: Path) -> None:
    """Close both connections in the middle of the handshake, as a proxy does that gives up."""
    await _first_flights(path)
    await _close_both(path)


async def truncate(path: Path) -> None:
    """Close both connections in the middle of the conversation."""
    async with trio.open_nursery() as passing:
        passing.start_soon(_relay, path.client, path.server)
        passing.start_soon(_relay, path.server, path.client)
        await path.established.wait()
        passing.cancel_scope.cancel()
    await _close_both(path)


async def damage_data(path: Path) -> None:
    """Flip one bit of what the client says after the handshake."""

    def flip(data: bytes) -> bytes:
        return data[:-1] + bytes([data[-1] ^ 1]) if path.established.is_set() else data

    await _relay_both(path, to_server=flip)


async def damage_hello(path: Path) -> None:
    """Flip one bit of ServerHello.random, which is sent in the clear."""
    first = [True]

    def flip(data: bytes) -> bytes:
        if not first:
            return data
        first.clear()
        return data[:_RANDOM] + bytes([data[_RANDOM] ^ 1]) + data[_RANDOM + 1 :]

    await _relay_both(path, to_client=flip)


async def forge_alert(path: Path) -> None:
    """Tell each end, in the clear and in the other's name, that its signature was wrong."""
    await _first_flights(path)
    forged = _FATAL_ALERT + bytes([AlertDescription.decrypt_error])
    for stream in (path.client, path.server):
        await stream.send_all(forged)
    await _close_both(path)


async def strip_tls13(path: Path) -> None:
    """Make the client's hello look as if it knew nothing newer than TLS 1.2."""
    first = [True]

    def strip(data: bytes) -> bytes:
        if not first:
            return data
        first.clear()
        return _without_tls13(data)

    await _relay_both(path, to_server=strip)


def _without_tls13(hello: bytes) -> bytes:
    """The same ClientHello record, the extension that offers TLS 1.3 renamed out of sight."""
    place = _RANDOM + 32
    place += 1 + hello[place]  # legacy_session_id
    place += 2 + int.from_bytes(hello[place : place + 2])  # cipher_suites
    place += 1 + hello[place]  # legacy_compression_methods
    place += 2  # the length of all extensions
    while place < len(hello):
        kind = hello[place : place + 2]
        if kind == _SUPPORTED_VERSIONS:
            return hello[:place] + _UNASSIGNED + hello[place + 2 :]
        place += 4 + int.from_bytes(hello[place + 2 : place + 4])
    return hello


async def _first_flights(path: Path) -> None:
    """Pass ClientHello on, and wait for the server's answer without passing it on."""
    await path.server.send_all(await path.client.receive_some())
    await path.server.receive_some()


async def _close_both(path: Path) -> None:
    """End both directions, and read on, so that no reset destroys what was sent."""
    async with trio.open_nursery() as nursery:
        for stream in (path.client, path.server):
            nursery.start_soon(_close_one, stream)


async def _close_one(stream: TCPStream) -> None:
    with contextlib.suppress(trio.BrokenResourceError):
        await stream.send_eof()
        while await stream.receive_some():
            pass


def _unchanged(data: bytes) -> bytes:
    return data


async def _relay_both(
    path: Path,
    *,
    to_server: Callable[[bytes], bytes] = _unchanged,
    to_client: Callable[[bytes], bytes] = _unchanged,
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_relay, path.client, path.server, to_server)
        nursery.start_soon(_relay, path.server, path.client, to_client)


async def _relay(
    source: TCPStream, sink: TCPStream, change: Callable[[bytes], bytes] = _unchanged
) -> None:
    with contextlib.suppress(trio.BrokenResourceError):
        while data := await source.receive_some():
            await sink.send_all(change(data))
        await sink.send_eof()
