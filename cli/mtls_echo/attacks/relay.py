"""An on-path attacker: a TCP relay that decides what becomes of each TLS record.

TLS assumes an attacker in control of the network (RFC 8446 §E, RFC 3552 §3), which reads
everything, and delivers what it likes, when and in whatever form. That is a relay with one
function in it, an `Attack`: called with each record, it returns what to deliver in its place.

====================  ===========================================
eavesdropping         ``[record.data]``, and `Tap.sent_by`
alteration            ``[record.altered(bit)]``
deletion              ``[]``
insertion             ``[forged, record.data]``
replay                ``[record.data, record.data]``
reordering            ``[]``, and later ``[next.data, kept.data]``
truncation            None: both TCP connections end here
====================  ===========================================

A record is all that such an attacker can tell apart. Its header (RFC 8446 §5.1) is never
encrypted; its content is, but for the hellos and, in TLS 1.2, most of the handshake. What is not
TLS passes as it arrives.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import trio

from mtls_echo_tls.sides import Side
from mtls_echo_tls.trace.messages import APPLICATION_DATA, CHANGE_CIPHER_SPEC

# Type, legacy version, length (RFC 8446 §5.1).
HEADER = 5

# The first byte of every record, and the second: the major version, 3 since SSL 3.0.
_TYPES = range(CHANGE_CIPHER_SPEC, APPLICATION_DATA + 1)
_MAJOR = b"\x03"


@dataclass(frozen=True)
class Record:
    """One TLS record on its way, or a piece of something else.

    Attributes:
        sender: The end that sent it.
        number: How many records it had sent before.
        data: The whole record, its header included.
    """

    sender: Side
    number: int
    data: bytes = field(repr=False)

    @property
    def content_type(self) -> int:
        """The type that its header shows (RFC 8446 §5.1); not TLS: the first byte."""
        return self.data[0]

    @property
    def is_tls(self) -> bool:
        """Whether it begins as a TLS record does."""
        return _is_tls(self.data)

    def altered(self, bit: int) -> bytes:
        """The record with one bit flipped, counted from its first byte."""
        data = bytearray(self.data)
        data[bit // 8] ^= 1 << bit % 8
        return bytes(data)


Attack: TypeAlias = Callable[[Record], Sequence[bytes] | None]


def eavesdrop(record: Record) -> Sequence[bytes]:
    """Deliver each record as it is."""
    return [record.data]


@dataclass
class Tap:
    """Everything that the attacker saw of one connection, in the order in which it came."""

    records: list[Record] = field(default_factory=list[Record])

    def sent_by(self, side: Side) -> list[Record]:
        """The records of one end."""
        return [record for record in self.records if record.sender == side]

    @property
    def everything(self) -> bytes:
        """Both directions, one after the other: where a secret would be found."""
        sides: tuple[Side, Side] = ("client", "server")
        return b"".join(record.data for side in sides for record in self.sent_by(side))


class Relay:
    """A host on the path: clients connect to it, and it connects to the server.

    Attributes:
        port: Where clients connect, on loopback, once `run` has started.
        attack: What is done to each record. A connection keeps the one that it began with.
        taps: One for each connection so far.
    """

    def __init__(self, server_port: int, attack: Attack = eavesdrop) -> None:
        self.port = 0
        self.attack = attack
        self.taps: list[Tap] = []
        self._server_port = server_port

    async def run(self, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
        """Relay until cancelled; it has started, with its port, when clients may connect."""
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listener.socket.getsockname()[1]
        task_status.started(self.port)
        await trio.serve_listeners(self._relay, [listener])

    async def _relay(self, client: trio.SocketStream) -> None:
        self.taps.append(tap := Tap())
        attack = self.attack
        async with client, await trio.open_tcp_stream("127.0.0.1", self._server_port) as server:
            async with trio.open_nursery() as both:

                def cut() -> None:
                    both.cancel_scope.cancel()

                both.start_soon(_forward, "client", client, server, attack, tap, cut)
                both.start_soon(_forward, "server", server, client, attack, tap, cut)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_end, client)
                nursery.start_soon(_end, server)


async def _forward(
    sender: Side,
    source: trio.SocketStream,
    sink: trio.SocketStream,
    attack: Attack,
    tap: Tap,
    cut: Callable[[], None],
) -> None:
    """Deliver one direction to its end, whatever that is: the other goes on by itself."""
    arrived = bytearray()
    with contextlib.suppress(trio.BrokenResourceError):
        while chunk := await source.receive_some():
            arrived += chunk
            for data in take_records(arrived):
                record = Record(sender, len(tap.sent_by(sender)), data)
                tap.records.append(record)
                delivered = attack(record)
                if delivered is None:
                    cut()
                    return
                for piece in delivered:
                    await sink.send_all(piece)
    with contextlib.suppress(trio.BrokenResourceError):
        await sink.send_all(bytes(arrived))  # a record that never became whole
        await sink.send_eof()


async def _end(stream: trio.SocketStream) -> None:
    """Close one direction and read the other to its end, so that no reset destroys anything."""
    with contextlib.suppress(trio.BrokenResourceError):
        await stream.send_eof()
        while await stream.receive_some():
            pass


def take_records(arrived: bytearray) -> Iterator[bytes]:
    """Take the whole records from the front; of what is not TLS, everything."""
    while arrived:
        size = len(arrived)
        if _is_tls(arrived):
            size = HEADER + int.from_bytes(arrived[HEADER - 2 : HEADER])
        if len(arrived) < size:
            return
        yield bytes(arrived[:size])
        del arrived[:size]


def _is_tls(data: bytes | bytearray) -> bool:
    """Whether this begins a record, as far as it goes."""
    return data[0] in _TYPES and data[1:2] in (b"", _MAJOR)
