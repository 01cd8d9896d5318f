"""Look names up in DNS, and keep the last good answer.

A lookup that fails, or finds no address, shows nothing about the servers: the addresses stay, and
the failure is a problem until a lookup succeeds.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from typing import NamedTuple

import trio

from mtls_echo_client.endpoints.groups import canonical
from mtls_echo_client.endpoints.plan import Problem
from mtls_echo_tls.address import Address

# A resolver tries several servers, some seconds each; after this there is no resolver.
TIMEOUT = 10.0
TOTAL_TIMEOUT = 2.5 * TIMEOUT  # for all names together, where a caller waits
CONCURRENCY = 16  # each lookup holds a thread

# More than a DNS answer over UDP holds. Beyond, the lowest are taken, and it is said.
MAX_ADDRESSES = 256


class _Answer(NamedTuple):
    addresses: tuple[str, ...]
    problem: Problem | None
    due: float


class Names:
    """Addresses of names, as they were at the last lookup.

    Attributes:
        generation: Goes up with every answer that is another than the one before.
    """

    def __init__(self, timeout: float = TIMEOUT) -> None:
        self.generation = 0
        self._timeout = timeout
        self._limit = trio.CapacityLimiter(CONCURRENCY)
        self._answers: dict[Address, _Answer] = {}
        self._asked: set[Address] = set()  # and not answered yet

    def addresses(self, name: Address) -> tuple[str, ...]:
        """IPv4 addresses, then IPv6, each in numerical order; none before the first lookup."""
        answer = self._answers.get(name)
        return answer.addresses if answer else ()

    def problem(self, name: Address) -> Problem | None:
        """Why there are no addresses, or only old ones."""
        answer = self._answers.get(name)
        return answer.problem if answer else Problem(f"dns+{name}", "is being looked up")

    def forget_all_but(self, wanted: Mapping[Address, float]) -> None:
        """Forget the names that are not wanted any more."""
        self._answers = {name: kept for name, kept in self._answers.items() if name in wanted}

    def due(self, wanted: Mapping[Address, float]) -> list[Address]:
        """The names to be looked up now, without those that are being looked up.

        Args:
            wanted: Each name with its port, and the seconds between two lookups.
        """
        now = trio.current_time()
        return [
            name
            for name in wanted
            if name not in self._asked
            and (name not in self._answers or self._answers[name].due <= now)
        ]

    async def refresh(self, wanted: Mapping[Address, float]) -> None:
        """Look up every name now, due or not, as far as that is possible in `TOTAL_TIMEOUT`."""
        self.forget_all_but(wanted)
        with trio.move_on_after(TOTAL_TIMEOUT):
            async with trio.open_nursery() as nursery:
                for name in wanted:
                    nursery.start_soon(self.look_up, name, wanted[name])

    async def look_up(self, name: Address, interval: float) -> None:
        """Look up one name; it is due again in ``interval`` seconds."""
        self._asked.add(name)
        try:
            async with self._limit:
                found, reason = await self._answer(name)
        finally:
            self._asked.discard(name)
        problem = None if found else Problem(f"dns+{name}", f"cannot be looked up: {reason}")
        if len(found) > MAX_ADDRESSES:
            message = f"has {len(found)} addresses; {MAX_ADDRESSES} of them are used"
            problem, found = Problem(f"dns+{name}", message), found[:MAX_ADDRESSES]
        answer = _Answer(found or self.addresses(name), problem, trio.current_time() + interval)
        before = self._answers.get(name)
        if before is None or before[:2] != answer[:2]:
            self.generation += 1
        self._answers[name] = answer

    async def _answer(self, name: Address) -> tuple[tuple[str, ...], str]:
        """The addresses, and the reason should there be none."""
        with trio.move_on_after(self._timeout):
            try:
                return await _resolve(name), "it has no address"
            except (OSError, UnicodeError) as error:
                text = getattr(error, "strerror", None) or str(error)
                return (), text[:1].lower() + text[1:]
        return (), f"no answer in {self._timeout:g} s"


async def _resolve(name: Address) -> tuple[str, ...]:
    entries = await trio.socket.getaddrinfo(name.host, name.port, type=socket.SOCK_STREAM)
    inet = (socket.AF_INET, socket.AF_INET6)
    hosts = {canonical(str(entry[4][0])) for entry in entries if entry[0] in inet}
    return tuple(sorted(hosts, key=_order))


def _order(host: str) -> tuple[int, int, str]:
    address, _, zone = host.partition("%")
    found = ipaddress.ip_address(address)
    return found.version, int(found), zone
