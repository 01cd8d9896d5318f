"""Middleboxes that drop, close, reset, alter or forge what passes between client and server.

TLS assumes an attacker in control of the network (RFC 8446 §E, RFC 3552); a faulty middlebox looks
the same to both ends. What can be done depends on the moment. Before the keys are in use
everything is in the clear and can be read, altered and forged, and only the Finished messages
reveal it; from then on no alteration goes unnoticed, and what remains is to close the connection.

Each function takes the path between one client and one server (`play.TCPPath`) and acts
once. A flight is the data of one receive: over loopback the ends write a flight in one piece.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable
from typing import TypeAlias

import trio

from mtls_echo.failures.play import TCPPath
from mtls_echo_tls.alerts import AlertDescription
from mtls_echo_tls.stream.tcp import TCPStream

# A record's header (RFC 8446 §5.1): type, legacy version, length. Then, in a hello, the
# handshake header of 4 bytes, 2 of legacy version, and the random.
_RANDOM = 5 + 4 + 2

_SUPPORTED_VERSIONS = struct.pack("!H", 43)  # RFC 8446 §4.2.1
_UNASSIGNED = struct.pack("!H", 0xFA57)  # a number that no extension has

Change: TypeAlias = Callable[[bytes], bytes]

_FATAL_ALERT = bytes((21, 3, 3, 0, 2, 2))


async def drop(path: TCPPath) -> None:
    """Forward the ClientHello and nothing else, until the deadlines of both ends have passed."""
    await _first_flights(path)
    path.cut_deadlines()
    await trio.sleep_forever()


async def reset(path: TCPPath) -> None:
    """Reset both connections in the middle of the handshake."""
    await _first_flights(path)
    for stream in (path.client, path.server):
        # With a linger time of 0, close(2) sends RST (socket(7)).
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        stream.close()


async def close(path: TCPPath) -> None:
    """Close both connections in the middle of the handshake, as a failing proxy does."""
    await _first_flights(path)
    await _close_both(path)


async def truncate(path: TCPPath) -> None:
    """Close both connections after the first echo."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_relay_both, path)
        await path.established.wait()
        nursery.cancel_scope.cancel()
    await _close_both(path)


async def damage_data(path: TCPPath) -> None:
    """Flip one bit of what the client sends after the handshake."""

    def flip(data: bytes) -> bytes:
        return data[:-1] + bytes([data[-1] ^ 1]) if path.established.is_set() else data

    await _relay_both(path, to_server=flip)


async def damage_hello(path: TCPPath) -> None:
    """Flip one bit of ServerHello.random, which is sent in the clear."""

    def flip(hello: bytes) -> bytes:
        return hello[:_RANDOM] + bytes([hello[_RANDOM] ^ 1]) + hello[_RANDOM + 1 :]

    await _relay_both(path, to_client=_once(flip))


async def forge_alert(path: TCPPath) -> None:
    """Send each end a decrypt_error in the clear, in the other's name."""
    await _first_flights(path)
    forged = _FATAL_ALERT + bytes([AlertDescription.decrypt_error])
    for stream in (path.client, path.server):
        await stream.send_all(forged)
    await _close_both(path)


async def strip_tls13(path: TCPPath) -> None:
    """Remove TLS 1.3 from the versions that ClientHello offers."""
    await _relay_both(path, to_server=_once(without_tls13))


def without_tls13(hello: bytes) -> bytes:
    """The same ClientHello, with another number for the extension that offers TLS 1.3."""
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


async def _first_flights(path: TCPPath) -> None:
    """Forward ClientHello, and wait for the server's answer without forwarding it."""
    await path.server.send_all(await path.client.receive_some())
    await path.server.receive_some()


async def _close_both(path: TCPPath) -> None:
    """Close both directions, and read on, so that no reset destroys what was sent."""
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


def _once(change: Change) -> Change:
    """Change the first flight, and none after it."""
    changes = iter([change])
    return lambda data: next(changes, _unchanged)(data)


async def _relay_both(
    path: TCPPath, *, to_server: Change = _unchanged, to_client: Change = _unchanged
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_relay, path.client, path.server, to_server)
        nursery.start_soon(_relay, path.server, path.client, to_client)


async def _relay(source: TCPStream, sink: TCPStream, change: Change = _unchanged) -> None:
    with contextlib.suppress(trio.BrokenResourceError):
        while data := await source.receive_some():
            await sink.send_all(change(data))
        await sink.send_eof()
