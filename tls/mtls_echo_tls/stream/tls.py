"""TLS over trio in which every alert arrives.

What bytes mean is decided in `mtls_echo_tls.stream.records`; this module moves them, between a
transport and the tasks that send, receive and close. Six facts about TLS and TCP decide how.

**An alert must leave before the error is raised.** When OpenSSL refuses a peer, it writes the
fatal alert and raises. A wrapper that passes the exception on without sending what was written
(as the common async ones do) leaves the peer with a bare end of file. Here every failure sends
first.

**A reset eats an alert.** Closing a socket while received bytes lie unread makes the kernel send
RST, and the peer's kernel then discards what the peer had not read yet: the alert. So after a
refusal we close our sending direction only, read and discard what the peer still sends, and
close when it is done, within bounds (`LINGER`).

**The same from the other end:** a client that was refused while writing finds out through
``EPIPE`` or ``ECONNRESET``; the alert lies in its receive queue. After a failed write we read
what is left and let OpenSSL find it (*salvage*).

**In TLS 1.3 a client has not been accepted when its handshake completes.** It sends Certificate
and Finished and is done; the server judges the certificate afterwards (RFC 8446 §2). The verdict
is the server's first application data, or an alert in its place: stage ``first-read``. In a
full handshake of TLS 1.2 the server's Finished is the last message, and says it.

**Only close_notify ends a stream.** Anyone on the path can send a FIN. End of file without
close_notify is an error (RFC 8446 §6.1), and no alert answers it: nobody is left to read one.

**Who receives must not wait for who sends.** A peer that stops reading blocks our sender; if it
does so until we read, a receiver that waited for the sender (to refuse a renegotiation, say)
would deadlock both sides. It leaves its answer to the sender instead. (OpenSSL answers a
KeyUpdate with its next write by itself, as RFC 8446 §4.6.3 allows.)

Tickets are off (see `server_context`), which keeps TLS 1.3 servers from writing after the
handshake, and a resumed session from skipping the verification of certificates.
"""

from __future__ import annotations

import contextlib
import ssl
from typing import NoReturn

import trio

from mtls_echo_tls.diagnosis.context_info import recall
from mtls_echo_tls.diagnosis.evidence import FIRST_BYTES, LAST_WORDS, Evidence, TransportEnd
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.path.certificates import PeerIdentity
from mtls_echo_tls.stream.records import RECORD, Records
from mtls_echo_tls.stream.tcp import Exclusive, TCPStream

# One call of the transport per this much plaintext: eight records, 128 KiB.
SEND_SLICE = 8 * RECORD

# After a refusal or a close: how long, in seconds, and how much of what the peer still sends is
# read and discarded, so that it reads our alert or close_notify before a reset. A client found
# with 5 MB in flight needs the bytes; a slow interpreter under load needs the seconds.
LINGER = 3.0
LINGER_BYTES = 64 * 1024 * 1024

_UP_TO_TLS13 = (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.MAXIMUM_SUPPORTED)

# How long sending an alert or close_notify may take when the peer's window is closed: it cannot
# be delivered then, and closing must not depend on the peer's good will. In seconds.
FAREWELL = 1.0


class TLSStream(trio.abc.Stream):
    """A TLS connection over another stream, whose failures explain themselves.

    Args:
        transport: The stream that carries the ciphertext, best a `TCPStream`. Owned by this
            object from now on.
        context: From `server_context` or `client_context`. A message callback of ours is
            attached to it.
        server_side: Which side of the handshake to play.
        server_name: The client's reference identifier (RFC 9525) and SNI.
        trace: Keep the handshake's messages in ``evidence.recorder`` after a success too, and
            go on recording; without it they are kept for failures only.
        linger: Seconds that `aclose` waits for the peer's end at the most.

    Raises:
        ValueError: A client without ``server_name`` whose context checks names. (Before 3.14,
            `ssl` would silently check no name.)

    Attributes:
        evidence: What is known of this connection so far.
        transport: As given.

    Cancellation:
        A cancelled `receive_some` loses nothing. A cancelled handshake, or a `send_all` that is
        cancelled once it has begun, may leave half a record behind: the stream is broken, and
        every later call says so.
    """

    def __init__(
        self,
        transport: trio.abc.HalfCloseableStream,
        context: ssl.SSLContext,
        *,
        server_side: bool = False,
        server_name: str | None = None,
        trace: bool = False,
        linger: float = LINGER,
    ) -> None:
        if not server_side and not server_name and context.check_hostname:
            raise ValueError("a client that checks names needs a server_name to check")
        self.transport = transport
        self.evidence = Evidence("server" if server_side else "client", server_name)
        self.evidence.stage = "handshake"
        self.evidence.configuration = recall(context)
        self.evidence.tls13_enabled = context.maximum_version in _UP_TO_TLS13
        self._records = Records(context, server_side=server_side, server_name=server_name)
        self.evidence.recorder = self._records.recorder
        self.evidence.recorder.requested = trace
        self._keep_trace = trace
        self._linger = linger
        self._handshaken = False
        self._broken = False
        self._closed = False
        self._half_closed = False  # our last words are out
        self._salvaged: trio.Event | None = None
        self._handshaking = trio.Lock()
        self._writing = trio.StrictFIFOLock()  # encrypting and sending are one step
        self._send_busy = Exclusive("another task is sending on this TLS connection")
        self._receive_busy = Exclusive("another task is receiving on this TLS connection")

    @property
    def peer(self) -> PeerIdentity | None:
        """Who the peer proved to be; None before the handshake, or without a certificate."""
        chain = self.evidence.peer_chain if self._handshaken else ()
        return PeerIdentity.of_peer(chain[0]) if chain else None

    # --- the handshake ---------------------------------------------------------------------------

    async def do_handshake(self) -> None:
        """Complete the handshake, or tell the peer why not and raise.

        A server's client is authenticated afterwards. A client's server is; but in TLS 1.3 the
        client itself may still be refused, which the first `receive_some` shows.

        Further calls, also from other tasks, wait for the first and share its outcome. Put it
        under a deadline: a peer may say nothing for ever.

        Raises:
            TLSFailure: One side refused the other, or the connection ended.
            trio.ClosedResourceError: This stream was closed.
        """
        async with self._handshaking:
            self._check_usable()
            if self._handshaken:
                return
            try:
                await self._handshake()
            except BaseException:
                # Whatever it was, cancellation included: half a handshake cannot be continued.
                self._abandon()
                raise

    async def _handshake(self) -> None:
        with self._receive_busy, self._send_busy:
            try:
                while not self._records.handshake():
                    await self._flush()
                    await self._refill()
            except ssl.SSLError as error:
                await self._refuse(error)
            await self._flush()
        self._handshaken = True
        evidence = self.evidence
        evidence.read_recording()
        evidence.note_negotiated(self._records.connection)
        if evidence.side == "client" and evidence.no_common_alpn:
            await self._decline()
        if evidence.side == "client" and evidence.version == "TLSv1.3":
            evidence.stage = "first-read"
        else:
            self._accepted()
        if evidence.side == "server" and isinstance(self.transport, TCPStream):
            self.transport.acknowledge_now()

    def _accepted(self) -> None:
        """Both sides have accepted each other: nothing is left that a recording could explain."""
        self.evidence.stage = "established"
        if not self._keep_trace:
            self._records.quiet()
            self.evidence.recorder.forget()

    async def _refuse(self, error: ssl.SSLError) -> NoReturn:
        """Deliver the alert that OpenSSL wrote, then raise.

        The order is the point: alert, end of our direction, and only then the exception. The
        bounded drain that protects the alert from a reset is `aclose`'s first act.
        """
        self.evidence.note_error(error)
        self.evidence.note_offer(self._records.connection.context)
        if self._records.pending:
            self.evidence.note_answer()
        failure = self._fail()
        with trio.move_on_after(FAREWELL):
            await self._send_farewell()
        raise failure from error

    async def _decline(self) -> NoReturn:
        """Refuse what OpenSSL was content with. Python can send no alert, so the end is clean."""
        failure = self._fail()
        self._records.close_notify()
        with trio.move_on_after(FAREWELL):
            await self._send_farewell()
        raise failure

    # --- sending ---------------------------------------------------------------------------------

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send all of ``data``.

        Raises:
            TLSFailure: The connection failed; when the peer refused us meanwhile, with its
                alert, read after the failed write.
        """
        with self._send_busy:
            self._check_established()
            # Here a cancellation does no harm yet; once a record is encrypted, it breaks us.
            await trio.lowlevel.checkpoint_if_cancelled()
            if self.evidence.no_common_alpn and not self.evidence.close_notify:
                await self._decline()
            plaintext = memoryview(data).cast("B")
            if not plaintext:
                await trio.lowlevel.cancel_shielded_checkpoint()
            for start in range(0, len(plaintext), SEND_SLICE):
                await self._send_records(plaintext[start : start + SEND_SLICE])

    async def _send_records(self, plaintext: memoryview) -> None:
        refusal: ssl.SSLError | None = None
        await self._lock_writing()
        try:
            self._check_usable()  # it may have ended while we waited, or since the last slice
            await self._send_ciphertext(self._records.encrypt(plaintext))
            while self._records.pending:  # left to us by a receiver: see `_answer`
                await self._send_ciphertext(self._records.output())
        except ssl.SSLError as error:
            refusal = error
        finally:
            self._writing.release()
        if refusal is not None:
            await self._refuse(refusal)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until `send_all` might not block; see `trio.abc.SendStream`."""
        with self._send_busy:
            self._check_established()
            await self.transport.wait_send_all_might_not_block()

    async def _flush(self) -> None:
        """Send what OpenSSL has written on its own account."""
        if self._records.pending:
            await self._lock_writing()
            try:
                if self._records.pending:
                    await self._send_ciphertext(self._records.output())
            finally:
                self._writing.release()

    async def _answer(self) -> None:
        """Send what a receiver owes the peer (no_renegotiation), unless a sender will do it."""
        owed = self._records.pending
        # But a peer that asks again and again cannot make us keep more than a record of answers.
        if not owed or (self._writing.locked() and owed <= RECORD):
            return
        await self._lock_writing()
        try:
            await self.transport.send_all(self._records.output())
        except trio.BrokenResourceError:
            return  # why it broke is found by the read that follows
        except BaseException:
            self._abandon()
            raise
        finally:
            self._writing.release()

    async def _lock_writing(self) -> None:
        # acquire() would pass through the scheduler even when nobody holds the lock.
        try:
            self._writing.acquire_nowait()
        except trio.WouldBlock:
            await self._writing.acquire()

    async def _send_ciphertext(self, data: bytes) -> None:
        try:
            await self.transport.send_all(data)
        except trio.BrokenResourceError as error:
            await self._salvage()
            self._note_end("reset")
            raise self._fail() from error
        except BaseException:
            # Cancelled within a record: the peer can make no sense of anything after it.
            self._abandon()
            raise

    # --- receiving -------------------------------------------------------------------------------

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive decrypted bytes; ``b""`` means close_notify, and nothing else does.

        Args:
            max_bytes: At most this many. None: everything that one receive of the transport
                brought, 64 KiB at the most.

        Raises:
            TLSFailure: The peer's alert, a damaged record, or an end without close_notify.
        """
        if max_bytes is not None and max_bytes < 1:
            raise ValueError("max_bytes must be at least 1")
        if self._broken and self._salvaged is not None:
            await self._salvaged.wait()  # a sender is finding out why
        with self._receive_busy:
            self._check_established()
            await trio.lowlevel.checkpoint_if_cancelled()
            waited = False
            try:
                # Nothing is awaited that can be cancelled once there is plaintext to return.
                while (data := self._records.decrypt(max_bytes)) is None:
                    await self._answer()
                    await self._refill()
                    waited = True
            except ssl.SSLError as error:
                await self._refuse(error)
            if not data:
                self.evidence.close_notify = True
            elif self.evidence.no_common_alpn:
                await self._decline()  # a client that minds closes; this one goes on regardless
            elif self.evidence.stage == "first-read":
                # The first authenticated application data: only now is a client accepted.
                self._accepted()
            if not waited:
                await trio.lowlevel.cancel_shielded_checkpoint()
            return data

    async def _refill(self) -> None:
        """Wait for ciphertext; an end of the transport here is a failure."""
        try:
            data = await self.transport.receive_some()
        except trio.BrokenResourceError as error:
            self._note_end("reset")
            raise self._fail() from error
        if not data:
            self._note_end("eof")
            raise self._fail()
        self._note_first_bytes(data)
        self._records.feed(data)
        if not self._handshaken and isinstance(self.transport, TCPStream):
            # A peer without TCP_NODELAY holds back the rest of its flight until this is
            # acknowledged (measured with Java: 49 ms to 10 ms for a handshake).
            self.transport.acknowledge_now()

    async def _salvage(self) -> None:
        """After a failed write: find the alert that the peer sent before it closed."""
        self._salvaged = trio.Event()
        try:
            with trio.move_on_after(FAREWELL):
                if self._handshaken and not self.evidence.failed:
                    # A task that is receiving meets the alert by itself, and loses no data.
                    await self._receive_busy.wait_free()
                if not self._broken:
                    self._broken = True
                    await self._read_last_words()
        finally:
            self._broken = True
            self._salvaged.set()

    async def _read_last_words(self) -> None:
        evidence = self.evidence
        try:
            while True:
                data = self._records.decrypt()
                if data is None:
                    ciphertext = await self.transport.receive_some()
                    if not ciphertext:
                        return
                    self._note_first_bytes(ciphertext)
                    self._records.feed(ciphertext)
                elif data:
                    evidence.last_words += data[: LAST_WORDS - len(evidence.last_words)]
                    if evidence.stage == "first-read":
                        self._accepted()
                else:
                    evidence.close_notify = True
                    return
        except ssl.SSLError as error:
            evidence.note_error(error)
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
            return  # the reset has emptied the receive queue, or another task is closing

    # --- closing ---------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Close: close_notify, then the transport, gently enough that the peer can read both.

        After a refusal the alert takes close_notify's place. What the peer still sends is
        discarded until it closes too, for `LINGER` seconds and bytes at the most; a reset
        would destroy what it has not read yet. Cancelled, it closes at once.

        A task that is sending may finish the record it is at, for `FAREWELL` seconds; then it,
        or a task that is receiving, gets `trio.ClosedResourceError`.
        """
        if self._closed:
            await trio.lowlevel.checkpoint()
            return
        self._closed = True
        try:
            if self._handshaken and not self._broken:
                self._records.close_notify()
                with trio.move_on_after(FAREWELL):
                    await self._send_farewell()
            if self._half_closed and not self._records.peer_closed:
                with trio.move_on_after(self._linger):
                    await self._discard_until_end()
        finally:
            self.evidence.finish()
            self._records.quiet()
            await self.transport.aclose()

    async def _send_farewell(self) -> None:
        """Send the last records, then end our direction of the transport."""
        if self._salvaged is not None:
            return  # a write has failed: the transport takes nothing any more
        await self._lock_writing()
        try:
            with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                if self._records.pending:
                    await self.transport.send_all(self._records.output())
                await self.transport.send_eof()
                self._half_closed = True
        finally:
            self._writing.release()

    async def _discard_until_end(self) -> None:
        if isinstance(self.transport, TCPStream):
            # Take the place of a task that is still receiving: its end must not cut ours short.
            self.transport.interrupt()
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

    def _check_established(self) -> None:
        self._check_usable()
        if not self._handshaken:
            # Not done implicitly: a peer that says nothing would turn the first send or receive
            # into a wait without a deadline, in whichever task comes first.
            raise RuntimeError("call do_handshake() first, under a deadline")

    def _abandon(self) -> None:
        """Break the stream because our own side gave up half way."""
        self._broken = True
        self.evidence.abandoned = True

    def _fail(self) -> TLSFailure:
        """Break the stream; the evidence is complete from here on."""
        self._broken = True
        self.evidence.failed = True
        self.evidence.read_recording()
        self.evidence.finish()
        return TLSFailure(self.evidence)

    def expire(self) -> TLSFailure:
        """Break the stream because our own deadline passed, and return the failure to report.

        A failure that came before the deadline stays what it was.
        """
        if not self.evidence.failed:
            self.evidence.timed_out = True
        return self._fail()

    def _note_end(self, end: TransportEnd) -> None:
        # What the transport does after TLS has failed is a consequence, and no news.
        if not self.evidence.failed:
            self.evidence.transport_end = end

    def _note_first_bytes(self, data: bytes | bytearray) -> None:
        missing = FIRST_BYTES - len(self.evidence.first_bytes)
        if missing > 0:
            self.evidence.first_bytes += bytes(data[:missing])
