"""Who has proved nothing yet waits outside, where there is room for as many as we choose.

A connection costs a stranger one packet, and us a descriptor and some 40 KiB until it has shown a
certificate or its time is up. Were strangers counted together with clients, a process with a
thousand silent sockets would keep every client out, for as long as the handshake timeout, again
and again. So they have places of their own, and what they do there can fill those only.

**When all are taken, somebody goes at once**, instead of everybody waiting: the oldest connection
of the network that has most. One host can thus only ever crowd out itself. Among many hosts the
oldest has had the longest to complete a handshake, which takes an honest client two round trips.
Networks are told apart, not addresses: whoever has one IPv6 address has the other 2^64 of its /64
as well (RFC 4291 §2.5.1).

**Whoever leaves is a stranger again.** A refused client may keep its end open while we linger for
it to read the alert (`mtls_echo_tls.stream.delivery`), and so may any other after its
close_notify. That is a courtesy, and the first thing to save on.
"""

from __future__ import annotations

import math
import socket
from collections import Counter

import trio

# The part of an IPv6 address that tells networks apart, in bytes.
_PREFIX = 8


class Visit:
    """One connection, from accept to close.

    Args:
        host: The client's address, as `socket.accept` gives it.
        deadline: Of its handshake.

    Attributes:
        scope: To be entered around what is done for this connection; once more, around closing.
        admitted: Whether a client has been served.
        ended: Whether `Strangers` has ended it, and not its deadline.
        crowded_out: Whether that was because its place was needed.
        leaving: Whether it is over, and only being closed.
    """

    __slots__ = ("admitted", "crowded_out", "ended", "leaving", "network", "scope")

    def __init__(self, host: str, deadline: float = math.inf) -> None:
        self.network = _network(host)
        self.scope = trio.CancelScope(deadline=deadline)
        self.admitted = False
        self.ended = False
        self.crowded_out = False
        self.leaving = False

    def leave(self) -> None:
        """Begin to close: in a scope without a deadline, or one that has ended if this has."""
        self.leaving = True
        self.scope = trio.CancelScope()
        if self.ended:
            self.scope.cancel()


class Strangers:
    """The connections that are not of an admitted client, the oldest first.

    Args:
        most: How many there are places for.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._visits: dict[Visit, None] = {}  # a set that remembers the order

    def enter(self, visit: Visit) -> None:
        """Give a connection a place, another one's if need be; one that was ended needs none."""
        if visit.ended:
            return
        self._visits[visit] = None
        if len(self._visits) > self._most:
            self.make_room()

    def leave(self, visit: Visit) -> None:
        """Free a connection's place: the client is admitted, or the connection is closed."""
        self._visits.pop(visit, None)

    def make_room(self) -> None:
        """End the oldest connection of the network that has most."""
        if not self._visits:
            return
        [(crowd, _)] = Counter(visit.network for visit in self._visits).most_common(1)
        oldest = next(visit for visit in self._visits if visit.network == crowd)
        oldest.crowded_out = True
        self._end(oldest)

    def send_away(self) -> None:
        """End every handshake; what is only being closed has its own, short, time limits."""
        for visit in [visit for visit in self._visits if not visit.leaving]:
            self._end(visit)

    def _end(self, visit: Visit) -> None:
        # Its place is free at once, its descriptor as soon as its task has run.
        del self._visits[visit]
        visit.ended = True
        visit.scope.cancel()


def _network(host: str) -> str | bytes:
    if ":" not in host:
        return host
    return socket.inet_pton(socket.AF_INET6, host.partition("%")[0])[:_PREFIX]
