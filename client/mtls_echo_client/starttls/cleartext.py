"""The conversation in the clear before TLS: read within bounds, and ended exactly.

Nothing that is said here is authenticated, and nothing of it may survive into the TLS connection.
A client that reads the go-ahead into a buffer and leaves there what came behind it takes, once
encrypted, an on-path attacker's words for the server's (response injection: CVE-2021-33515,
CVE-2021-23222, and many mail clients in "NO STARTTLS", USENIX Security 2021). So whatever arrives
before it is due is an error, not data for later.
"""

from __future__ import annotations

import trio

from mtls_echo_tls.causes import InTheClear
from mtls_echo_tls.stream.tcp import SCRATCH, TCPStream

# A line, an XML tag or a packet; servers that list all that they can do need a few hundred bytes.
LONGEST = 4096

# All of it together.
_MOST = 32 * 1024

# The content types of TLS records, in the first byte, and the major version in the second.
_RECORD_TYPES = range(20, 24)
_MAJOR = b"\3"

_CONTROLS = frozenset(bytes([code]) for code in range(32)) - {b"\r", b"\n"}


class NoTLSError(Exception):
    """TLS cannot begin; the problem is of one kind, and the detail quotes the server."""

    def __init__(self, problem: InTheClear, detail: str = "") -> None:
        super().__init__(f"{problem}: {detail}")
        self.problem: InTheClear = problem
        self.detail = detail


class Cleartext:
    """Both directions of a TCP connection before TLS.

    Attributes:
        awaited: What is due from the server, in words.
        total: How many bytes have come.
    """

    def __init__(self, transport: TCPStream) -> None:
        self.awaited = ""
        self._transport = transport
        self._received = bytearray()
        self.total = 0

    async def send(self, data: bytes, awaited: str) -> None:
        """Send a command, and say what it is to be answered with.

        Raises:
            NoTLSError: Something has come already, and cannot be an answer.
        """
        extra = self._extra()
        if extra and not self.total:
            raise self.not_understood(extra)  # a protocol in which the server begins
        if extra:
            raise NoTLSError("injected", shown(extra))
        self.awaited = awaited
        try:
            await self._transport.send_all(data)
        except trio.BrokenResourceError as error:
            raise NoTLSError("ended", awaited) from error

    async def line(self) -> bytes:
        """Receive a line, without its end."""
        while b"\n" not in self._received:
            # No text begins with a control character: what does may never have a line's end.
            if len(self._received) >= LONGEST or self.unread[:1] in _CONTROLS:
                raise self.not_understood()
            await self._receive()
        line, _, rest = bytes(self._received).partition(b"\n")
        self._received[:] = rest
        if not line.isascii() or b"\0" in line:
            raise self.not_understood(line + b"\n")
        return line.removesuffix(b"\r")

    async def exactly(self, count: int) -> bytes:
        """Receive so many bytes."""
        while len(self._received) < count:
            await self._receive()
        data = bytes(self._received[:count])
        del self._received[:count]
        return data

    async def until(self, ends: bytes) -> bytes:
        """Receive up to these bytes and with them."""
        while (at := self._received.find(ends)) < 0:
            if len(self._received) >= LONGEST:
                raise self.not_understood()
            await self._receive()
        return await self.exactly(at + len(ends))

    def nothing_more(self) -> None:
        """Make sure that the server has said nothing but what it was asked.

        Raises:
            NoTLSError: It has, or the network has in its name.
        """
        if extra := self._extra():
            raise NoTLSError("injected", shown(extra))

    def not_understood(self, data: bytes = b"") -> NoTLSError:
        """What to raise for bytes that the protocol does not have here."""
        data += self._received
        is_record = data[:1] != b"" and data[0] in _RECORD_TYPES and data[1:2] == _MAJOR
        return NoTLSError("tls-at-once" if is_record else "not-understood", shown(data))

    @property
    def unread(self) -> bytes:
        """What has come and not been used yet."""
        return bytes(self._received)

    def _extra(self) -> bytes:
        """The same, or what has come since."""
        if self._received:
            return self.unread
        try:
            # An end that has come already is found again by the next who receives.
            return bytes(SCRATCH[: max(self._transport.take(), 0)])
        except trio.BrokenResourceError as error:
            raise NoTLSError("ended", self.awaited) from error

    async def _receive(self) -> None:
        try:
            data = await self._transport.receive_some(LONGEST)
        except trio.BrokenResourceError as error:
            raise NoTLSError("ended", self.awaited) from error
        if not data:
            raise self.not_understood() if self._received else NoTLSError("ended", self.awaited)
        self._received += data
        self.total += len(data)
        if self.total > _MOST:
            raise self.not_understood()


def shown(data: bytes) -> str:
    """The first of some bytes, as they are quoted."""
    return repr(data[:64])[1:] + ("…" if len(data) > 64 else "")


def words(line: bytes) -> str:
    """What a server says to people, bounded; printable it becomes where it is shown."""
    text = line.decode("ascii", "replace").strip()
    return text[:200] + ("…" if len(text) > 200 else "")
