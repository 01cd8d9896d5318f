"""What answers on the status port, and how often it is made anew.

However often they are asked for, the overview, the metrics and the lists of reports are made
`BURST` times at once and then `RATE` times a second; in between the last ones are sent again. So
what a scraper costs does not depend on the scraper.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec

from mtls_echo_pki.certificates.identifiers import is_address
from mtls_echo_server.http.problems import problem
from mtls_echo_server.http.site import HTTPResponse, ReceivedRequest, Route, Rule, get
from mtls_echo_server.status.tally import PastConnection
from mtls_echo_server.status.view import StatusView

# Reports in one answer.
_MOST, _USUAL = 600, 20

# How often something is made anew: at once, and then per second.
BURST, RATE = 10.0, 1.0

# Answers that are kept, of which the largest have some MiB; the oldest makes room.
MOST_MADE = 8


class Remade:
    """Something that takes time to make, and is not made again too often or for nothing."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tokens, self._at = BURST, clock()
        self._made: dict[object, tuple[int, float, HTTPResponse]] = {}

    def get(self, key: object, version: int, make: Callable[[], HTTPResponse]) -> HTTPResponse:
        """The last one, or a new one: if the version is another, or the last is a second old.

        Where there is no last one and too much was made already, the answer is 429.
        """
        now = self._clock()
        self._tokens = min(BURST, self._tokens + (now - self._at) * RATE)
        self._at = now
        if key in self._made:
            made_of, made_at, response = self._made[key]
            if (made_of == version and now - made_at < 1) or self._tokens < 1:
                return response
        elif self._tokens < 1:
            return problem(429, "too much is asked for at once", (("Retry-After", "1"),))
        self._tokens = max(self._tokens - 1, 0)
        response = make()
        self._made.pop(key, None)
        while len(self._made) >= MOST_MADE:
            del self._made[next(iter(self._made))]
        self._made[key] = version, now, response
        return response


class StatusSite:
    """The site of the status port.

    Args:
        view: What is shown.
        names: Host names by which the port may be asked for; None for any.
    """

    def __init__(self, view: StatusView, names: frozenset[str] | None) -> None:
        self._view = view
        self._names = names
        self._remade = Remade()
        self._lists = Remade()  # apart: a reader of lists keeps no scraper out
        self._metrics: Any = None
        self._rules = {
            path: self._rule(route)
            for path, route in {
                "/": self._front,
                "/healthz": self._healthz,
                "/readyz": self._readyz,
                "/metrics": self._exposition,
                "/reports": self._reports,
                "/config": self._config,
            }.items()
        }
        self._one_report = self._rule(self._report)

    def __call__(self, path: str) -> Rule | None:
        """What answers this path."""
        if path.startswith("/reports/"):
            return self._one_report
        return self._rules.get(path)

    def _rule(self, route: Route) -> Rule:
        def guarded(request: ReceivedRequest) -> HTTPResponse:
            host = request.headers.get("host", "")
            if self._names is not None and not _is_ours(host, self._names):
                # A page of some other name that was made to resolve to this machine.
                return problem(421, "this port is asked for by address, or as localhost")
            return route(request)

        return get(guarded)

    # --- for machines ----------------------------------------------------------------------------

    def _healthz(self, _: ReceivedRequest) -> HTTPResponse:
        return HTTPResponse.text("ok\n")

    def _readyz(self, _: ReceivedRequest) -> HTTPResponse:
        problem = self._view.why_not_ready()
        if problem is None:
            return HTTPResponse.text("ready\n")
        return HTTPResponse.text(f"not ready: {problem}\n", 503)

    def _exposition(self, request: ReceivedRequest) -> HTTPResponse:
        if self._metrics is None:
            from mtls_echo_server.status.metrics import StatusMetrics  # 30 ms, where it is asked

            self._metrics = StatusMetrics(self._view)
        accept = "openmetrics" if "openmetrics" in request.headers.get("accept", "") else ""

        def make() -> HTTPResponse:
            kind, body = self._metrics.exposition(request.headers.get("accept", ""))
            return HTTPResponse(200, kind, body)

        return self._remade.get(("metrics", accept), self._view.tally.version, make)

    def _config(self, _: ReceivedRequest) -> HTTPResponse:
        return HTTPResponse.json(self._view.config())

    # --- for people ------------------------------------------------------------------------------

    def _front(self, request: ReceivedRequest) -> HTTPResponse:
        if not request.wants_html:
            return self._reports(request)

        def make() -> HTTPResponse:
            from mtls_echo_server.status.pages import overview

            return overview(self._view)

        return self._remade.get("front", self._view.tally.version, make)

    def _reports(self, request: ReceivedRequest) -> HTTPResponse:
        asked = request.query.get("last", str(_USUAL))
        # Python refuses to read a number of more than 4,300 digits.
        number = int(asked) if asked.isdecimal() and asked.isascii() and len(asked) < 9 else 0
        if not 1 <= number <= _MOST:
            return problem(400, f"last: from 1 to {_MOST}", html=request.wants_html)
        refused_only, html = "refused" in request.query, request.wants_html

        def make() -> HTTPResponse:
            records = self._view.tally.last(number, refused_only=refused_only)
            if html:
                from mtls_echo_server.status.pages import listing

                return listing(records)
            # Without their messages, or the list could have ten MiB.
            return HTTPResponse.json([{**_value(record), "trace": None} for record in records])

        key = number, refused_only, html
        return self._lists.get(key, self._view.tally.version, make)

    def _report(self, request: ReceivedRequest) -> HTTPResponse:
        wanted = request.path.removeprefix("/reports/").lower()
        record = self._view.tally.find(wanted)
        if record is None:
            why = "no such connection is among the last; it is found by its client_random"
            return problem(404, why, html=request.wants_html)
        if request.wants_html:
            from mtls_echo_server.status.pages import report_page

            return report_page(record)
        response = HTTPResponse.json(_value(record))
        return replace(response, headers=(("Link", f"</reports/{wanted}>; rel=self"),))


def _value(record: PastConnection) -> dict[str, Any]:
    fields = msgspec.to_builtins(record)
    report = fields.pop("report")
    return {**fields, **report}


def _is_ours(host: str, names: frozenset[str]) -> bool:
    """Whether a Host field names this machine by address, as localhost, or as we were told."""
    name, _, port = host.rpartition(":")
    name = (name if name and port.isdecimal() else host).strip("[]").lower().removesuffix(".")
    if not name or name == "localhost" or name.endswith(".localhost") or name in names:
        return True
    return is_address(name)
