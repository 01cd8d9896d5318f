"""A connection in memory that has little room, arrives in any pieces, breaks and is damaged."""

from __future__ import annotations

from collections.abc import Callable

import trio

Damage = Callable[[int, bytes], bytes]


class Way:
    """One direction: bytes that are on their way, and how it ended."""

    def __init__(self, room: int, piece: int, damage: Damage | None = None) -> None:
        self.room = room
        self.piece = piece
        self.bytes = bytearray()
        self.ended = False
        self.broken = False
        self.passed = 0
        self._damage = damage
        self.changed = trio.lowlevel.ParkingLot()

    def put(self, data: bytes) -> None:
        start, self.passed = self.passed, self.passed + len(data)
        self.bytes += self._damage(start, data) if self._damage else data
        self.changed.unpark_all()

    def end(self, *, broken: bool = False) -> None:
        self.ended = True
        self.broken |= broken
        self.changed.unpark_all()


class End(trio.abc.HalfCloseableStream):
    """One end of it."""

    def __init__(self, out: Way, into: Way) -> None:
        self.out, self.into = out, into
        self.closed = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        rest = bytes(data)
        while rest:
            self._check()
            if self.out.broken or self.out.ended:
                raise trio.BrokenResourceError("broken")
            room = self.out.room - len(self.out.bytes)
            if room <= 0:
                await self.out.changed.park()
                continue
            self.out.put(rest[:room])
            rest = rest[room:]

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.lowlevel.checkpoint()
        while not self.into.bytes:
            self._check()
            if self.into.broken:
                raise trio.BrokenResourceError("broken")
            if self.into.ended:
                return b""
            await self.into.changed.park()
        self._check()
        size = min(max_bytes or self.into.piece, self.into.piece)
        data = bytes(self.into.bytes[:size])
        del self.into.bytes[:size]
        self.into.changed.unpark_all()
        return data

    async def send_eof(self) -> None:
        await trio.lowlevel.checkpoint()
        self._check()
        self.out.end()

    async def aclose(self) -> None:
        if not self.closed:
            self.closed = True
            self.out.end()
            # What comes from now on is answered with a reset.
            self.into.broken = True
            self.into.changed.unpark_all()
        await trio.lowlevel.checkpoint()

    def _check(self) -> None:
        if self.closed:
            raise trio.ClosedResourceError("closed")


def ends(
    room: int, piece: int, damage: tuple[Damage | None, Damage | None] = (None, None)
) -> tuple[End, End]:
    """Both ends; ``damage`` to what the first and what the second one sends."""
    there, back = Way(room, piece, damage[0]), Way(room, piece, damage[1])
    return End(there, back), End(back, there)
