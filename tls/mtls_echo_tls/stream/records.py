"""TLS without I/O: ciphertext in, plaintext out, and the reverse, one record at a time.

`ssl.SSLObject` is TLS between two memory buffers: received ciphertext goes into one BIO, what is
to be sent comes out of the other, and each operation either completes or asks for more input.
`Records` holds the three together; it never waits, so that `mtls_echo_tls.stream.tls` deals with
tasks and transports only. Two measured facts shape it.

**Buffers stay grown.** A memory BIO keeps the capacity of the most it ever held, per connection:
one write of 64 MiB leaves 64 MiB behind until the connection is closed. Everything passes in
slices of one record, so neither BIO grows beyond one.

**Records are many, turns are expensive.** A record carries 16 KiB at most, and a turn of the
scheduler with its system calls costs more than its cryptography. So `decrypt` opens every whole
record at hand, and `encrypt` returns several at once.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable
from typing import TypeAlias

from mtls_echo_tls.trace import recorder as _trace
from mtls_echo_tls.trace.cleartext import CleartextRecorder
from mtls_echo_tls.trace.messages import HANDSHAKE

# The largest plaintext a record can carry (RFC 8446 §5.1).
RECORD = 16_384

# Its header: content type, a version, the length of what follows.
_HEADER = 5

# Lines that a handshake writes to a key log: five in TLS 1.3, one before.
_MOST_LOGGED = 8

# Records that `exchange` answers, each for itself. A peer may send 5,700 records of one byte at a
# time, which take three to ten times as long as when they are answered in one.
_EXCHANGED = 64

_NOTHING = memoryview(b"")

# Records to send, how much was received and answered, and what the answering raised.
Exchanged: TypeAlias = tuple[list[bytes], int, int, BaseException | None]


def missing_of_handshake(begun: bytes | bytearray | memoryview) -> int:
    """How many bytes a handshake record that begins so still lacks; 0 of any other, or nothing."""
    size = len(begun)
    if size == 0 or begun[0] != HANDSHAKE or begun[1:2] not in (b"", b"\x03"):
        return 0
    if size < _HEADER:
        return _HEADER - size
    length = int.from_bytes(begun[3:_HEADER])
    return max(_HEADER + length - size, 0) if length <= RECORD else 0


class Records:
    """One side of a TLS connection, between bytes received and bytes to send.

    Attributes:
        connection, recorder: The `ssl.SSLObject`, and the messages of its handshake.
        peer_closed: Whether the peer's close_notify has been read.
        exhausted: Whether `decrypt` has returned everything that was fed.
        failure: What the next `decrypt` raises.
    """

    __slots__ = (
        "_cleartext", "_incoming", "_outgoing", "_received", "_unlogged", "connection",
        "exhausted", "failure", "peer_closed", "recorder",
    )  # fmt: skip

    def __init__(
        self, context: ssl.SSLContext, *, server_side: bool, server_name: str | None
    ) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.connection, self.recorder = _trace.wrap(
            context,
            self._incoming,
            self._outgoing,
            server_side=server_side,
            server_hostname=server_name,
        )
        # Without OpenSSL's callback only what passes here in the clear is recorded.
        self._cleartext = None if self.recorder.attached else CleartextRecorder(self.recorder)
        self.peer_closed = False
        self.exhausted = True
        self.failure: ssl.SSLError | None = None
        self._received = _NOTHING  # ciphertext that OpenSSL has not been given yet
        self._unlogged = _MOST_LOGGED if context.keylog_filename else 0

    def feed(self, ciphertext: bytes | bytearray | memoryview) -> None:
        """Take received ciphertext. What was taken before has been processed.

        The next `handshake` or `decrypt` processes it, or copies what it leaves: so it may be in a
        buffer that is used again, as long as nothing is awaited before.
        """
        if self._received:
            raise RuntimeError("there is ciphertext left that was not processed")
        if self._cleartext is not None:
            self._cleartext.received(ciphertext)
        self.exhausted = False
        if len(ciphertext) <= RECORD:
            self._incoming.write(ciphertext)
        else:
            self._received = memoryview(ciphertext)
            self._next_slice()

    def handshake(self) -> bool:
        """Go on with the handshake: True when it is complete, False when it needs more input.

        Either way, and after an `ssl.SSLError`, there may be `output` to send: then our alert.
        """
        while True:
            try:
                self.connection.do_handshake()
            except ssl.SSLWantReadError:
                if not self._next_slice():
                    return False
            except ssl.SSLError as error:
                if not self._is_of_key_log(error):
                    raise
            else:
                self._keep()
                if self._cleartext is not None:
                    self._cleartext.handshake_complete()
                return True

    def decrypt(self, limit: int | None = None) -> bytes | None:
        """The plaintext of every whole record at hand, ``limit`` bytes at most; None without any.

        ``b""`` once the peer's close_notify is reached.

        Raises:
            ssl.SSLError: The peer's alert, or an invalid record. What came before it was
                authentic, and has been returned already.
        """
        found = self.plaintexts(limit)
        if found:
            return found[0] if len(found) == 1 else b"".join(found)
        return b"" if self.peer_closed else None

    def plaintexts(self, limit: int | None = None) -> list[bytes]:
        """As `decrypt`, each record for itself; none at the end either."""
        if self.failure is not None:
            error, self.failure = self.failure, None
            raise error
        if self.exhausted or self.peer_closed:
            return []
        read, incoming = self.connection.read, self._incoming
        plaintext: list[bytes] = []
        room = limit
        while room != 0:
            try:
                data = read(RECORD if room is None else min(room, RECORD))
            except ssl.SSLWantReadError:
                self.exhausted = not self._next_slice()
                if self.exhausted:
                    break
                continue
            except ssl.SSLZeroReturnError:
                data = b""
            except ssl.SSLError as error:
                if self._is_of_key_log(error):
                    continue
                if not plaintext:
                    raise
                self.failure = error
                break
            if not data:
                self.peer_closed = True
                break
            plaintext.append(data)
            if room is not None:
                room -= len(data)
                continue
            # To ask for what is not there costs an exception, and that as much as a record does.
            # OpenSSL does not read ahead: what it has not taken still lies in the buffer.
            if not incoming.pending and not (self._received and self._next_slice()):
                self.exhausted = True
                break
        if room == 0:
            self._keep()
        else:
            self._received = _NOTHING  # which it is, unless something follows the end
        return plaintext

    def exchange(self, answer: Callable[[bytes], bytes]) -> Exchanged:
        """Decrypt the whole records at hand, and encrypt the answer to each before the next.

        Not all of a great many: `exhausted` says whether. Nothing is raised: the next `decrypt`
        raises what went wrong, but for what ``answer`` did.
        """
        read, incoming = self.connection.read, self._incoming
        records: list[bytes] = []
        received = sent = 0
        bug: BaseException | None = None
        for _ in range(_EXCHANGED):
            try:
                data = read(RECORD)
            except ssl.SSLWantReadError:
                if self._next_slice():
                    continue
                self.exhausted = True
                break
            except ssl.SSLZeroReturnError:
                data = b""
            except ssl.SSLError as error:
                if self._is_of_key_log(error):
                    continue
                self.failure = error
                break
            if not data:
                self.peer_closed = True
                break
            received += len(data)
            try:
                reply = answer(data)
            except BaseException as error:
                bug = error
                break
            if reply:
                try:
                    records += self.encrypt(reply)
                except ssl.SSLError as error:
                    self.failure = error  # whatever it is: the answer is lost
                    break
                sent += len(reply)
            # As in `plaintexts`.
            if not incoming.pending and not (self._received and self._next_slice()):
                self.exhausted = True
                break
        if self.peer_closed or self.failure is not None:
            self._received = _NOTHING  # as in `plaintexts`
        else:
            self._keep()
        return records, received, sent, bug

    def encrypt(self, plaintext: bytes | memoryview) -> list[bytes]:
        """The plaintext as records, after whatever `output` was due before them.

        Raises:
            ssl.SSLError: The connection has ended; nothing has been encrypted. What `decrypt` is
                about to raise is raised here too.
        """
        if self.failure is not None:
            raise self.failure
        write, read = self.connection.write, self._outgoing.read
        if len(plaintext) <= RECORD:
            write(plaintext)
            return [read()]
        plaintext = memoryview(plaintext)
        records: list[bytes] = []
        for start in range(0, len(plaintext), RECORD):
            write(plaintext[start : start + RECORD])
            records.append(read())
        return records

    def output(self) -> bytes:
        """What OpenSSL has written by itself: handshake, alerts, KeyUpdate."""
        data = self._outgoing.read()
        if self._cleartext is not None:
            self._cleartext.sent(data)
        return data

    def put_back(self, data: bytes | memoryview) -> None:
        """Undo part of `output`: its end, which could not be sent."""
        self._outgoing.write(data)

    def written(self) -> bytes:
        """What `output` would return, which stays there."""
        data = self._outgoing.read()
        self._outgoing.write(data)
        return data

    @property
    def pending(self) -> int:
        """How many bytes `output` would return."""
        return self._outgoing.pending

    def close_notify(self) -> None:
        """Write close_notify, unless the connection has failed."""
        # SSLWantReadError means that the peer's close_notify has not come; it need not (RFC 8446
        # §6.1). After any other error an alert has taken its place.
        with contextlib.suppress(ssl.SSLError):
            self.connection.unwrap()

    def quiet(self) -> None:
        """Stop recording; see `mtls_echo_tls.trace.recorder.quiet`."""
        _trace.quiet(self.connection)

    def _is_of_key_log(self, error: ssl.SSLError) -> bool:
        """Whether all that failed is writing to the key log: its disk may be full.

        OpenSSL has gone on, and its error meets whatever Python asks of it next.
        """
        if error.library != "BIO" or not self._unlogged:
            return False
        self._unlogged -= 1
        return True

    def _next_slice(self) -> bool:
        """Give OpenSSL the next slice of what was received; False when there is none."""
        if not self._received:
            return False
        self._incoming.write(self._received[:RECORD])
        # An empty slice would keep the whole buffer alive on an idle connection.
        self._received = self._received[RECORD:] or _NOTHING
        return True

    def _keep(self) -> None:
        """Copy the unprocessed ciphertext out of a buffer that will be used again."""
        if self._received and type(self._received.obj) is not bytes:
            self._received = memoryview(bytes(self._received))
