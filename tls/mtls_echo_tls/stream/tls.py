"""TLS over trio in which every alert is delivered.

`mtls_echo_tls.stream.records` decides what bytes mean, and `mtls_echo_tls.stream.delivery` that
the last of them arrive; this module is between both and the tasks that send and receive. Four
facts about TLS shape it.

**An alert must leave before the error is raised.** When OpenSSL refuses a peer, it writes the
fatal alert and raises. A wrapper that passes the exception on without sending what was written
(as the common async ones do) leaves the peer with a bare end of file. Here every failure sends
first.

**In TLS 1.3 a client has not been accepted when its handshake completes.** It sends Certificate
and Finished and is done; the server verifies the certificate afterwards (RFC 8446 §2). The verdict
is the server's first application data, or an alert in its place: stage ``first-read``. In a
full handshake of TLS 1.2 the server's Finished is the last message, and the verdict.

**Only close_notify ends a stream.** An on-path attacker can send a FIN. End of file without
close_notify is an error (RFC 8446 §6.1), and no alert answers it: the peer does not read any more.

**A receiver must not wait for a sender.** A peer that stops reading blocks our sender; if it does
so until we read, a receiver that waited for the sender (to refuse a renegotiation, say) would
deadlock both sides. It leaves its answer to the sender instead. (OpenSSL answers a KeyUpdate with
its next write by itself, as RFC 8446 §4.6.3 allows.)

Tickets are off (see `server_context`), which keeps TLS 1.3 servers from writing after the
handshake, and a resumed session from skipping the verification of certificates.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import NoReturn, TypeAlias

import trio

from mtls_echo_tls.diagnosis.context_info import context_info
from mtls_echo_tls.diagnosis.evidence import Evidence
from mtls_echo_tls.path.certificates import PeerIdentity
from mtls_echo_tls.stream.delivery import LINGER, Delivery
from mtls_echo_tls.stream.records import RECORD, Records
from mtls_echo_tls.stream.tcp import Exclusive

# One call of the transport per this much plaintext: eight records, 128 KiB.
SEND_SLICE = 8 * RECORD

# From what was received to what is sent; both may be any part of a longer message.
Answer: TypeAlias = Callable[[bytes], bytes]


class TLSStream(Delivery, trio.abc.Stream):
    """A TLS connection over another stream, whose failures explain themselves.

    Args:
        transport: The stream that carries the ciphertext, best a `TCPStream`. Owned by this
            object from now on.
        context: From `server_context` or `client_context`. Our message callback is attached to it.
        server_side: Whether to play the server's side of the handshake.
        server_name: The client's reference identifier (RFC 9525) and SNI.
        trace: Keep the handshake's messages in ``evidence.recorder`` after a success too, and
            go on recording; without it they are kept for failures only.
        linger: Seconds that `aclose` waits for the peer's end at most.

    Raises:
        ValueError: A client without ``server_name`` whose context checks names. (Before 3.14,
            `ssl` would silently check no name.)

    A cancelled `receive_some` loses nothing. A cancelled handshake, or a `send_all` that is
    cancelled once it has begun, may leave half a record behind: the stream is broken, and every
    later call raises.
    """

    __slots__ = ("_handshaking", "_send_busy")

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
        records = Records(context, server_side=server_side, server_name=server_name)
        evidence = Evidence(
            "server" if server_side else "client",
            server_name,
            "handshake",
            context_info=context_info(context),
            recorder=records.recorder,
        )
        super().__init__(transport, records, evidence, trace=trace, linger=linger)
        self._handshaking = False
        self._send_busy = Exclusive("another task is sending on this TLS connection")

    @property
    def peer(self) -> PeerIdentity | None:
        """The peer's verified identity; None before the handshake or without a certificate."""
        chain = self.evidence.peer_chain if self._handshaken else ()
        return PeerIdentity.of_peer(chain[0]) if chain else None

    # --- the handshake ---------------------------------------------------------------------------

    async def do_handshake(self) -> None:
        """Complete the handshake, or send the alert and raise.

        Afterwards a server's client is authenticated. So is a client's server; but in TLS 1.3 the
        client itself may still be refused, which the first `receive_some` shows.

        Further calls, also from other tasks, wait for the first and share its outcome. Put it
        under a deadline: a peer may stay silent for ever.

        Raises:
            TLSFailure: One side refused the other, or the connection ended.
        """
        while self._handshaking:
            await self._receive_busy.wait_free()
        await self._verdict()
        self._check_usable()
        if self._handshaken:
            await trio.lowlevel.checkpoint()
            return
        self._handshaking = True
        try:
            with self._receive_busy, self._send_busy:
                await trio.lowlevel.checkpoint_if_cancelled()
                await self._handshake()
        except BaseException:
            # Any exception, cancellation included: half a handshake cannot be continued.
            self._abandon()
            raise
        finally:
            self._handshaking = False

    async def _handshake(self) -> None:
        records = self._records
        try:
            while True:
                complete = records.handshake()
                if records.pending:
                    await self._deliver([records.output()])
                elif self._tcp is not None and not (complete and self.evidence.side == "client"):
                    # A peer without TCP_NODELAY holds back the rest of its flight, or its first
                    # message, until this is acknowledged (measured with Java: 49 ms to 10 ms for a
                    # handshake). What we send acknowledges too.
                    self._tcp.acknowledge_now()
                if complete:
                    break
                await self._refill()
        except ssl.SSLError as error:
            await self._refuse(error)
        self._handshaken = True
        self._drained = False  # by now the client's first message may have come behind its flight
        evidence = self.evidence
        evidence.note_negotiated(records.connection)
        if evidence.side == "client" and evidence.no_common_alpn:
            await self._decline()
        if evidence.side == "client" and evidence.version == "TLSv1.3":
            evidence.await_first_read()
        else:
            self._accepted()

    async def _refuse(self, error: ssl.SSLError) -> NoReturn:
        """Deliver the alert that OpenSSL wrote, then raise.

        The order matters: alert, end of our direction, and only then the exception. The
        bounded drain that protects the alert from a reset is `aclose`'s first act.
        """
        self._records.failure = None
        failure = self._refused(error)
        await self._send_close()
        raise failure from error

    async def _decline(self) -> NoReturn:
        """Refuse what OpenSSL has accepted. Python cannot send an alert, so the end is clean."""
        failure = self._fail()
        self._records.close_notify()
        await self._send_close()
        raise failure

    # --- sending ---------------------------------------------------------------------------------

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send all of ``data``.

        Raises:
            TLSFailure: The connection failed. If the peer refused us meanwhile, its alert is
                read after the failed write.
        """
        if not await self._send(memoryview(data).cast("B")):
            await trio.lowlevel.cancel_shielded_checkpoint()

    async def _send(self, plaintext: memoryview) -> bool:
        """As `send_all`; return whether that had to wait. If not, a checkpoint is owed."""
        waited = False
        with self._send_busy:
            if self._broken or self._closed or not self._handshaken:
                self._check_established()
            # A cancellation is harmless here; once a record is encrypted, it breaks the stream.
            await trio.lowlevel.checkpoint_if_cancelled()
            if self.evidence.no_common_alpn and not self.evidence.close_notify:
                await self._decline()
            for start in range(0, len(plaintext), SEND_SLICE):
                if start and not waited:
                    await trio.lowlevel.cancel_shielded_checkpoint()
                waited = await self._send_records(plaintext[start : start + SEND_SLICE])
            self.sent += len(plaintext)
        return waited

    async def _send_records(self, plaintext: memoryview) -> bool:
        try:
            async with self._writing:
                self._check_usable()  # it may have ended during the wait, or since the last slice
                waited = await self._deliver(self._records.encrypt(plaintext))
                while self._records.pending:  # left to us by a receiver: see `_answer`
                    waited |= await self._deliver([self._records.output()])
        except ssl.SSLError as error:
            await self._refuse(error)
        return waited

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until `send_all` might not block; see `trio.abc.SendStream`."""
        with self._send_busy:
            self._check_established()
            await self.transport.wait_send_all_might_not_block()

    async def _answer(self) -> None:
        """Send what a receiver owes the peer (no_renegotiation), unless a sender will do it."""
        # But a peer that asks again and again cannot make us keep more than a record of answers.
        if self._writing.held and self._records.pending <= RECORD:
            return
        async with self._writing:
            try:
                await self.transport.send_all(self._records.output())
            except trio.BrokenResourceError:
                return  # the read that follows finds the cause
            except BaseException:
                self._abandon()
                raise

    # --- receiving -------------------------------------------------------------------------------

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive decrypted bytes; ``b""`` means close_notify, and nothing else does.

        Args:
            max_bytes: At most this many. None: everything that one receive of the transport
                brought, 128 KiB at the most.

        Raises:
            TLSFailure: The peer's alert, a damaged record, or an end without close_notify.
        """
        if max_bytes is not None and max_bytes < 1:
            raise ValueError("max_bytes must be at least 1")
        data, waited = await self._receive(max_bytes)
        if not waited:
            await trio.lowlevel.cancel_shielded_checkpoint()
        return data

    async def answer_all(self, answer: Answer, first: Answer | None = None) -> None:
        """Answer everything that is received, until the peer's close_notify.

        Args:
            answer: Called with the plaintext of one record or several. It blocks all other
                tasks while it runs. Its exceptions are raised here.
            first: Called in its place with what is received first.

        Raises:
            TLSFailure: As `receive_some` and `send_all`.
        """
        reply = first or answer
        while data := await self.receive_some():
            await self.send_all(reply(data))
            reply = answer

    async def _receive(self, max_bytes: int | None = None) -> tuple[bytes, bool]:
        """As `receive_some`, and whether that had to wait. If not, a checkpoint is owed."""
        if self._broken:
            await self._verdict()
        with self._receive_busy:
            if self._broken or self._closed or not self._handshaken:
                self._check_established()
            waited = False
            try:
                await trio.lowlevel.checkpoint_if_cancelled()
                # Nothing is awaited that can be cancelled once there is plaintext to return.
                data = self._records.decrypt(max_bytes)
                while data is None:
                    if self._records.pending:
                        await self._answer()
                    self._waits()
                    waited |= await self._refill()
                    data = self._records.decrypt(max_bytes)
            except trio.Cancelled:
                self._wait_cancelled()
                raise
            except ssl.SSLError as error:
                await self._refuse(error)
            if not data:
                self.evidence.receive_close_notify()
            elif self.evidence.no_common_alpn:
                await self._decline()  # the client has not closed for it: refuse
            elif self.evidence.stage == "first-read":
                # The first authenticated application data: only now is a client accepted.
                self._accepted()
            self.received += len(data)
            self._arrived()
            return data, waited

    def _waits(self, now: float | None = None) -> None:
        """Called when a wait for data begins; a subclass limits it."""

    def _wait_cancelled(self) -> None:
        """Called when such a wait is cancelled."""

    def _arrived(self) -> None:
        """Called when the wait is over, and the data is about to be used."""

    async def _verdict(self) -> None:
        """Wait for a sender that is reading the alert: until then nothing is known to report."""
        if self._broken and self._alert_read is not None:
            await self._alert_read.wait()

    def _check_established(self) -> None:
        self._check_usable()
        if not self._handshaken:
            # Not done implicitly: a silent peer would turn the first send or receive into a wait
            # without a deadline, in whichever task comes first.
            raise RuntimeError("call do_handshake() first, under a deadline")
