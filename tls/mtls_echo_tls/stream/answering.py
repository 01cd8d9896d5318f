"""A TLS connection that a hub answers while its task sleeps.

A handler that makes its answer from what was received, by a plain function, has nothing to do
between two messages. `AnsweringStream.answer_all` leaves such a connection to a `Hub`: received
records are decrypted, answered and sent as they arrive, and the task sleeps in one long operation.
Three rules keep that the same as a loop of `receive_some` and `send_all`:

* The task holds both directions while it sleeps: another task's `send_all` is refused.
* The hub sends whole answers only. What the kernel does not take at once is left to the task,
  which sends it as usual; nothing is received until it has (backpressure).
* Anything else that happens, an end, an error, an answer owed to the peer's TLS, wakes the task,
  and `receive_some` finds the cause itself. Cancelling the task removes it from the hub.
"""

from __future__ import annotations

import ssl
from typing import TypeAlias, cast

import outcome
import trio

from mtls_echo_tls.stream.hub import Hub
from mtls_echo_tls.stream.records import RECORD
from mtls_echo_tls.stream.tcp import SCRATCH, TCPStream
from mtls_echo_tls.stream.tls import Answer, TLSStream

# Ciphertext that the kernel had no room for, and how much plaintext its answer is.
_Unsent: TypeAlias = tuple[bytes | memoryview, int]

# After so many answers a connection is left to the hub: one that is for a single message would
# cost more there, since its end has to wake the task.
_WORTH_IT = 3


class AnsweringStream(TLSStream):
    """A TLS connection that a hub may answer; without a hub, its own task does."""

    __slots__ = ("_answering", "_asleep", "_fd", "hub")

    def __init__(
        self,
        transport: trio.abc.HalfCloseableStream,
        context: ssl.SSLContext,
        *,
        server_side: bool = False,
        trace: bool = False,
        hub: Hub | None = None,
    ) -> None:
        super().__init__(transport, context, server_side=server_side, trace=trace)
        self.hub = hub
        self._asleep: trio.lowlevel.Task | None = None
        self._answering: Answer = bytes
        self._fd = -1

    async def answer_all(self, answer: Answer, first: Answer | None = None) -> None:
        """As `TLSStream.answer_all`; between two messages, by the hub."""
        tcp, answered, turns = self._tcp, 0, 0
        reply = first or answer
        del first  # as `data` below
        while True:
            data, waited = await self._receive()
            if data and (tcp is None or self._send_busy.held or self._writing.held):
                waited |= await self._send(memoryview(reply(data)))
            elif data and tcp is not None:
                self._check_established()
                unsent = self._give(tcp, reply, data)
                if unsent is not None:
                    waited = True
                    with self._send_busy:
                        async with self._writing:  # at once: it is free, and nothing was awaited
                            await self._send_rest(unsent)
            turns += waited
            # Other tasks have a turn after every answer, but for the first ones: a connection for
            # a single message has waited by then.
            if not waited and (answered >= _WORTH_IT or len(data) > RECORD or not (data or turns)):
                await trio.lowlevel.cancel_shielded_checkpoint()
            if not data:
                return
            # Up to 128 KiB that an idle connection would otherwise hold until its next message.
            # Measured after 1 MiB of echo each: 78 KiB per connection with this line, 129 without.
            del data
            answered += 1
            reply = answer
            if answered >= _WORTH_IT and self.hub is not None and tcp is not None:
                await self._sleep(self.hub, tcp, answer)

    async def _sleep(self, hub: Hub, tcp: TCPStream, answer: Answer) -> None:
        """Let the hub answer, until an event that it leaves to this task.

        What a connection keeps while it rests is kept by thousands: so this is one coroutine, with
        neither closures nor blocks that keep a method to leave them by.
        """
        records, self._answering = self._records, answer
        while records.exhausted and not records.pending and records.failure is None:
            self._check_established()
            self._send_busy.take()
            try:
                await self._writing.take()
                try:
                    self._receive_busy.take()
                    try:
                        await trio.lowlevel.checkpoint_if_cancelled()
                        self._fd = tcp.socket.fileno()
                        hub.add(self._fd, self._ready)
                        self._asleep = trio.lowlevel.current_task()
                        self._waits()
                        try:
                            unsent = await trio.lowlevel.wait_task_rescheduled(self._leave)
                        except trio.Cancelled:
                            self._wait_cancelled()
                            raise
                    finally:
                        self._receive_busy.free()
                    if unsent is None:
                        return
                    await self._send_rest(cast("_Unsent", unsent))
                finally:
                    self._writing.free()
            finally:
                self._send_busy.free()

    async def _send_rest(self, unsent: _Unsent) -> None:
        ciphertext, size = unsent
        await self._deliver([ciphertext])
        self.sent += size

    def _leave(self, _: object) -> trio.lowlevel.Abort:
        self._rise()
        return trio.lowlevel.Abort.SUCCEEDED

    def _rise(self) -> None:
        self._asleep = None
        if self.hub is not None:
            self.hub.remove(self._fd)

    def _ready(self, now: float) -> bool:
        """Answer what has arrived; called by the hub. Returns whether there may be more."""
        records, tcp = self._records, cast("TCPStream", self._tcp)
        try:
            size = tcp.take()
        except trio.BrokenResourceError as error:
            # Raise it now: the kernel reports it only once.
            failure = self._lost("reset")
            failure.__cause__ = error
            self._wake(outcome.Error(failure))
            return False
        except trio.ClosedResourceError as error:
            self._wake(outcome.Error(error))
            return False
        if size < 0:
            return False
        unsent: _Unsent | None = None
        if size:
            records.feed(SCRATCH[:size])
            pieces, received, answered, bug = records.exchange(self._answering)
            self.received += received
            if pieces:
                unsent = self._push(tcp, pieces, answered)
            if bug is not None:
                self._interrupted(unsent)
                self._wake(outcome.Error(bug))
                return False
            if unsent is not None:
                self._arrived()
            elif received:
                self._waits(now)
        if unsent is not None or not size or not records.exhausted or records.pending:
            self._wake(outcome.Value(unsent))
        return size >= RECORD

    def _give(self, tcp: TCPStream, answer: Answer, data: bytes) -> _Unsent | None:
        """Answer what was received, as far as the kernel takes it, and return what is left."""
        reply = answer(data)
        if not reply:
            return None
        try:
            pieces = self._records.encrypt(reply)
        except ssl.SSLError as error:
            self._records.failure = error  # for the next decrypt(), by `receive_some`
            return None
        return self._push(tcp, pieces, len(reply))

    def _push(self, tcp: TCPStream, pieces: list[bytes], size: int) -> _Unsent | None:
        try:
            rest = tcp.push(pieces)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            rest = b"".join(pieces)  # the task meets it too, and finds out why
        if rest:
            return rest, size
        self.sent += size
        return None

    def _interrupted(self, unsent: _Unsent | None) -> None:
        """An answer could not be made; if those before it are not out, half a record is."""
        self._arrived()
        if unsent is not None:
            self._abandon()

    def _wake(self, result: outcome.Outcome[_Unsent | None]) -> None:
        """Wake the task; with an outcome made anew, since one can be used once."""
        if self._asleep is not None:
            task = self._asleep
            self._rise()
            trio.lowlevel.reschedule(task, result)

    def _mark_closed(self) -> None:
        super()._mark_closed()
        if self._asleep is not None:
            self._wake(outcome.Error(trio.ClosedResourceError("this TLS connection was closed")))
