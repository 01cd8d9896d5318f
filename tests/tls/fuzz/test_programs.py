"""Any interleaving of sending, receiving, cancelling, closing and failing, in either version.

No call hangs, no byte is lost or made up, no end is said to be clean that was not, and nothing is
left. A program is a list of moves of both ends, found and made small by hypothesis.
"""

from __future__ import annotations

import gc
import ssl
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

import trio
import trio.testing
from hypothesis import example, given
from hypothesis import strategies as st

from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.stream.tcp import TCPStream
from mtls_echo_tls.stream.tls import TLSStream
from tests.support.fuzzing import examples
from tests.support.tls import V12, V13, client_side, server_side, tcp_pair
from tests.tls.fuzz.wire import ends

Move: TypeAlias = tuple[str, int, int]

_SIZES = st.sampled_from([0, 1, 100, 16_384, 16_385, 70_000, 200_000])
_MOVES = st.one_of(
    st.tuples(st.just("send"), st.integers(0, 1), _SIZES),
    st.tuples(st.just("receive"), st.integers(0, 1), _SIZES),
    st.tuples(
        st.sampled_from(["handshake", "drain", "close", "cut", "break"]),
        st.integers(0, 1),
        st.just(0),
    ),
    st.tuples(
        st.sampled_from(["cancel send", "cancel receive", "cancel handshake", "cancel close"]),
        st.integers(0, 1),
        st.just(0),
    ),
    st.tuples(st.sampled_from(["turn", "settle"]), st.just(0), st.just(0)),
)

# Most programs begin so; without, all they learn is that there was no handshake.
_SHAKEN = [("handshake", 0, 0), ("handshake", 1, 0), ("settle", 0, 0)]

# No program takes longer, by its own clock: lingering takes 3 s, and sending a close 1.
_LONGEST = 60.0

_CLIENTS = {version: client_side(version) for version in (V12, V13)}
_SERVERS = {version: server_side(version) for version in (V12, V13)}

# A period that no record's size is a multiple of.
_PATTERN = bytes(range(251)) * 4_000


@dataclass
class Side:
    """One end, what it was told to send, and what it got."""

    stream: TLSStream
    offered: int = 0
    sent: int = 0
    received: bytearray = field(default_factory=bytearray)
    clean: bool = False
    scopes: dict[str, trio.CancelScope] = field(default_factory=dict[str, trio.CancelScope])


class Program:
    """Two ends, and the moves that are made with them."""

    def __init__(self, version: ssl.TLSVersion, tcp: bool, room: int, piece: int) -> None:
        transports: tuple[trio.abc.HalfCloseableStream, trio.abc.HalfCloseableStream]
        if tcp:
            one, other = tcp_pair()
            transports = TCPStream(one), TCPStream(other)
        else:
            transports = ends(room, piece)
        self.sides = (
            Side(TLSStream(transports[0], _CLIENTS[version], server_name="localhost")),
            Side(TLSStream(transports[1], _SERVERS[version], server_side=True)),
        )
        self._transports = transports
        self._raised: list[Exception] = []

    async def run(self, moves: list[Move]) -> None:
        with trio.fail_after(_LONGEST):
            async with trio.open_nursery() as nursery:
                for what, number, size in moves:
                    await self._move(nursery, what, self.sides[number], size)
                # Whatever was begun ends when both ends are closed, without being cancelled.
                for side in self.sides:
                    nursery.start_soon(side.stream.aclose)
        self._check()

    async def _move(self, nursery: trio.Nursery, what: str, side: Side, size: int) -> None:
        match what:
            case "turn":
                await trio.lowlevel.checkpoint()
            case "settle":
                await trio.testing.wait_all_tasks_blocked()
            case "cut":
                # As an on-path attacker ends a direction, who needs no key for it.
                transport = self._transports[self.sides.index(side)]
                nursery.start_soon(self._quietly, transport.send_eof)
            case "break":
                await self._transports[self.sides.index(side)].aclose()
            case _ if what.startswith("cancel "):
                if what[7:] in side.scopes:
                    side.scopes[what[7:]].cancel()
            case _:
                call: dict[str, Callable[[], Awaitable[None]]] = {
                    "handshake": side.stream.do_handshake,
                    "send": partial(self._send, side, size),
                    "receive": partial(self._receive, side, size or None),
                    "drain": partial(self._drain, side),
                    "close": side.stream.aclose,
                }
                kind = "receive" if what == "drain" else what
                if kind not in side.scopes:
                    side.scopes[kind] = trio.CancelScope()
                    nursery.start_soon(self._call, side, kind, call[what])

    async def _call(self, side: Side, kind: str, call: Callable[[], Awaitable[None]]) -> None:
        try:
            with side.scopes[kind]:
                await self._quietly(call)
        finally:
            del side.scopes[kind]

    async def _quietly(self, call: Callable[[], Awaitable[None]]) -> None:
        """What may be raised is: that it failed, was closed, is busy, or was never begun."""
        try:
            await call()
        except (trio.ClosedResourceError, trio.BusyResourceError, trio.BrokenResourceError,
                RuntimeError) as error:  # fmt: skip
            self._raised.append(error)

    async def _send(self, side: Side, size: int) -> None:
        start = side.offered
        if start + size > len(_PATTERN):
            return
        side.offered += size
        try:
            await side.stream.send_all(_PATTERN[start : start + size])
        except BaseException:
            if not (side.stream._broken or side.stream._closed):  # it had not begun
                side.offered = start
            raise
        side.sent = start + size

    async def _receive(self, side: Side, size: int | None) -> None:
        data = await side.stream.receive_some(size)
        assert size is None or len(data) <= size
        side.received += data
        side.clean |= not data

    async def _drain(self, side: Side) -> None:
        while not side.clean:
            await self._receive(side, None)

    def _check(self) -> None:
        for error in self._raised:
            assert str(error)
            if isinstance(error, TLSFailure):
                assert error.report.outcome in ("failed", "refused")
            elif type(error) is RuntimeError:
                assert "do_handshake" in str(error)
        self._raised.clear()  # with the frames that they hold
        for side, other in (self.sides, self.sides[::-1]):
            got = bytes(side.received)
            assert _PATTERN.startswith(got)
            assert len(got) <= other.offered
            assert side.stream.received == len(got)
            if side.clean:
                assert len(got) >= other.sent
                assert side.stream.evidence.close_notify


def play(
    moves: list[Move], *, version: ssl.TLSVersion, tcp: bool, room: int = 10_000, piece: int = 777
) -> None:
    left: list[weakref.ref[TLSStream]] = []

    async def run() -> None:
        program = Program(version, tcp, room, piece)
        left.extend(weakref.ref(side.stream) for side in program.sides)
        await program.run(moves)

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0.01 if tcp else 0))
    if any(ref() is not None for ref in left):
        gc.collect()  # exceptions hold frames, which hold them; all of the process takes 50 ms
    assert [ref() for ref in left] == [None, None]


@given(
    shaken=st.sampled_from([True, True, True, False]),
    moves=st.lists(_MOVES, max_size=25),
    version=st.sampled_from([V12, V13]),
    room=st.sampled_from([2_000, 50_000]),
    piece=st.sampled_from([1_500, 100_000]),
)
@examples(100)
@example(False, [("close", 0, 0), ("handshake", 1, 0)], V13, 5_000, 1_000)
# A handshake that is asked for while a sender reads the alert behind its failed write.
@example(
    True, [("send", 0, 1), ("turn", 0, 0), ("handshake", 0, 0), ("break", 1, 0)], V12, 2_000, 1_500
)
# The same sender, cancelled while it reads; and another call afterwards.
@example(
    True,
    [("send", 0, 1), ("break", 1, 0), ("turn", 0, 0), ("turn", 0, 0), ("cancel send", 0, 0),
     ("settle", 0, 0), ("send", 0, 0)],
    V12, 2_000, 1_500,
)  # fmt: skip
@example(True, [("send", 0, 200_000), ("cancel send", 0, 0), ("drain", 1, 0)], V13, 5_000, 1_000)
def test_in_memory(
    shaken: bool, moves: list[Move], version: ssl.TLSVersion, room: int, piece: int
) -> None:
    play([*_SHAKEN * shaken, *moves], version=version, tcp=False, room=room, piece=piece)


@given(moves=st.lists(_MOVES, max_size=25), version=st.sampled_from([V12, V13]))
@examples(50)
def test_over_tcp(moves: list[Move], version: ssl.TLSVersion) -> None:
    play([*_SHAKEN, *moves], version=version, tcp=True)
