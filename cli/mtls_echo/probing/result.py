"""The result of a probe: a row for each case and version, and what they come to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from mtls_echo.probing.meanings import CLASSES, Severity, differs
from mtls_echo.probing.verdict import Verdict

# Exit statuses of `probe`; 3 and 4 are those of `connect`.
ALL_REFUSED, SOME_ADMITTED, NO_TCP, SERVER_REFUSED, GOOD_REFUSED, SOME_UNCLEAR = 0, 1, 3, 4, 5, 6

SEVERITIES: tuple[Severity, ...] = ("high", "medium", "low")


class ProbeRow(msgspec.Struct, frozen=True, kw_only=True):
    """What one identity, or one odd handshake, came to.

    Attributes:
        slug: Its name.
        group: ``identity`` or ``handshake``.
        tls: The version of TLS; empty for what has none.
        server_name: The name that was asked for.
        verdict: See `mtls_echo.probing.verdict`.
        how: What the verdict rests on: the alert, the status, or why it was not tested.
        differs: In what it differs from the good one.
        severity: Of an admission.
        allowed: Whether it may be admitted, by what the operator meant.
        tries: How often it was tried.
        note: What is odd beside the verdict.
    """

    slug: str
    group: Literal["identity", "handshake"]
    tls: str = ""
    server_name: str = ""
    verdict: Verdict
    how: str
    differs: str
    severity: Severity
    allowed: bool = False
    tries: int = 1
    note: str = ""

    @property
    def is_finding(self) -> bool:
        """Whether a client was admitted that must not be."""
        return self.verdict == "admitted" and not self.allowed

    @property
    def title(self) -> str:
        """The case and its version."""
        return f"{self.slug} (TLS {self.tls})" if self.tls else self.slug


@dataclass(frozen=True)
class Case:
    """One identity, or one odd handshake; what it is stands in ``meanings.toml``."""

    slug: str
    group: Literal["identity", "handshake"]

    @property
    def severity(self) -> Severity:
        """Of an admission."""
        return CLASSES[self.slug].cases[self.slug]

    @property
    def differs(self) -> str:
        """In what it differs from the good identity, in one clause."""
        return differs(self.slug)

    def row(self, verdict: Verdict, how: str, **more: Any) -> ProbeRow:
        """A row of this case."""
        if verdict == "not tested":
            more["tries"] = 0
        return ProbeRow(
            slug=self.slug,
            group=self.group,
            verdict=verdict,
            how=how,
            differs=self.differs,
            severity=self.severity,
            **more,
        )

    def untested(self, why: str, tls: str = "") -> ProbeRow:
        """A row that says why there is no verdict."""
        return self.row("not tested", why, tls=tls)


class GoodOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """What the good identity got in one version.

    Attributes:
        served: Whether it got in.
        how: What it got; or why it did not, in the words of our own report.
        facts: What was compared, if it did not.
        remedy: What to do about that.
        we_refused: Whether it was we who refused the server, or it does not speak TLS.
        connected: Whether there was a TCP connection.
    """

    tls: str
    served: bool
    how: str
    facts: list[str] = msgspec.field(default_factory=list[str])
    remedy: str = ""
    we_refused: bool = False
    connected: bool = True


class Result(msgspec.Struct, kw_only=True):
    """Everything that a probe found.

    Attributes:
        target: ``HOST:PORT``.
        mode: How the server was spoken to.
        protocols: The application protocols that it was offered (ALPN).
        client_auth: What the operator meant.
        good: The good identity.
        server: What the server proved to be, and what it runs, if that shows.
        baseline: In each version.
        rows: Empty where the good identity was not served.
        notes: What else is worth knowing.
        connections: How many were opened.
    """

    target: str
    mode: str
    protocols: tuple[str, ...] = ()
    client_auth: str = "required"
    good: str
    server: str = ""
    baseline: list[GoodOutcome] = msgspec.field(default_factory=list[GoodOutcome])
    rows: list[ProbeRow] = msgspec.field(default_factory=list[ProbeRow])
    notes: list[str] = msgspec.field(default_factory=list[str])
    connections: int = 0

    @property
    def served(self) -> bool:
        """Whether anything could be judged."""
        return any(each.served for each in self.baseline)

    def findings(self, fail_on: Severity = "low") -> list[ProbeRow]:
        """What was admitted and must not be, of this severity or above; the gravest first."""
        found = [row for row in self.rows if row.is_finding and _counts(row, fail_on)]
        return sorted(found, key=lambda row: SEVERITIES.index(row.severity))

    def unclear(self, fail_on: Severity = "low") -> list[ProbeRow]:
        """What would count if it was admitted."""
        return [row for row in self.rows if row.verdict == "unclear" and _counts(row, fail_on)]

    def exit_status(self, fail_on: Severity = "low") -> int:
        """That of the command: what is unclear is not a pass, nor what was not judged."""
        if not self.served:
            if not any(each.connected for each in self.baseline):
                return NO_TCP
            return SERVER_REFUSED if any(e.we_refused for e in self.baseline) else GOOD_REFUSED
        if self.findings(fail_on):
            return SOME_ADMITTED
        verdicts = {row.verdict for row in self.rows}
        if self.unclear(fail_on) or verdicts <= {"not tested", "unclear"}:
            return SOME_UNCLEAR
        return ALL_REFUSED


def _counts(row: ProbeRow, fail_on: Severity) -> bool:
    return SEVERITIES.index(row.severity) <= SEVERITIES.index(fail_on)
