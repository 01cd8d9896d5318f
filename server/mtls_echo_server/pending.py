"""Bound the unauthenticated connections: how many, how many of one network, and for how long.

A connection costs an unauthenticated client one packet, and the server a descriptor and 5 KiB
while it is silent, 55 KiB once its ClientHello was answered, until a certificate has arrived or
the time is up. Counted together with authenticated clients, a thousand silent sockets would keep
every client out, for as long as the handshake timeout, again and again. So pending connections
have slots of their own, and can fill only those.

**When all slots are taken, one is freed at once**, instead of every client waiting: the oldest
connection of the network that has most. And no network takes more than its share, by default half
of them, so that a connection from any other finds a free slot: beyond, its oldest connection makes
room. One network can thus only ever evict itself. The oldest has had the longest to complete a
handshake, which takes an honest client two round trips.

**Networks are compared, not addresses**: an IPv4 /24 and an IPv6 /56 are the least that one holder
may be expected to have. Smaller IPv4 networks are not routed on the Internet, and a /56 is what an
access provider should give to one customer at least (RIPE-690 §4.2; RFC 6177 leaves the size
open). By single addresses a rented /24 would be 256 networks, and a home's /56 256 by /64. Its
neighbours in such a network lose nothing but their share.

**Many that expire together expire in slices.** Each costs the work of a report and of closing:
a thousand in one turn of the event loop would keep an authenticated client waiting for all of it.

**A connection that is being closed is pending again.** A refused client may keep its end open
while the server lingers for it to read the alert (`mtls_echo_tls.stream.delivery`), and so may
any other after its close_notify. Lingering is a courtesy, and the first thing to save on.
"""

from __future__ import annotations

import math
import socket

import trio

from mtls_echo_server.events import Ended
from mtls_echo_tls.diagnosis.evidence import Evidence

# The part of an address that identifies the network, in bytes.
_PREFIX4, _PREFIX6 = 3, 7

# What precedes an IPv4 address where IPv6 sockets take both (RFC 4291 §2.5.5.2).
_MAPPED = bytes(10) + b"\xff\xff"

# Handshakes that expire before other tasks have a turn.
_AT_ONCE = 16


class Slot:
    """The place of one connection, from accept to close.

    Attributes:
        scope: To be entered around what is done for this connection; once more, around closing.
        deadline: When the handshake's time is up.
        admitted: Whether a client has been served.
        cancelled: Whether `PendingConnections` has ended it before its time was up.
        closing: Whether it is over, and only being closed.
        evicted: Whether it was cancelled because its slot was needed.
    """

    __slots__ = ("admitted", "cancelled", "closing", "deadline", "evicted", "network", "scope")

    def __init__(self, host: str, deadline: float = math.inf) -> None:
        self.network = network_of(host)
        self.deadline = deadline
        self.scope = trio.CancelScope()
        self.admitted = False
        self.cancelled = False
        self.evicted = False
        self.closing = False

    def begin_closing(self) -> None:
        """Begin to close: in a new scope, cancelled if the old one was before its time was up."""
        self.closing = True
        self.scope = trio.CancelScope()
        if self.cancelled:
            self.scope.cancel()


class PendingConnections:
    """The connections of clients that are not admitted, or not any more; the oldest first.

    Args:
        most: How many at once.
        most_per_network: How many of one network; None for as many.
    """

    def __init__(self, most: int, most_per_network: int | None = None) -> None:
        self._most = most
        self._most_per_network = most_per_network or most
        self._count = 0
        # Sets that remember the order: the slots of each network, and the networks that have one
        # slot, two, and so on.
        self._of_network: dict[bytes, dict[Slot, None]] = {}
        self._of_size: list[dict[bytes, None]] = [{}]
        self._timed: dict[Slot, None] = {}  # in the order of their deadlines
        self._no_deadline = trio.lowlevel.ParkingLot()

    def add(self, slot: Slot) -> None:
        """Give a connection a slot, another one's if need be; a cancelled one needs none.

        One that has a slot keeps it, but not its deadline when it is being closed.
        """
        if slot.closing:
            self._timed.pop(slot, None)
        network = slot.network
        slots = self._of_network.get(network, {})
        if slot.cancelled or slot in slots:
            return
        self._of_network[network] = slots
        self._resize(network, len(slots), len(slots) + 1)
        slots[slot] = None
        self._count += 1
        if slot.deadline < math.inf and not slot.closing:
            self._timed[slot] = None
            if self._no_deadline:
                self._no_deadline.unpark_all()
        if len(slots) > self._most_per_network:
            self._evict_from(network)
        elif self._count > self._most:
            self.make_room()

    def remove(self, slot: Slot) -> None:
        """Free a slot: the client is admitted, or the connection is closed."""
        slots = self._of_network.get(slot.network)
        if slots is None or slot not in slots:
            return
        del slots[slot]
        self._count -= 1
        self._timed.pop(slot, None)
        self._resize(slot.network, len(slots) + 1, len(slots))
        if not slots:
            del self._of_network[slot.network]

    def authenticated(self, slot: Slot) -> None:
        """The handshake is complete: its deadline does not apply any more."""
        self._timed.pop(slot, None)

    def make_room(self) -> bool:
        """Evict the oldest connection of the network that has most; return False without any."""
        if not self._count:
            return False
        self._evict_from(next(iter(self._of_size[-1])))
        return True

    def cancel_all(self) -> None:
        """Cancel every handshake; what is only being closed has its own, short, time limits."""
        everything = [slot for slots in self._of_network.values() for slot in slots]
        for slot in everything:
            if not slot.closing:
                self._cancel(slot)

    async def expire(self) -> None:
        """End each handshake when its time is up, a few in each turn; until cancelled."""
        while True:
            for _ in range(_AT_ONCE):
                slot = next(iter(self._timed), None)
                if slot is None or slot.deadline > trio.current_time():
                    break
                self.remove(slot)
                slot.scope.cancel()
            if not self._timed:
                await self._no_deadline.park()
            else:
                await trio.sleep_until(next(iter(self._timed)).deadline)

    def _evict_from(self, network: bytes) -> None:
        oldest = next(iter(self._of_network[network]))
        oldest.evicted = True
        self._cancel(oldest)

    def _cancel(self, slot: Slot) -> None:
        # Its slot is free at once, its descriptor as soon as its task has run.
        self.remove(slot)
        slot.cancelled = True
        slot.scope.cancel()

    def _resize(self, network: bytes, before: int, after: int) -> None:
        """Move a network among those that have as many slots, now ``after``."""
        by_size = self._of_size
        if before:
            del by_size[before][network]
        if after == len(by_size):
            by_size.append({})
        if after:
            by_size[after][network] = None
        while len(by_size) > 1 and not by_size[-1]:
            by_size.pop()


def network_of(host: str) -> bytes:
    """The network of an address, as far as one holder may be expected to have it."""
    if ":" not in host:
        return socket.inet_aton(host)[:_PREFIX4]
    address = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    if address.startswith(_MAPPED):
        return address[len(_MAPPED) :][:_PREFIX4]
    return address[:_PREFIX6]


def unbegun(slot: Slot, begun: bytearray) -> tuple[Evidence, Ended]:
    """What is known of a client that sent no whole record before its end, and what ended it."""
    evidence = Evidence("server", stage="handshake")
    evidence.keep_first_bytes(begun)
    if slot.scope.cancelled_caught and not slot.cancelled:
        evidence.time_out()
        return evidence, "failure"
    evidence.abandon()
    return evidence, "crowded" if slot.evicted else "abort"
