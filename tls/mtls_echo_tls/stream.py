"""TLS over trio, on `ssl.SSLObject` with our own BIOs, so that every alert arrives.

`ssl.SSLObject` is TLS without I/O: ciphertext goes in through one memory BIO and comes out of
another, and each operation either completes or asks for more input. This module moves the bytes.
Eight facts about TLS, TCP and OpenSSL decide how.

**An alert must leave before the error is raised.** When OpenSSL refuses a peer, it puts the
fatal alert into the outgoing BIO and raises. A wrapper that passes the exception on without
flushing the BIO (as the common async ones do) leaves the peer with a bare end of file. Here
every failure flushes first.

**A reset eats an alert.** Closing a socket while received bytes lie unread makes the kernel send
RST, and the peer's kernel then discards what the peer had not read yet: the alert. So after a
refusal we close our sending direction only, read and discard what the peer still sends, and
close when it is done, within bounds (`LINGER`).

**The same from the other end:** a client that was refused while writing finds out through
``EPIPE`` or ``ECONNRESET``; the alert lies in its receive queue. After a failed write we read
what is left and let OpenSSL find it (*salvage*).

**In TLS 1.3 a client has not been accepted when its handshake completes.** It sends Certificate
and Finished and is done; the server judges the certificate afterwards (RFC 8446 §2). The verdict
is the server's first application data, or an alert in its place: stage ``first-read``.

**Only close_notify ends a stream.** Anyone on the path can send a FIN. End of file without
close_notify is an error (RFC 8446 §6.1), and OpenSSL's own answer to it, a decode_error alert,
is not sent: there is nobody left to read it.

**Tickets are off** (see `server_context`), which keeps TLS 1.3 servers from writing after the
handshake, and a resumed session from skipping the verification of certificates.

**Buffers stay grown.** A memory BIO keeps the capacity of the most it ever held, per connection.
Everything passes in slices of one record (16 KiB), so none holds more.

**Records are many, system calls are dear.** Each receive decrypts every whole record at hand;
each send encrypts up to eight records before one call of the transport.
"""

from __future__ import annotations

import contextlib
import ssl
import sys
from typing import NoReturn

import trio

from mtls_echo_tls import trace as _trace
from mtls_echo_tls.evidence import FIRST_BYTES, Evidence, TLSFailure
from mtls_echo_tls.identity import PeerIdentity
from mtls_echo_tls.transport import Exclusive, TCPStream

# The largest plaintext a record can carry (RFC 8446 §5.1).
RECORD = 16_384

# One call of the transport per this much plaintext: eight records, 128 KiB.
SEND_SLICE = 8 * RECORD

# After a refusal or a close: how long, in seconds, and how much of what the peer still sends is
# read and discarded, so that it reads our alert or close_notify before a reset. A client found
# with 5 MB in flight needs the bytes; a slow interpreter under load needs the seconds.
LINGER = 3.0
LINGER_BYTES = 64 * 1024 * 1024

_NOTHING = memoryview(b"")

# How long a flush of an alert or close_notify may take when the peer's window is closed: it
# cannot be delivered then, and closing must not depend on the peer's good will.
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
        A cancelled `receive_some` loses nothing. A cancelled handshake or `send_all` leaves a
        half-sent record behind: the stream is broken, and every later call says so.
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
        if not server_side and server_name is None and context.check_hostname:
            raise ValueError("a client that checks names needs a server_name to check")
        self.transport = transport
        self.evidence = Evidence("server" if server_side else "client", server_name)
        self.evidence.stage = "handshake"
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._ssl, self.evidence.recorder = _trace.wrap(
            context,
            self._incoming,
            self._outgoing,
            server_side=server_side,
            server_hostname=server_name,
        )
        self._keep_trace = trace
        self._linger = linger
        self._received = _NOTHING  # ciphertext that OpenSSL has not been given yet
        self._pending_error: ssl.SSLError | None = None
        self._handshaken = False
        self._broken = False
        self._closed = False
        self._peer_closed = False  # close_notify received
        self._half_closed = False  # our last words are out
        self._handshaking = trio.Lock()
        self._writing = trio.StrictFIFOLock()  # encrypting and sending are one step
        self._send_busy = Exclusive("another task is sending on this TLS connection")
        self._receive_busy = Exclusive("another task is receiving on this TLS connection")
        self._receiver_left: trio.Event | None = None

    @property
    def peer(self) -> PeerIdentity | None:
        """Who the peer proved to be; None before the handshake, or without a certificate."""
        chain = self.evidence.peer_chain if self._handshaken else ()
        return PeerIdentity.from_der(chain[0]) if chain else None

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
                self._broken = True
                raise

    async def _handshake(self) -> None:
        with self._receive_busy, self._send_busy:
            while True:
                try:
                    self._ssl.do_handshake()
                except ssl.SSLWantReadError:
                    await self._flush()
                    await self._refill()
                except ssl.SSLError as error:
                    await self._refuse(error)
                else:
                    await self._flush()
                    break
        self._handshaken = True
        evidence = self.evidence
        evidence.read_recording()
        evidence.note_negotiated(self._ssl)
        if evidence.side == "server":
            self._accepted()
            if isinstance(self.transport, TCPStream):
                self.transport.acknowledge_now()
        else:
            evidence.stage = "first-read"

    def _accepted(self) -> None:
        """Both sides have accepted each other: nothing is left that a recording could explain."""
        self.evidence.stage = "established"
        if not self._keep_trace:
            _trace.quiet(self._ssl)
            self.evidence.recorder.forget()

    async def _refuse(self, error: ssl.SSLError) -> NoReturn:
        """Deliver the alert that OpenSSL wrote, then raise.

        The order is the point: alert, end of our direction, and only then the exception. The
        bounded drain that protects the alert from a reset is `aclose`'s first act.
        """
        if not self._broken:
            # Otherwise the task in the other direction met the same end a moment earlier, and
            # what it noted is the cause; this error is only a consequence.
            self._broken = True
            self.evidence.note_error(error)
            with trio.move_on_after(FAREWELL):
                await self._send_farewell()
        raise self._fail() from error

    # --- sending ---------------------------------------------------------------------------------

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send all of ``data``.

        Raises:
            TLSFailure: The connection failed; when the peer refused us meanwhile, with its
                alert, read after the failed write.
        """
        with self._send_busy:
            self._check_established()
            plaintext = memoryview(data).cast("B")
            if not plaintext:
                await trio.lowlevel.checkpoint()
            for start in range(0, len(plaintext), SEND_SLICE):
                await self._send_records(plaintext[start : start + SEND_SLICE])

    async def _send_records(self, plaintext: memoryview) -> None:
        refusal: ssl.SSLError | None = None
        await self._lock_writing()
        try:
            records: list[bytes] = []
            for start in range(0, len(plaintext), RECORD):
                self._ssl.write(plaintext[start : start + RECORD])
                records.append(self._outgoing.read())
            await self._send_ciphertext(records[0] if len(records) == 1 else b"".join(records))
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
        """Send what OpenSSL has written on its own account: handshake messages, KeyUpdate."""
        if self._outgoing.pending:
            await self._lock_writing()
            try:
                data = self._outgoing.read()
                if data:
                    await self._send_ciphertext(data)
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
            self.evidence.transport_end = "reset"
            self._broken = True
            await self._salvage()
            raise self._fail() from error
        except BaseException:
            # Cancelled within a record: the peer can make no sense of anything after it.
            self._broken = True
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
        with self._receive_busy:
            self._check_established()
            await trio.lowlevel.checkpoint_if_cancelled()
            waited = False
            try:
                while (data := self._decrypt(max_bytes)) is None:
                    await self._flush()
                    await self._refill()
                    waited = True
                await self._flush()
            except ssl.SSLError as error:
                await self._refuse(error)
            finally:
                if self._receiver_left is not None:
                    self._receiver_left.set()
            if data and self.evidence.stage == "first-read":
                # The first authenticated application data: only now is a client accepted.
                self._accepted()
            if not waited:
                # Shielded: a cancellation here would lose what was just decrypted.
                await trio.lowlevel.cancel_shielded_checkpoint()
            return data

    def _decrypt(self, limit: int | None) -> bytes | None:
        """The plaintext of every whole record at hand; None when that is none."""
        if self._peer_closed:
            return b""
        if self._pending_error is not None:
            error, self._pending_error = self._pending_error, None
            raise error
        plaintext: list[bytes] = []
        room = limit or sys.maxsize
        while room > 0:
            try:
                data = self._ssl.read(min(room, RECORD))
            except ssl.SSLWantReadError:
                if not self._received:
                    break
                self._incoming.write(self._received[:RECORD])
                # An empty slice would keep the whole buffer alive on an idle connection.
                self._received = self._received[RECORD:] or _NOTHING
                continue
            except ssl.SSLZeroReturnError:
                data = b""
            except ssl.SSLError as error:
                if not plaintext:
                    raise
                self._pending_error = error  # what came before it was authentic: deliver it first
                break
            if not data:
                self._peer_closed = True
                break
            plaintext.append(data)
            room -= len(data)
        if plaintext:
            return plaintext[0] if len(plaintext) == 1 else b"".join(plaintext)
        return b"" if self._peer_closed else None

    async def _refill(self) -> None:
        """Wait for ciphertext; an end of the transport here is a failure."""
        if not self._received:
            try:
                data = await self.transport.receive_some()
            except trio.BrokenResourceError as error:
                self.evidence.transport_end = "reset"
                raise self._fail() from error
            if not data:
                self.evidence.transport_end = "eof"
                raise self._fail()
            self._note_first_bytes(data)
            self._received = memoryview(data)
        if not self._handshaken:
            self._incoming.write(self._received)
            self._received = _NOTHING

    async def _salvage(self) -> None:
        """After a failed write: find the alert that the peer sent before it closed."""
        with trio.move_on_after(FAREWELL):
            while self._handshaken and self._receive_busy.held:
                # Another task is receiving, and meets the alert by itself.
                self._receiver_left = trio.Event()
                await self._receiver_left.wait()
            try:
                while True:
                    self._incoming.write(self._received)
                    self._received = _NOTHING
                    try:
                        while self._ssl.read(RECORD):
                            pass
                        return
                    except ssl.SSLWantReadError:
                        data = await self.transport.receive_some()
                        if not data:
                            return
                        self._note_first_bytes(data)
                        self._received = memoryview(data)
            except ssl.SSLError as error:
                self.evidence.note_error(error)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return  # the reset has emptied the receive queue: nothing is left to find

    # --- closing ---------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """Close: close_notify, then the transport, gently enough that the peer can read both.

        After a refusal the alert takes close_notify's place. What the peer still sends is
        discarded until it closes too, for `LINGER` seconds and bytes at the most; a reset
        would destroy what it has not read yet. Cancelled, it closes at once.
        """
        if self._closed:
            await trio.lowlevel.checkpoint()
            return
        self._closed = True
        try:
            if self._handshaken and not self._broken:
                with trio.move_on_after(FAREWELL):
                    self._close_notify()
                    await self._send_farewell()
            if self._half_closed and not self._peer_closed:
                with trio.move_on_after(self._linger):
                    await self._discard_until_end()
        finally:
            self.evidence.finish()
            _trace.quiet(self._ssl)
            await self.transport.aclose()

    def _close_notify(self) -> None:
        # SSLWantReadError says that the peer's close_notify has not come; it need not (RFC 8446
        # §6.1). With any other error the connection is beyond a clean end, and is closed anyway.
        with contextlib.suppress(ssl.SSLError):
            self._ssl.unwrap()

    async def _send_farewell(self) -> None:
        """Send the last records, then end our direction of the transport."""
        if self._writing.locked():
            return  # a sender is stuck in the middle of a record: nothing can follow it
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            data = self._outgoing.read()
            if data:
                await self.transport.send_all(data)
            await self.transport.send_eof()
            self._half_closed = True

    async def _discard_until_end(self) -> None:
        budget = LINGER_BYTES
        # Busy: another task is still in receive_some, and is about to learn that we closed.
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

    def _fail(self) -> TLSFailure:
        """Break the stream; the evidence is complete from here on."""
        self._broken = True
        self.evidence.read_recording()
        self.evidence.finish()
        return TLSFailure(self.evidence)

    def expire(self) -> TLSFailure:
        """Break the stream because our own deadline passed, and return the failure to report."""
        self.evidence.timed_out = True
        return self._fail()

    def _note_first_bytes(self, data: bytes | bytearray) -> None:
        missing = FIRST_BYTES - len(self.evidence.first_bytes)
        if missing > 0:
            self.evidence.first_bytes += bytes(data[:missing])
