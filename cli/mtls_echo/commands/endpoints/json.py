"""Endpoints and their status as the fields of JSON objects.

The names are a contract (`docs/endpoints.md`). An endpoint of a plan and one that is being watched
have the same fields, the latter some more; an event of ``--watch`` is the same object once more,
with two fields before.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator

import msgspec

from mtls_echo_client.endpoints.monitor.status import Status, verdict
from mtls_echo_client.endpoints.plan import Endpoint, Plan, Problem, TLSSettings
from mtls_echo_tls.address import Address

Fields = dict[str, object]


def encode(fields: Fields) -> bytes:
    """One JSON object on one line, with its end."""
    return msgspec.json.encode(fields) + b"\n"


def plan_fields(plan: Plan) -> Fields:
    """What ``--check`` prints."""
    return {
        "endpoints": [endpoint_fields(endpoint) for endpoint in plan.endpoints],
        "problems": [problem_fields(problem) for problem in plan.problems],
    }


def outcome_fields(statuses: Iterable[Status], problems: Iterable[Problem]) -> Fields:
    """What one round of checks prints."""
    statuses = tuple(statuses)
    return {
        "endpoints": [status_fields(status) for status in statuses],
        "problems": [problem_fields(problem) for problem in problems],
        "exit_status": verdict(statuses),
    }


def endpoint_fields(endpoint: Endpoint) -> Fields:
    """An endpoint as it is asked for."""
    return {
        "address": str(endpoint.address),
        "written": endpoint.written,
        "origin": endpoint.origin,
        "group": endpoint.group,
        "labels": dict(endpoint.labels),
        "strict": endpoint.strict,
        "plaintext": endpoint.tls is None,
        "server_name": endpoint.server_name,
        "tls_config": None if endpoint.tls is None else _settings(endpoint.tls),
    }


def _settings(settings: TLSSettings) -> Fields:
    def path(of: object) -> str | None:
        return None if of is None else str(of)

    return {
        "origin": settings.origin,
        "ca_file": path(settings.ca_file),
        "cert_file": path(settings.cert_file),
        "key_file": path(settings.key_file),
        "min_version": settings.minimum_version.name.removeprefix("TLSv").replace("_", "."),
    }


def status_fields(status: Status) -> Fields:
    """An endpoint as it is found."""
    round_trip = status.round_trip
    return {
        **endpoint_fields(status.endpoint),
        "state": status.state,
        "admitted": status.admitted,
        "usable": status.usable,
        "since": status.since,
        "tls_version": status.version,
        "names": list(status.names),
        "not_after": status.not_after,
        "round_trip_ms": None if round_trip is None else round(round_trip * 1000, 3),
        "attempts": status.attempts,
        "next_attempt": status.next_attempt,
        "exit_status": status.exit_status,
        "problem": None if status.problem is None else problem_fields(status.problem),
        "report": status.report,
    }


def problem_fields(problem: Problem) -> Fields:
    """What could not be read or looked up."""
    return {"where": problem.where, "message": problem.message}


class Changes:
    """What is new since the last look: for logs, in which nothing is said twice."""

    def __init__(self) -> None:
        self._statuses: dict[Address, Status] = {}
        self._problems: tuple[Problem, ...] = ()

    def since(
        self, statuses: Iterable[Status], problems: Iterable[Problem]
    ) -> Iterator[tuple[str, Status | Problem]]:
        """Pairs of an event and what it is about.

        The events are ``endpoint`` (there is a new one, or another status), ``removed``,
        ``problem`` and ``resolved``.
        """
        before, self._statuses = self._statuses, {each.endpoint.address: each for each in statuses}
        for address, status in self._statuses.items():
            known = before.pop(address, None)
            if known is None or status.differs(known):
                yield "endpoint", status
        for status in before.values():
            yield "removed", status
        old, self._problems = self._problems, tuple(dict.fromkeys(problems))
        yield from (("problem", each) for each in self._problems if each not in old)
        yield from (("resolved", each) for each in old if each not in self._problems)


def event_fields(event: str, about: Status | Problem) -> Fields:
    """One line of ``--watch --json``."""
    fields = status_fields(about) if isinstance(about, Status) else problem_fields(about)
    return {"event": event, "time": datetime.datetime.now(datetime.UTC), **fields}
