"""Rebuild the plan from configuration, target files and DNS; publish it when it changed.

Each of the three may fail by itself. It keeps what it last knew well, and says in `Plan.problems`
why that is not the present: a plan never shrinks because something could not be read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Never, TypeVar

import trio

from mtls_echo_client.endpoints.configuration.errors import EndpointsError
from mtls_echo_client.endpoints.configuration.read import digest_of
from mtls_echo_client.endpoints.configuration.yaml_reader import read_text
from mtls_echo_client.endpoints.discovery.dns import Names
from mtls_echo_client.endpoints.discovery.target_files import Discovery
from mtls_echo_client.endpoints.groups import (
    MAX_ENDPOINTS,
    Configuration,
    Group,
    ServerEntry,
    canonical,
)
from mtls_echo_client.endpoints.plan import Endpoint, Plan, Problem
from mtls_echo_tls.address import Address, reference_identifier
from mtls_echo_tls.vocabulary import API, Vocabulary

_T = TypeVar("_T")

# A refresh_interval shorter than this is this: it would only keep the disk busy.
_SHORTEST = 0.1

# Who wins an address that is named twice: what the configuration lists, then what its names
# lead to, then what files name. Never the later one, as with Thanos, where a line in a target
# file takes an endpoint's TLS settings away.
_LISTED, _NAMED, _DISCOVERED = range(3)


@dataclass(frozen=True)
class _Candidate:
    endpoint: Endpoint
    rank: int
    source: str  # the file or the name that it is from
    place: str  # in the file

    @property
    def key(self) -> Address:
        return Address(canonical(self.endpoint.address.host), self.endpoint.address.port)


class Planner:
    """Makes plans of a configuration, of the files it names, and of names.

    Args:
        load: Reads the configuration; called again, in a thread, when its file has changed.
        allow_plaintext: Endpoints without TLS are meant.
        interval: Seconds between two looks at the files.
        vocabulary: For errors.
    """

    def __init__(
        self,
        load: Callable[[], Configuration],
        *,
        allow_plaintext: bool = False,
        interval: float = 1.0,
        vocabulary: Vocabulary = API,
    ) -> None:
        self._load = load
        self._vocabulary = vocabulary
        self._allow_plaintext = allow_plaintext
        self._interval = interval
        self._configuration: Configuration | None = None
        self._refused: Problem | None = None
        self._discovery = Discovery()
        self._names = Names()
        self._news = trio.Event()
        # Lookups that hang keep threads of trio's; reading files must not wait for one.
        self._threads = trio.CapacityLimiter(1)

    @property
    def configuration(self) -> Configuration | None:
        """The one in force; None before the first."""
        return self._configuration

    async def once(self) -> Plan:
        """Read the configuration and the files, look up the names, all now.

        Raises:
            EndpointsError: The configuration cannot be used, or has endpoints in plaintext that
                are not allowed. What else fails is among the plan's problems.
        """
        self._configuration = await self._loaded()
        self._refused = None
        await self._look(self._configuration)
        await self._names.refresh(self._wanted(self._configuration))
        return self._plan(self._configuration)

    async def run(self, publish: Callable[[Plan], None]) -> Never:
        """Publish a plan, then each that differs from the one before; never return.

        Args:
            publish: Called with each plan, in trio's thread; must not block.

        Raises:
            EndpointsError: As `once`; afterwards the last good configuration stays in force.
        """
        if self._configuration is None:
            await self.once()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._announce, publish, nursery)
            while True:
                await trio.sleep(self._pause)
                await self._reread()
                await self._look(self._in_force)
                self._news.set()
        raise AssertionError("a nursery ended that has no end")

    async def _announce(self, publish: Callable[[Plan], None], lookups: trio.Nursery) -> Never:
        """Make a plan when there is news of any kind, and start the lookups that are due."""
        seen: object = None
        published: object = None
        while True:
            self._news = trio.Event()
            configuration = self._in_force
            known = (configuration, self._refused, self._discovery, self._names.generation)
            if known != seen:
                seen, plan = known, self._plan(configuration)
                if published != (state := _visible_state(plan)):
                    published = state
                    publish(plan)
            wanted = self._wanted(configuration)
            self._names.forget_all_but(wanted)
            for name in self._names.due(wanted):
                lookups.start_soon(self._look_up, name, wanted[name])
            await self._news.wait()

    @property
    def _in_force(self) -> Configuration:
        assert self._configuration is not None  # noqa: S101  run() begins with once()
        return self._configuration

    @property
    def _pause(self) -> float:
        written = (group.files_interval for group in self._in_force.groups if group.files)
        return min([self._interval, *(max(each, _SHORTEST) for each in written)])

    async def _loaded(self) -> Configuration:
        configuration = await self._in_thread(self._load)
        for group in configuration.groups:
            if group.plaintext is not None and not self._allow_plaintext:
                place, words = group.plaintext
                reason = f"{words}: everything would be sent in plaintext"
                permit = self._vocabulary.allow_plaintext
                hint = (
                    f"write tls_config with ca_file; or, if that is meant, allow it with {permit}"
                )
                raise EndpointsError(configuration.name, place, reason, hint)
        return configuration

    async def _reread(self) -> None:
        """Take up a configuration that has changed, or say why not."""
        before = self._in_force
        # A refused one is tried again even unchanged: what it lacked may have come.
        if self._refused is None and await self._in_thread(lambda: _is_unchanged(before)):
            return
        try:
            self._configuration, self._refused = await self._loaded(), None
        except EndpointsError as error:
            self._refused = Problem(error.file, error.fault)

    async def _look(self, configuration: Configuration) -> None:
        patterns = [files.pattern for files in configuration.patterns]
        before = self._discovery
        self._discovery = await self._in_thread(lambda: before.look(patterns))

    async def _look_up(self, name: Address, interval: float) -> None:
        await self._names.look_up(name, interval)
        self._news.set()

    def _wanted(self, configuration: Configuration) -> dict[Address, float]:
        wanted: dict[Address, float] = {}
        for group, server, _, _ in self._servers(configuration):
            if server.is_name:
                interval = group.names_interval
                wanted[server.key] = min(wanted.get(server.key, interval), interval)
        return wanted

    async def _in_thread(self, function: Callable[[], _T]) -> _T:
        return await trio.to_thread.run_sync(
            function, limiter=self._threads, abandon_on_cancel=True
        )

    def _servers(
        self, configuration: Configuration
    ) -> Iterator[tuple[Group, ServerEntry, str, Mapping[str, str]]]:
        """What is listed and found: group, server, file (or none), labels."""
        for group in configuration.groups:
            for server in group.servers:
                yield group, server, "", {}
            for files in group.files:
                for found in self._discovery.found(files.pattern):
                    for target in found.targets:
                        yield group, target.server, str(found.path), target.labels

    def _candidates(self, configuration: Configuration) -> Iterator[_Candidate]:
        for group, server, file, labels in self._servers(configuration):
            hosts = [server.address.host]
            rank = _LISTED
            if server.is_name:
                hosts, rank = list(self._names.addresses(server.key)), _NAMED
            for host in hosts:
                endpoint = Endpoint(
                    address=Address(host, server.address.port),
                    written=server.written,
                    group=group.name,
                    strict=group.strict,
                    tls=group.tls,
                    server_name=_server_name(group, server),
                    origin=f"{file} {server.place}".strip(),
                    labels=labels,
                )
                source = file or f"dns+{server.address}"
                yield _Candidate(endpoint, _DISCOVERED if file else rank, source, server.place)

    def _plan(self, configuration: Configuration) -> Plan:
        candidates = list(self._candidates(configuration))
        first: dict[Address, _Candidate] = {}
        repeated: dict[str, list[tuple[_Candidate, _Candidate]]] = {}
        for candidate in sorted(candidates, key=lambda each: each.rank):
            winner = first.setdefault(candidate.key, candidate)
            if winner is not candidate:
                repeated.setdefault(candidate.source, []).append((candidate, winner))
        endpoints = [each.endpoint for each in candidates if first[each.key] is each]
        problems = [
            *self._known_problems(configuration),
            *(_repetition(source, pairs) for source, pairs in repeated.items()),
        ]
        if len(endpoints) > MAX_ENDPOINTS:
            message = f"leads to {len(endpoints)} endpoints; the first {MAX_ENDPOINTS} are used"
            problems.append(Problem(configuration.name, message))
        return Plan(tuple(endpoints[:MAX_ENDPOINTS]), tuple(dict.fromkeys(problems)))

    def _known_problems(self, configuration: Configuration) -> Iterator[Problem]:
        if self._refused is not None:
            yield self._refused
        yield from self._discovery.problems
        for files in configuration.patterns:
            for found in self._discovery.found(files.pattern):
                if found.problem is not None:
                    yield found.problem
        for name in self._wanted(configuration):
            if (problem := self._names.problem(name)) is not None:
                yield problem


def _server_name(group: Group, server: ServerEntry) -> str | None:
    if group.tls is None:
        return None
    return group.tls.server_name or reference_identifier(server.address.host)


def _repetition(source: str, pairs: list[tuple[_Candidate, _Candidate]]) -> Problem:
    (left_out, winner), *more = pairs
    also = f"; so are {len(more)} more" if more else ""
    return Problem(
        source,
        f"{left_out.endpoint.address} at {left_out.place} is left out: it is already at"
        f" {winner.endpoint.origin}{also}",
    )


def _is_unchanged(configuration: Configuration) -> bool:
    if configuration.path is None:
        return True
    try:
        text = read_text(configuration.path, configuration.name)
    except EndpointsError:
        return False
    return digest_of(text) == configuration.digest


def _visible_state(plan: Plan) -> object:
    """All of a plan that can be seen, also what does not count as a difference of endpoints."""
    return plan, [
        (each.origin, each.tls and each.tls.origin, dict(each.labels)) for each in plan.endpoints
    ]
