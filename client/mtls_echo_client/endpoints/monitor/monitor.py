"""Stay connected to every endpoint of a plan, and re-dial only what has changed.

An endpoint whose address, settings and name are what they were keeps its very connection, whatever
else was edited around it; one that is gone is closed with close_notify; one with other settings
is a new endpoint and has to prove itself. Changed files re-dial the endpoints that use them.

A watcher learns that something has changed, not what: it looks at a `Monitor.snapshot`,
so a slow watcher misses steps on the way, never where they led.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NoReturn

import trio

from mtls_echo_client.endpoints.monitor.contexts import Contexts, ContextSource
from mtls_echo_client.endpoints.monitor.remedies import CONFIGURATION
from mtls_echo_client.endpoints.monitor.status import Status
from mtls_echo_client.endpoints.monitor.worker import EndpointWorker, Rules
from mtls_echo_client.endpoints.plan import Endpoint, Plan, Problem, TLSSettings
from mtls_echo_tls.address import Address
from mtls_echo_tls.vocabulary import Vocabulary

_Identity = tuple[Address, TLSSettings | None, str | None]


class Monitor:
    """Watches the endpoints of a plan, which may be exchanged at any time.

    Args:
        check_interval: Seconds between two checks of a connection, and the longest wait
            before another attempt.
        timeout: Seconds for connecting and the handshake together, and again for each echo.
        unhealthy_timeout: Seconds without a success after which an endpoint that is not strict
            is dropped.
        concurrency: How many are dialled at once.
        file_interval: Seconds between two looks at the certificate files.
        draw: Returns a number from 0 to 1, each time another: spreads the attempts.
        vocabulary: What the readers of its reports call settings and programs.
        strict: Hold servers' certificates to every rule of RFC 5280, as `client_context`.

    Attributes:
        revision: Grows with every change; see `wait_for_change`.
    """

    def __init__(
        self,
        *,
        check_interval: float = 5.0,
        timeout: float = 5.0,
        unhealthy_timeout: float = 300.0,
        concurrency: int = 32,
        file_interval: float = 1.0,
        draw: Callable[[], float] = random.random,
        vocabulary: Vocabulary = CONFIGURATION,
        strict: bool = True,
    ) -> None:
        self.revision = 0
        self._rules = Rules(
            check_interval=check_interval,
            timeout=timeout,
            unhealthy_timeout=unhealthy_timeout,
            draw=draw,
            dialling=trio.Semaphore(concurrency),
            changed=self._note_change,
            vocabulary=vocabulary,
        )
        self._file_interval = file_interval
        self._plan = Plan()
        self._workers: dict[_Identity, EndpointWorker] = {}
        self._strict = strict
        self._contexts = Contexts(vocabulary, strict=strict)
        self._tasks: trio.Nursery | None = None
        self._watchers = trio.lowlevel.ParkingLot()
        self._look_now = trio.Event()

    def snapshot(self) -> tuple[Status, ...]:
        """The status of every endpoint, in the order of the plan."""
        return tuple(worker.tracker.status for worker in self._workers.values())

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What could not be read or looked up: the plan's, and those of certificate files."""
        return self._plan.problems + self._contexts.problems

    async def wait_for_change(self, revision: int) -> int:
        """Wait until there is a later revision than this one, and return it."""
        while self.revision <= revision:
            await self._watchers.park()
        return self.revision

    def update(self, plan: Plan) -> None:
        """Keep to this plan from now on."""
        before, self._plan = self._workers, plan
        self._workers = {}
        for endpoint in plan.endpoints:
            identity = endpoint.address, endpoint.tls, endpoint.server_name
            worker = before.pop(identity, None) or self._workers.get(identity)
            if worker is None:
                worker = self._worker_for(endpoint, self._contexts)
                if self._tasks is not None:
                    self._tasks.start_soon(worker.run)
            else:
                worker.tracker.adopt(endpoint)
            self._workers[identity] = worker
        for worker in before.values():
            worker.retire()
        self._contexts.keep(each.tls for each in plan.endpoints if each.tls is not None)
        self._note_change()

    def look_at_files(self) -> None:
        """Look at the certificate files now, and not only when it is time to."""
        self._look_now.set()

    async def run(self) -> NoReturn:
        """Keep to the plan until cancelled; then close every connection with close_notify."""
        async with trio.open_nursery() as tasks:
            for worker in self._workers.values():
                tasks.start_soon(worker.run)
            self._tasks = tasks
            try:
                await self._maintain()
            finally:
                self._tasks = None

    async def check_once(
        self, plan: Plan, progress: Callable[[Status], None] | None = None
    ) -> tuple[Status, ...]:
        """Try every endpoint of a plan once, whatever this monitor is running.

        Args:
            plan: What to try.
            progress: Called with each status when it is known.

        Returns:
            The statuses, in the order of the plan; none is ``connecting``.
        """
        contexts = Contexts(self._rules.vocabulary, strict=self._strict)
        workers = [self._worker_for(endpoint, contexts) for endpoint in plan.endpoints]

        async def check(worker: EndpointWorker) -> None:
            await worker.check()
            if progress is not None:
                progress(worker.tracker.status)

        async with trio.open_nursery() as nursery:
            for worker in workers:
                nursery.start_soon(check, worker)
        return tuple(worker.tracker.status for worker in workers)

    def _worker_for(self, endpoint: Endpoint, contexts: Contexts) -> EndpointWorker:
        source = None if endpoint.tls is None else contexts.source(endpoint.tls)
        return EndpointWorker(endpoint, source, self._rules)

    async def _maintain(self) -> NoReturn:
        while True:
            with trio.move_on_after(self._file_interval):
                await self._look_now.wait()
            self._look_now = trio.Event()
            for source, replaced in await self._contexts.look():
                self._note_files(source, replaced=replaced)
            now = trio.current_time()
            if any([worker.tracker.expire(now) for worker in self._workers.values()]):
                self._note_change()

    def _note_files(self, source: ContextSource, *, replaced: bool) -> None:
        for worker in self._workers.values():
            if worker.source is source:
                worker.tracker.note(source.problem)
                if replaced:
                    worker.reconnect()
        self._note_change()

    def _note_change(self) -> None:
        self.revision += 1
        self._watchers.unpark_all()
