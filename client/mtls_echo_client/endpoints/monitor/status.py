"""What is known of one endpoint, and whether a client would be sent to it.

An endpoint is *admitted* when it has once proved itself, and a *strict* one always. That is about
membership, not health: an admitted endpoint that is down is still a member, and *usable* again
with its next success. A member that has not succeeded for the unhealthy time is dropped, and goes
on being tried; a strict one never is.

All of it is decided here, from verdicts and a clock that others bring along; nothing here waits.
"""

from __future__ import annotations

import datetime
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from mtls_echo_client.endpoints.monitor.remedies import advised
from mtls_echo_client.endpoints.plan import Endpoint, Problem
from mtls_echo_client.exit_status import OK, TIMEOUT, USAGE, exit_status
from mtls_echo_tls.diagnosis.report import Report

# Some thirty years, in seconds: a calendar ends, an interval need not.
_FAR = 1e9

State = Literal["connecting", "up", "down", "dropped"]


@dataclass(frozen=True, kw_only=True)
class Status:
    """One endpoint at one moment.

    Attributes:
        state: ``connecting`` (no verdict yet on the settings, files and connection as they are
            now), ``up`` (the last check echoed), ``down`` (it did not), ``dropped`` (a member
            that was down for too long; still tried).
        admitted: Whether it is a member; always, when strict.
        since: When the state began, UTC.
        report: The last verdict; None before the first.
        round_trip: Of the last echo, without the handshake, in seconds; None unless up.
        attempts: Since the last success.
        next_attempt: When it is tried again, UTC; None while it is being tried, or up.
        problem: What is wrong with its files. If they have been usable before, what was in
            them then is still in use; if not, nothing is tried.
    """

    endpoint: Endpoint
    state: State
    admitted: bool
    since: datetime.datetime
    report: Report | None = None
    round_trip: float | None = None
    attempts: int = 0
    next_attempt: datetime.datetime | None = None
    problem: Problem | None = None

    @property
    def usable(self) -> bool:
        """Whether a client would be sent there now: a member that is up, or a strict one."""
        return self.endpoint.strict or (self.admitted and self.state == "up")

    @property
    def version(self) -> str | None:
        """What it speaks now, such as ``TLSv1.3``; None unless it is up with TLS."""
        tls = self._proof.tls if self._proof else None
        return tls.version if tls else None

    @property
    def names(self) -> tuple[str, ...]:
        """Who it has proved to be; empty unless it is up with TLS."""
        peer = self._proof.peer if self._proof else None
        return tuple(peer.names) if peer else ()

    @property
    def not_after(self) -> datetime.datetime | None:
        """When the certificate expires that it has proved itself with."""
        peer = self._proof.peer if self._proof else None
        return datetime.datetime.fromisoformat(peer.not_after) if peer else None

    @property
    def exit_status(self) -> int:
        """What this endpoint alone would end a command with."""
        if self.state == "up":
            return OK
        if self.report is not None and self.report.outcome != "echoed":
            return exit_status(self.report)
        # Never tried: without usable files, or in time.
        return USAGE if self.problem is not None else TIMEOUT

    @property
    def _proof(self) -> Report | None:
        return self.report if self.state == "up" else None

    def differs(self, other: Status) -> bool:
        """Whether more than a measurement has changed: what is worth a line in a log."""
        return self._visible() != other._visible()

    def _visible(self) -> tuple[object, ...]:
        causes = self.report.causes if self.report else None
        # Attempts that fail alike are one event, however many there are.
        news = (self.state, self.admitted, self.problem, causes, self.version, self.not_after)
        return (*news, self.endpoint, self.endpoint.labels)


def verdict(statuses: Iterable[Status]) -> int:
    """The exit status of all of them together.

    0 when every strict endpoint is up and at least one endpoint is admitted. Otherwise that of the
    first strict one that is not up, or else of the first; 2 where there are no endpoints.
    """
    statuses = tuple(statuses)
    for status in statuses:
        if status.endpoint.strict and status.state != "up":
            return status.exit_status
    if any(status.admitted for status in statuses):
        return OK
    return statuses[0].exit_status if statuses else USAGE


class StatusTracker:
    """The `status` of one endpoint as it changes; from verdicts, and a clock that others read."""

    def __init__(self, endpoint: Endpoint, unhealthy_timeout: float = math.inf) -> None:
        strict = endpoint.strict
        self.status = Status(endpoint=endpoint, state="connecting", admitted=strict, since=_now())
        self._unhealthy_timeout = unhealthy_timeout
        self._member = False
        self._last_success = -math.inf

    @property
    def due(self) -> float:
        """When it has to be dropped unless it succeeds before, on the clock of `proved`."""
        if self.status.endpoint.strict or not self._member or self.status.state == "up":
            return math.inf
        return self._last_success + self._unhealthy_timeout

    def adopt(self, endpoint: Endpoint) -> None:
        """Take over the same server's other description: group, labels, strict or not."""
        state = self.status.state
        # A strict one is never dropped: it is down like any other.
        state = "down" if endpoint.strict and state == "dropped" else state
        self._become(state, replace(self.status, endpoint=endpoint))

    def proved(self, report: Report, round_trip: float, now: float) -> None:
        """Record a successful check."""
        self._last_success = now
        self._member = True
        known = replace(self.status, report=report, round_trip=round_trip, attempts=0)
        self._become("up", known)

    def failed(self, report: Report) -> None:
        """Record a failed check."""
        attempts = self.status.attempts + 1
        report = advised(report, self.status.endpoint)
        known = replace(self.status, report=report, round_trip=None, attempts=attempts)
        self._become(self._unless_dropped("down"), known)

    def unusable(self) -> None:
        """Record that it cannot be tried, without usable files."""
        self._become(self._unless_dropped("down"), self.status)

    def lost(self, report: Report) -> None:
        """Record the end of a good connection, which is dialled again without delay."""
        report = advised(report, self.status.endpoint)
        self._become("connecting", replace(self.status, report=report, round_trip=None))

    def reset(self) -> None:
        """Forget the last result: settings or files have changed."""
        known = replace(self.status, round_trip=None, attempts=0, next_attempt=None)
        self._become(self._unless_dropped("connecting"), known)

    def wait(self, seconds: float | None) -> None:
        """The next attempt comes after so long; None: it has begun."""
        later = None
        if seconds is not None:
            later = _now() + datetime.timedelta(seconds=min(seconds, _FAR))
        self.status = replace(self.status, next_attempt=later)

    def note(self, problem: Problem | None) -> None:
        """Its files cannot be used; None: they can again."""
        self.status = replace(self.status, problem=problem)

    def expire(self, now: float) -> bool:
        """Drop it if that is due; whether it was."""
        if now < self.due:
            return False
        self._member = False
        self._become("dropped", self.status)
        return True

    def _unless_dropped(self, state: State) -> State:
        return "dropped" if self.status.state == "dropped" else state

    def _become(self, state: State, known: Status) -> None:
        """Enter a state, or stay in it, with what else is known."""
        admitted = known.endpoint.strict or self._member
        since = known.since if state == known.state else _now()
        self.status = replace(known, state=state, admitted=admitted, since=since)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)
