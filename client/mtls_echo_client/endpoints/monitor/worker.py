"""Keep one endpoint connected: dial, probe, watch, and dial again.

The n-th failure in a row is followed by a wait drawn evenly from nothing to a bound that doubles
each time, up to a cap (*full jitter*): five hundred endpoints that went down in one moment must
not come back in one. The count starts again only when a connection has lasted until its first
regular check: a server that accepts us and closes is not a success.

A connection that has lasted and then ends is dialled again without delay, for servers restart, and
some let no connection grow old; only the outcome of that is a verdict.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import trio

from mtls_echo_client.endpoints.monitor.contexts import ContextSource
from mtls_echo_client.endpoints.monitor.link import Link, dial
from mtls_echo_client.endpoints.monitor.status import StatusTracker
from mtls_echo_client.endpoints.plan import Endpoint
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.vocabulary import Vocabulary

# The first wait is drawn from nothing to this part of the check interval, which is also the cap:
# a server that comes back is noticed within it.
_FIRST_PART = 1 / 16


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What holds for all endpoints alike.

    Attributes:
        dialling: How many may be dialled at once, over all endpoints.
        changed: Called after every change of a status.

    The others are arguments of `Monitor`.
    """

    check_interval: float
    timeout: float
    unhealthy_timeout: float
    draw: Callable[[], float]
    dialling: trio.Semaphore
    changed: Callable[[], None]
    vocabulary: Vocabulary


def backoff(failures: int, cap: float, draw: Callable[[], float]) -> float:
    """The seconds to wait after so many failures in a row, at least one."""
    bound = min(cap, cap * _FIRST_PART * 2.0 ** min(failures - 1, 16))
    return bound * draw()


class EndpointWorker:
    """Keeps one endpoint connected.

    Attributes:
        source: Where the context for its settings comes from; None for plaintext.
        tracker: What is known of the endpoint.
    """

    def __init__(self, endpoint: Endpoint, source: ContextSource | None, rules: Rules) -> None:
        self.source = source
        self.tracker = StatusTracker(endpoint, rules.unhealthy_timeout)
        self._rules = rules
        self._failures = 0
        self._retirement = trio.CancelScope()
        self._round = trio.CancelScope()

    def retire(self) -> None:
        """Close the connection with close_notify, and end."""
        self._retirement.cancel()

    def reconnect(self) -> None:
        """Close the connection and dial at once: what it was verified with has changed."""
        self._failures = 0
        self.tracker.reset()
        self._rules.changed()
        self._round.cancel()

    async def run(self) -> None:
        """Until `retire`: keep the endpoint connected, as far as it lets us."""
        with self._retirement:
            while True:
                with trio.CancelScope() as self._round:
                    await self._keep_trying()

    async def check(self) -> None:
        """Dial once, prove, and close."""
        link = await self._dial()
        if link is not None:
            try:
                await self._probe(link)
            except TLSFailure as failure:
                await self._failed(failure)
            finally:
                await link.aclose()

    async def _keep_trying(self) -> None:
        while True:
            link = await self._dial()
            if link is None or not await self._keep(link):
                await self._pause()

    async def _dial(self) -> Link | None:
        """A proved link, or None and a verdict."""
        endpoint, context = self.tracker.status.endpoint, None
        self.tracker.wait(None)
        if self.source is not None:
            context = await self.source.current()
            self.tracker.note(self.source.problem)
            if context is None:
                self.tracker.unusable()
                self._rules.changed()
                return None
        try:
            async with self._rules.dialling:
                return await dial(endpoint, context, self._rules.timeout, self._rules.vocabulary)
        except TLSFailure as failure:
            await self._failed(failure)
            return None

    async def _keep(self, link: Link) -> bool:
        """Keep a link until it ends; whether to dial again without a pause."""
        lasted = False
        try:
            await self._probe(link)
            # Not all of those that were dialled together are checked together ever after.
            await link.watch(self._rules.check_interval * self._rules.draw())
            while True:
                await self._probe(link)
                lasted = True
                self._failures = 0
                await link.watch(self._rules.check_interval)
        except TLSFailure as failure:
            if lasted and not failure.evidence.timed_out:
                self.tracker.lost(await failure.diagnosed())
                self._rules.changed()
                return True
            await self._failed(failure)
            return False
        finally:
            await link.aclose()

    async def _probe(self, link: Link) -> None:
        round_trip = await link.probe()
        self.tracker.proved(link.report, round_trip, trio.current_time())
        self._rules.changed()

    async def _failed(self, failure: TLSFailure) -> None:
        self.tracker.failed(await failure.diagnosed())
        self._rules.changed()

    async def _pause(self) -> None:
        if self.source is not None and self.source.context is None:
            await trio.sleep_forever()  # until there are files to try it with: `reconnect`
        self._failures += 1
        seconds = backoff(self._failures, self._rules.check_interval, self._rules.draw)
        self.tracker.wait(seconds)
        self._rules.changed()
        await trio.sleep(seconds)
