"""What a server has done so far, as numbers: counted as events happen, added up over workers.

A success costs a few additions here; the names that Prometheus knows are given when it asks
(`mtls_echo_server.status.metrics`). Every count has its place from the start, so that a rate is
never of a series that begins with its first event, and no name of a peer is ever in a key.
"""

from __future__ import annotations

import functools
from bisect import bisect_left
from datetime import UTC, datetime
from typing import get_args

import msgspec

from mtls_echo_server.events import Ended, Event
from mtls_echo_tls.diagnosis.report import Report
from mtls_echo_tls.slugs import Slug

VERSIONS = ("TLSv1.2", "TLSv1.3", "unknown")
RESULTS = ("completed", "refused", "failed")
SIDES = ("server", "client", "none")
# The last stands for a connection that we ended before anything was found out.
CAUSES: tuple[str, ...] = (*get_args(Slug), "none")
ENDS: tuple[str, ...] = get_args(Ended)

# The upper ends of buckets, in seconds; the last one has none.
DURATIONS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_HOUR, _DAY = 3_600.0, 86_400.0
LEFT = (
    0.0,
    _HOUR,
    6 * _HOUR,
    _DAY,
    3 * _DAY,
    7 * _DAY,
    14 * _DAY,
    30 * _DAY,
    90 * _DAY,
    366 * _DAY,
)


class Histogram(msgspec.Struct):
    """How many values lie in each bucket, and their sum."""

    counts: list[int]
    total: float = 0.0

    @classmethod
    def over(cls, bounds: tuple[float, ...]) -> Histogram:
        """One without values."""
        return cls([0] * (len(bounds) + 1))

    def observe(self, bounds: tuple[float, ...], value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(bounds, value)] += 1
        self.total += value

    def add(self, other: Histogram) -> None:
        """Add the values of another."""
        self.counts = [one + two for one, two in zip(self.counts, other.counts, strict=True)]
        self.total += other.total


class ServiceCounts(msgspec.Struct):
    """All counts.

    Attributes:
        handshakes: By result and version, with a space between.
        failures: Of handshakes that were not completed: by the side that refused, and cause.
        ended: Connections, by who or what ended them.
        denied: Clients that are authenticated and not authorised.
        requests: Of HTTP, answered on the TLS port.
        durations: Of completed handshakes, until the client was served; in seconds.
        left: What validity clients' certificates had left, in seconds.
        reloads: Of changed files that were taken, and that were not.
    """

    handshakes: dict[str, int]
    failures: dict[str, int]
    ended: dict[str, int]
    durations: Histogram
    left: Histogram
    reloads: dict[str, int]
    denied: int = 0
    requests: int = 0

    @classmethod
    def zero(cls) -> ServiceCounts:
        """None of anything."""
        return cls(
            handshakes={f"{result} {version}": 0 for result in RESULTS for version in VERSIONS},
            failures={f"{side} {cause}": 0 for side in SIDES for cause in CAUSES},
            ended=dict.fromkeys(ENDS, 0),
            durations=Histogram.over(DURATIONS),
            left=Histogram.over(LEFT),
            reloads={"success": 0, "failure": 0},
        )

    def add(self, other: ServiceCounts) -> None:
        """Add those of another process, or of another time."""
        for mine, theirs in (
            (self.handshakes, other.handshakes),
            (self.failures, other.failures),
            (self.ended, other.ended),
            (self.reloads, other.reloads),
        ):
            for key, number in theirs.items():
                mine[key] = mine.get(key, 0) + number
        self.durations.add(other.durations)
        self.left.add(other.left)
        self.denied += other.denied
        self.requests += other.requests

    def count(self, event: Event) -> None:
        """Count an event."""
        report = event.report
        if report is not None:
            self._count_connection(event, report)
        elif event.name == "accepted":
            self.durations.observe(DURATIONS, event.details["handshake_ms"] / 1000)
        elif event.name == "reload" and (event.details["changed"] or not event.details["ok"]):
            self.reloads["success" if event.details["ok"] else "failure"] += 1

    def _count_connection(self, event: Event, report: Report) -> None:
        known = event.version if event.version in VERSIONS else "unknown"
        if report.stage == "established":
            self.handshakes[f"completed {known}"] += 1
            if report.peer is not None:
                self.left.observe(LEFT, _seconds_until(report.peer.not_after))
        else:
            result = "refused" if report.outcome == "refused" else "failed"
            self.handshakes[f"{result} {known}"] += 1
            cause = report.causes[0] if report.causes else "none"
            self.failures[f"{report.rejected_by or 'none'} {cause}"] += 1
        self.ended[event.details["ended"]] += 1
        self.denied += report.outcome == "denied"
        self.requests += event.details.get("http_requests", 0)


def _seconds_until(not_after: str) -> float:
    # It may have expired while the connection was open.
    return max(_moment(not_after) - datetime.now(UTC).timestamp(), 0.0)


@functools.lru_cache(256)  # the same clients come again
def _moment(rfc3339: str) -> float:
    return datetime.fromisoformat(rfc3339).timestamp()
