"""The state of one probe, and how its cases try an identity as often as it takes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import trio

from mtls_echo.probing.attempt import Tried, attempt, make_client
from mtls_echo.probing.issuer import IdentityFactory
from mtls_echo.probing.target import Mode, PaceLimit, ProbeTarget
from mtls_echo.probing.verdict import (
    BEHIND_HTTP,
    BEHIND_STARTTLS,
    SILENT,
    Good,
    Verdict,
    judged,
    words_of,
)

if TYPE_CHECKING:
    import ssl

    from mtls_echo.probing.result import ProbeRow
    from mtls_echo_pki.certificates.credential import Credential
    from mtls_echo_pki.flaws.flaw import TLSVersion

_T = TypeVar("_T")


class Outcome(NamedTuple):
    """What an identity came to, over several tries; the last of them."""

    verdict: Verdict
    how: str
    tries: int
    tried: Tried


@dataclass
class Prober:
    """The state of one probe.

    Attributes:
        credential: The good identity.
        mode: How the server is spoken to.
        speaks_http: Whether it speaks HTTP, although it is not spoken to so.
        good: What the good identity got, in each version in which it was served.
        good_elsewhere: The same under the other names of the server.
        admitted: The identities that were admitted and must not be.
    """

    target: ProbeTarget
    issuer: IdentityFactory
    credential: Credential
    pace: PaceLimit
    mode: Mode
    speaks_http: bool = False
    good: dict[TLSVersion, Good] = field(default_factory=dict["TLSVersion", Good])
    good_elsewhere: dict[tuple[TLSVersion, str], Good] = field(
        default_factory=dict[tuple["TLSVersion", str], Good]
    )
    admitted: dict[str, Credential] = field(default_factory=dict[str, "Credential"])
    _known: dict[tuple[object, ...], Outcome] = field(
        default_factory=dict[tuple[object, ...], Outcome]
    )
    _locks: defaultdict[tuple[object, ...], trio.Lock] = field(
        default_factory=lambda: defaultdict(trio.Lock)
    )

    @property
    def versions(self) -> list[TLSVersion]:
        """Those in which the good identity was served."""
        return list(self.good)

    def may_enter(self, slug: str) -> bool:
        """Whether the operator means such a client to be admitted."""
        meant = self.target.client_auth
        return meant == "none" or (slug == "none" and meant == "optional")

    def good_at(self, version: TLSVersion, name: str) -> Good:
        """What the good identity got under a name, or else under the first."""
        return self.good_elsewhere.get((version, name), self.good[version])

    def client(
        self, credential: Credential | None, version: TLSVersion, *, verify: bool = True
    ) -> ssl.SSLContext:
        """A context for an identity, whose connections may resume one another's sessions."""
        return make_client(self.target, credential, version, self.mode, verify=verify)

    async def attempt(self, context: ssl.SSLContext, **options: Any) -> Tried:
        """Connect once, as `mtls_echo.probing.attempt.attempt` does."""
        return await attempt(self.target, context, self.pace, self.mode, **options)

    async def usual(
        self, credential: Credential | None, version: TLSVersion, name: str
    ) -> Outcome:
        """What an identity gets in the usual way; found out once."""
        key = credential and credential.fingerprint, version, name
        async with self._locks[key]:
            if key not in self._known:
                self._known[key] = await self.outcome(credential, version, name)
        return self._known[key]

    async def outcome(
        self,
        credential: Credential | None,
        version: TLSVersion,
        name: str | None = None,
        *,
        times: int = 1,
    ) -> Outcome:
        """The verdict on an identity, over as many tries as it takes.

        Raises:
            ssl.SSLError: OpenSSL does not load it.
        """
        name = name or self.target.server_names[0]
        once = partial(self.attempt, self.client(credential, version), server_name=name)
        words = words_of(credential, self.credential)
        return await self.repeated(once, self.good_at(version, name), words, times=times)

    async def in_each_version(
        self, once: Callable[[TLSVersion], Awaitable[ProbeRow]]
    ) -> list[ProbeRow]:
        """A row for each version in which the good identity was served; tried at the same time."""
        return await at_once([partial(once, version) for version in self.versions])

    async def repeated(
        self,
        once: Callable[[], Awaitable[Tried]],
        good: Good,
        words: Sequence[str] = (),
        *,
        times: int = 1,
    ) -> Outcome:
        """Try until it is admitted, or has been refused often enough.

        Unclear is what was answered and neither, or what was never answered often enough.

        Args:
            times: How many times as often as usual.
        """
        answered, unanswered = list[Outcome](), list[Outcome]()
        enough = times * self.target.repeat
        while (missing := enough - max(len(answered), len(unanswered))) > 0:
            tries = len(answered) + len(unanswered)
            # Most are admitted at once or never.
            for tried in await at_once([once] * min(missing, 2 if tries else 1)):
                tries += 1
                found = self._judged(tried, good, words, tries)
                if found.verdict == "admitted":
                    return found
                silent = found.verdict == "unclear" and tried.report.answer is None
                (unanswered if silent else answered).append(found)
        found = max(
            answered if len(answered) == enough else unanswered,
            key=lambda each: each.verdict == "unclear",
        )
        return found._replace(tries=len(answered) + len(unanswered))

    def _judged(self, tried: Tried, good: Good, words: Sequence[str], tries: int) -> Outcome:
        found = Outcome(*judged(tried, good, words), tries, tried)
        through = found.verdict == "admitted" or found.how == SILENT
        if through and self.speaks_http:
            return found._replace(verdict="unclear", how=BEHIND_HTTP)
        if through and self.target.prologue is not None and not tried.presented:
            return found._replace(verdict="unclear", how=BEHIND_STARTTLS)
        return found


async def at_once(calls: Sequence[Callable[[], Awaitable[_T]]]) -> list[_T]:
    """The results of several calls that run at the same time."""
    found: dict[int, _T] = {}

    async def call(number: int) -> None:
        found[number] = await calls[number]()

    async with trio.open_nursery() as nursery:
        for number in range(len(calls)):
            nursery.start_soon(call, number)
    return [found[number] for number in range(len(calls))]
