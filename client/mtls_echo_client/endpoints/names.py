"""A name stands for the addresses that it had when it was last looked up well.

Names written ``dns+`` are looked up now and then, a few at a time, each for a limited time. An
answer replaces the addresses. A lookup that fails, or finds none, says nothing about the servers:
the addresses stay, and the failure is a problem until a lookup succeeds.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass

import trio

from mtls_echo_client.endpoints.groups import canonical
from mtls_echo_client.endpoints.plan import Problem
from mtls_echo_tls.address import Address

# A resolver tries several servers, some seconds each; whoever waits longer has no resolver.
TIMEOUT = 10.0

# Lookups at once; each holds a thread.
CONCURRENCY = 16

# More than a DNS answer over UDP holds. Beyond, the lowest are taken, and it is said.
MAX_ADDRESSES = 256


@dataclass(frozen=True)
class _Answer:
    addresses: tuple[str, ...]
    problem: Problem | None
    due: float


class Names:
    """Addresses of names, as they were at the last lookup."""

    def __init__(self, timeout: float = TIMEOUT) -> None:
        self._timeout = timeout
        self._answers: dict[Address, _Answer] = {}

    def addresses(self, name: Address) -> tuple[str, ...]:
        """IPv4 addresses, then IPv6, each in numerical order; none before the first lookup."""
        answer = self._answers.get(name)
        return answer.addresses if answer else ()

    def problem(self, name: Address) -> Problem | None:
        """Why the last lookup gave nothing."""
        answer = self._answers.get(name)
        return answer.problem if answer else None

    async def refresh(self, wanted: Mapping[Address, float], *, all_now: bool = False) -> None:
        """Look up the names that are due, and forget those that are not wanted any more.

        Args:
            wanted: Each name with its port, and the seconds between two lookups.
            all_now: Whether they are due or not.
        """
        for name in [name for name in self._answers if name not in wanted]:
            del self._answers[name]
        now = trio.current_time()
        due = [
            name
            for name in wanted
            if all_now or name not in self._answers or self._answers[name].due <= now
        ]
        limit = trio.CapacityLimiter(CONCURRENCY)
        async with trio.open_nursery() as nursery:
            for name in due:
                nursery.start_soon(self._look_up, name, wanted[name], limit)

    async def _look_up(self, name: Address, interval: float, limit: trio.CapacityLimiter) -> None:
        async with limit:
            reason = f"no answer in {self._timeout:g} s"
            found: tuple[str, ...] = ()
            with trio.move_on_after(self._timeout):
                try:
                    found, reason = await _resolve(name), "it has no address"
                except (OSError, UnicodeError) as error:
                    text = getattr(error, "strerror", None) or str(error)
                    reason = text[:1].lower() + text[1:]
        problem = None if found else Problem(f"dns+{name}", f"cannot be looked up: {reason}")
        if len(found) > MAX_ADDRESSES:
            message = f"has {len(found)} addresses; {MAX_ADDRESSES} of them are used"
            problem, found = Problem(f"dns+{name}", message), found[:MAX_ADDRESSES]
        due = trio.current_time() + interval
        self._answers[name] = _Answer(found or self.addresses(name), problem, due)


async def _resolve(name: Address) -> tuple[str, ...]:
    entries = await trio.socket.getaddrinfo(name.host, name.port, type=socket.SOCK_STREAM)
    hosts = {
        canonical(str(entry[4][0]))
        for entry in entries
        if entry[0] in (socket.AF_INET, socket.AF_INET6)
    }
    return tuple(sorted(hosts, key=_order))


def _order(host: str) -> tuple[int, int, str]:
    address, _, zone = host.partition("%")
    found = ipaddress.ip_address(address)
    return found.version, int(found), zone
