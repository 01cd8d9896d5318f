"""The ciphertext of a TLS connection, delivered to the last byte: sending, receiving, closing.

Sending and receiving are simple until a connection ends. Then three facts about TCP decide
whether the peer reads why.

**A reset destroys an alert.** Closing a socket while received bytes lie unread makes the kernel
send RST, and the peer's kernel then discards what the peer had not read yet: the alert. So after a
refusal we close our sending direction only, read and discard what the peer still sends, and
close when it is done, within bounds (`LINGER`).

**The same from the other end:** a client that was refused while writing gets ``EPIPE`` or
``ECONNRESET``; the alert is in its receive queue. After a failed write we read what is left and
let OpenSSL find the alert.

**A peer's window may stay closed.** Neither an alert nor a close_notify can be delivered then, and
closing must not depend on the peer (`CLOSE_TIMEOUT`).
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Sequence

import trio
from trio.lowlevel import wait_readable

from mtls_echo_tls.diagnosis.evidence import Evidence
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.sides import TransportEnd
from mtls_echo_tls.stream.records import RECORD, Records
from mtls_echo_tls.stream.tcp import SCRATCH, Exclusive, InTurn, TCPStream

# After a refusal or a close: how long, in seconds, and how much of what the peer still sends is
# read and discarded, so that it reads our alert or close_notify before a reset. A client found
# with 5 MB in flight needs the bytes; a slow interpreter under load needs the seconds.
LINGER = 3.0
LINGER_BYTES = 64 * 1024 * 1024

# How long sending an alert or close_notify may take, in seconds.
CLOSE_TIMEOUT = 1.0


class Delivery(trio.abc.AsyncResource):
    """The base of `TLSStream`: its transport, its records, and how they end.

    Attributes:
        transport: The stream that carries the ciphertext.
        evidence: Collects what happens.
        received, sent: Bytes of plaintext so far.
        keep_recording: Whether to leave it to another when the handshake's messages are forgotten.
    """

    __slots__ = (
        "__weakref__", "_alert_read", "_broken", "_closed", "_drained", "_half_closed",
        "_handshaken", "_keep_trace", "_linger", "_receive_busy", "_records", "_tcp", "_writing",
        "evidence", "keep_recording", "received", "sent", "transport",
    )  # fmt: skip

    def __init__(
        self,
        transport: trio.abc.HalfCloseableStream,
        records: Records,
        evidence: Evidence,
        *,
        trace: bool,
        linger: float,
    ) -> None:
        self.transport = transport
        # Its plain calls need neither coroutine nor scheduler where there is nothing to wait for.
        self._tcp = transport if type(transport) is TCPStream else None
        self.evidence = evidence
        self.received: int = 0
        self.sent: int = 0
        self._records = records
        self._records.recorder.requested = trace
        self._keep_trace = trace
        self.keep_recording = False
        self._linger = linger
        self._handshaken = False
        self._broken = False
        self._closed = False
        self._half_closed = False  # our close_notify or alert has been sent
        self._drained = True  # nothing is left to receive, as far as we know: wait first
        self._alert_read: trio.Event | None = None
        self._writing = InTurn()  # encrypting and sending are one step
        self._receive_busy = Exclusive("another task is receiving on this TLS connection")

    async def _deliver(self, pieces: Sequence[bytes | memoryview]) -> bool:
        """Send ciphertext; return whether that waited. If not, the caller owes a checkpoint."""
        tcp = self._tcp
        try:
            if tcp is None:
                await self.transport.send_all(b"".join(pieces))
                return True
            rest = tcp.push(pieces)
            if not rest:
                return False
            await tcp.send_all(rest)
        except trio.BrokenResourceError as error:
            try:
                await self._read_pending_alert()
            finally:
                # Cancelled meanwhile, it has failed all the same, and every later call says so.
                failure = self._lost("reset")
            raise failure from error
        except BaseException:
            # Cancelled within a record: the peer cannot read anything after it.
            self._abandon()
            raise
        return True

    async def _refill(self) -> bool:
        """Receive what arrives next, and return as `_deliver`; an end here is a failure."""
        tcp, waited = self._tcp, True
        try:
            if tcp is None:
                data: bytes | bytearray | memoryview = await self.transport.receive_some()
            else:
                waited = self._drained and tcp.is_open
                size = -1 if waited else tcp.take()
                while size < 0:
                    waited = True
                    await wait_readable(tcp.socket)
                    size = tcp.take()
                # Less than a record: there is nothing more, and trying costs a system call.
                self._drained = size < RECORD
                data = SCRATCH[:size]
        except trio.BrokenResourceError as error:
            raise self._lost("reset") from error
        if not data:
            raise self._lost("eof")
        if not self._handshaken:
            self.evidence.keep_first_bytes(data)
        self._records.feed(data)
        return waited

    # --- after a failed write --------------------------------------------------------------------

    async def _read_pending_alert(self) -> None:
        """After a failed write: find the alert that the peer sent before it closed."""
        self._alert_read = trio.Event()
        try:
            with trio.move_on_after(CLOSE_TIMEOUT):
                if self._handshaken and not self.evidence.failed:
                    # A task that is receiving gets the alert itself, and loses no data.
                    await self._receive_busy.wait_free()
                if not self._broken:
                    self._broken = True
                    await self._read_late_data()
        finally:
            self._broken = True
            self._alert_read.set()

    async def _read_late_data(self) -> None:
        evidence = self.evidence
        try:
            while True:
                data = self._records.decrypt()
                if data is None:
                    ciphertext = await self.transport.receive_some()
                    if not ciphertext:
                        return
                    evidence.keep_first_bytes(ciphertext)
                    self._records.feed(ciphertext)
                elif data:
                    evidence.keep_late_data(data)
                    if evidence.stage == "first-read":
                        self._accepted()
                else:
                    evidence.receive_close_notify()
                    return
        except ssl.SSLError as error:
            evidence.note_error(error)
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
            return  # the reset has emptied the receive queue, or another task is closing

    # --- closing ---------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Send close_notify, then close the transport so that the peer can read what was sent.

        After a refusal the alert takes close_notify's place. What the peer still sends is
        discarded until it closes too, for at most `LINGER` seconds and `LINGER_BYTES`; a reset
        would destroy what it has not read yet. Cancelled, it closes at once.

        A task that is sending may finish its record, for `CLOSE_TIMEOUT` seconds; then it, or a
        task that is receiving, gets `trio.ClosedResourceError`.
        """
        if self._closed:
            await trio.lowlevel.checkpoint()
            return
        self.meet_failure()
        self._mark_closed()
        try:
            if self._owes_close and not self._half_closed:
                await trio.lowlevel.checkpoint_if_cancelled()
                self._records.close_notify()
                if not self._push_close():
                    await self._send_close()
            if self._half_closed and not self._records.peer_closed:
                with trio.move_on_after(self._linger):
                    await self._discard_until_end()
        finally:
            self._finish()
            await self.transport.aclose()

    def close_at_once(self) -> bool:
        """Close as `aclose`, if that needs no waiting; return whether it did not.

        It needs none when the connection has failed, or the peer's close_notify was received.
        """
        if self._closed or self._tcp is None:
            return self._closed
        self.meet_failure()
        if self._owes_close:
            self._records.close_notify()
            if not self._push_close():
                return False
        if self._half_closed and not self._records.peer_closed:
            return False
        self._mark_closed()
        self._finish()
        self._tcp.close()
        return True

    def meet_failure(self) -> None:
        """Take note of an error behind the data that was received last: no one else will."""
        if self._records.failure is not None and not self._broken:
            self._refused(self._records.failure)

    @property
    def _owes_close(self) -> bool:
        """Whether a close_notify is due, or the alert that has taken its place."""
        return self._handshaken and (not self._broken or self._records.failure is not None)

    def _mark_closed(self) -> None:
        self._closed = True

    def _finish(self) -> None:
        self.evidence.finish()
        self._records.quiet()

    def _push_close(self) -> bool:
        """Do as `_send_close`, if that needs no waiting; return whether it did not."""
        if self._tcp is None or self._writing.held or self._alert_read is not None:
            return False
        try:
            rest = self._tcp.push([self._records.output()])
            if rest:
                self._records.put_back(rest)
                return False
            if not self._records.peer_closed:  # otherwise the transport is closed at once
                self._tcp.half_close()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return True
        self._half_closed = True
        return True

    async def _send_close(self) -> None:
        """Send the last records and half-close the transport, within `CLOSE_TIMEOUT` seconds."""
        if self._alert_read is not None:
            return  # a write has failed: nothing can be sent any more
        with (
            trio.move_on_after(CLOSE_TIMEOUT),
            contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError),
        ):
            async with self._writing:
                if self._records.pending:
                    await self.transport.send_all(self._records.output())
                await self.transport.send_eof()
                self._half_closed = True

    async def _discard_until_end(self) -> None:
        if self._tcp is not None:
            # Replace a task that is still receiving: its end must not end our discarding.
            self._tcp.interrupt()
            await self._receive_busy.wait_free()
        budget = LINGER_BYTES
        with contextlib.suppress(
            trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError
        ):
            while budget > 0 and (data := await self.transport.receive_some()):
                budget -= len(data)

    # --- bookkeeping -----------------------------------------------------------------------------

    def _check_usable(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this TLS connection was closed")
        if self._broken:
            raise TLSFailure(self.evidence)

    def _accepted(self) -> None:
        """Note that both sides have accepted each other: the recording is not needed any more."""
        self.evidence.accept()
        if not self._keep_trace:
            self._records.quiet()
            if not self.keep_recording:
                self.evidence.recorder.forget()

    def _abandon(self) -> None:
        """Break the stream because our side gave up in the middle of an operation."""
        self._broken = True
        self.evidence.abandon()

    def _refused(self, error: ssl.SSLError) -> TLSFailure:
        """Break the stream because OpenSSL has; what it has written is still to be sent."""
        self.evidence.note_error(error)
        self.evidence.note_offer(self._records.connection.context)
        if self._records.pending:
            self.evidence.note_answer(self._records.written())
        return self._fail()

    def _fail(self) -> TLSFailure:
        """Break the stream; the evidence is complete from here on."""
        self._broken = True
        self.evidence.fail()
        return TLSFailure(self.evidence)

    def expire(self) -> TLSFailure:
        """Break the stream because our own deadline passed, and return the failure to report."""
        self.evidence.time_out()
        return self._fail()

    def _lost(self, end: TransportEnd) -> TLSFailure:
        """Break the stream because the transport has ended."""
        self.evidence.end_transport(end)
        return self._fail()
