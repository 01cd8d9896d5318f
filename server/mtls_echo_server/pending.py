"""Bound the number of unauthenticated connections; evict the oldest of the busiest network.

A connection costs an unauthenticated client one packet, and the server a descriptor and some
40 KiB until a certificate has arrived or the time is up. Counted together with authenticated
clients, a thousand silent sockets would keep every client out, for as long as the handshake
timeout, again and again. So pending connections have slots of their own, and can fill only those.

**When all slots are taken, one is freed at once**, instead of every client waiting: the oldest
connection of the network that has most. One host can thus only ever evict itself. Among many
hosts the oldest has had the longest to complete a handshake, which takes an honest client two
round trips. Networks are compared, not addresses: the holder of one IPv6 address has the other
2^64 of its /64 as well (RFC 4291 §2.5.1).

**A connection that is being closed is pending again.** A refused client may keep its end open
while the server lingers for it to read the alert (`mtls_echo_tls.stream.delivery`), and so may
any other after its close_notify. Lingering is a courtesy, and the first thing to save on.
"""

from __future__ import annotations

import math
import socket
from collections import Counter

import trio

# The part of an IPv6 address that identifies the network, in bytes.
_PREFIX = 8


class Slot:
    """The place of one connection, from accept to close.

    Attributes:
        scope: Ends with the handshake's deadline. To be entered around what is done for this
            connection; once more, around closing.
        admitted: Whether a client has been served.
        cancelled: Whether `PendingConnections` has ended it, and not its deadline.
        closing: Whether it is over, and only being closed.
        evicted: Whether it was cancelled because its slot was needed.
    """

    __slots__ = ("admitted", "cancelled", "closing", "evicted", "network", "scope")

    def __init__(self, host: str, deadline: float = math.inf) -> None:
        self.network = _network(host)
        self.scope = trio.CancelScope(deadline=deadline)
        self.admitted = False
        self.cancelled = False
        self.evicted = False
        self.closing = False

    def begin_closing(self) -> None:
        """Begin to close: in a scope without a deadline, cancelled if this one is."""
        self.closing = True
        self.scope = trio.CancelScope()
        if self.cancelled:
            self.scope.cancel()


class PendingConnections:
    """The connections of clients that are not admitted, or not any more; the oldest first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._slots: dict[Slot, None] = {}  # a set that remembers the order

    def add(self, slot: Slot) -> None:
        """Give a connection a slot, another one's if need be; a cancelled one needs none."""
        if slot.cancelled:
            return
        self._slots[slot] = None
        if len(self._slots) > self._most:
            self.make_room()

    def remove(self, slot: Slot) -> None:
        """Free a slot: the client is admitted, or the connection is closed."""
        self._slots.pop(slot, None)

    def make_room(self) -> None:
        """Evict the oldest connection of the network that has most."""
        if not self._slots:
            return
        [(busiest, _)] = Counter(slot.network for slot in self._slots).most_common(1)
        oldest = next(slot for slot in self._slots if slot.network == busiest)
        oldest.evicted = True
        self._cancel(oldest)

    def cancel_all(self) -> None:
        """Cancel every handshake; what is only being closed has its own, short, time limits."""
        for slot in [slot for slot in self._slots if not slot.closing]:
            self._cancel(slot)

    def _cancel(self, slot: Slot) -> None:
        # Its slot is free at once, its descriptor as soon as its task has run.
        del self._slots[slot]
        slot.cancelled = True
        slot.scope.cancel()


def _network(host: str) -> str | bytes:
    if ":" not in host:
        return host
    return socket.inet_pton(socket.AF_INET6, host.partition("%")[0])[:_PREFIX]
