"""Texts about endpoints on one line, for tables and for logs.

Everything that a peer, a file or a name server chose is escaped here (`mtls_echo_pki.printable`),
so that no table or log can forget it.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import get_args

from msgspec.structs import replace

from mtls_echo.vocabulary import COMMANDS
from mtls_echo_client.endpoints.monitor.remedies import CONFIGURATION
from mtls_echo_client.endpoints.monitor.status import State, Status
from mtls_echo_client.endpoints.plan import Problem
from mtls_echo_pki.lifetimes import abbreviate_seconds
from mtls_echo_pki.printable import printable

# Settings are keys of the configuration, programs are commands.
VOCABULARY = replace(
    CONFIGURATION, allow_plaintext="--allow-plaintext", lenient="--verify default", **COMMANDS
)


def cause(status: Status) -> str:
    """The likeliest cause of its last failure, by its slug; empty when it has not failed."""
    if status.report is None:
        return "unusable-files" if status.problem is not None else ""
    return status.report.causes[0] if status.report.causes else ""


def explanation(status: Status) -> tuple[str, str]:
    """What is wrong, in a sentence, and what to do about it; empty where nothing is known."""
    if status.report is None:
        return (printable(status.problem.message) if status.problem else "", "")
    return printable(status.report.summary), printable(status.report.remedy)


def duration(seconds: float | None) -> str:
    """A length of time for a column: ``30 d``, ``0.6 ms``; ``-`` for none."""
    if seconds is None:
        return "-"
    return "over" if seconds < 0 else abbreviate_seconds(seconds)


def count(statuses: Iterable[Status]) -> str:
    """How many there are, and how many are in each state."""
    statuses = tuple(statuses)
    number = len(statuses)
    states = [status.state for status in statuses]
    each = [f"{states.count(state)} {state}" for state in get_args(State) if state in states]
    admitted = sum(status.admitted for status in statuses)
    what = "1 endpoint" if number == 1 else f"{number} endpoints"
    return f"{what}: {', '.join(each)}; {admitted} admitted" if number else "no endpoints"


def line(event: str, about: Status | Problem) -> str:
    """A change, for a log."""
    time = datetime.datetime.now(datetime.UTC)
    stamp = time.replace(microsecond=0, tzinfo=None).isoformat() + "Z"
    if isinstance(about, Problem):
        return f"{stamp} {event}: {printable(about.where)}: {printable(about.message)}"
    endpoint = about.endpoint
    kind = (", strict" if endpoint.strict else "") + (", plaintext" if not endpoint.tls else "")
    who = f"{printable(str(endpoint.address))} ({printable(endpoint.group)}{kind})"
    if event == "removed":
        return f"{stamp} {who} removed"
    admission = "" if about.admitted else ", not admitted"
    return f"{stamp} {who} {about.state}{admission}{_news(about)}"


def _news(status: Status) -> str:
    if status.state == "up":
        proved = [
            (status.version or "").replace("TLSv", "TLS "),
            printable(", ".join(status.names)),
        ]
        if status.not_after is not None:
            proved.append(f"certificate until {status.not_after:%Y-%m-%d %H:%M} UTC")
        proved.append(f"echo in {duration(status.round_trip)}")
        return ": " + ", ".join(part for part in proved if part)
    summary, hint = explanation(status)
    slug = f": {cause(status)}" if cause(status) else ""
    return slug + (f": {summary}" if summary else "") + (f"; hint: {hint}" if hint else "")
