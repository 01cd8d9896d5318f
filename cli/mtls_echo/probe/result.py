"""The result of a probe: a row for each case and version, and what they come to."""

from __future__ import annotations

from typing import Literal

import msgspec

from mtls_echo.probe.identities import Severity
from mtls_echo.probe.verdict import Verdict

# Exit statuses of `probe`; 3 and 4 are those of `connect`.
ALL_REFUSED, SOMEBODY_GOT_IN, NO_TCP, SERVER_REFUSED, GOOD_REFUSED, ONLY_UNCLEAR = 0, 1, 3, 4, 5, 6

SEVERITIES: tuple[Severity, ...] = ("high", "medium", "low")


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """What one identity, or one odd handshake, came to.

    Attributes:
        slug: Its name.
        group: ``identity`` or ``handshake``.
        tls: The version of TLS; empty for what has none.
        server_name: The name that was asked for.
        verdict: See `mtls_echo.probe.verdict`.
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
        """Whether somebody got in who must not."""
        return self.verdict == "admitted" and not self.allowed


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """What the good identity got, and one without a certificate, in one version.

    Attributes:
        served: Whether the good identity got in.
        how: What it got; or why it did not, in the words of our own report.
        remedy: What to do about that.
        by_client: Whether it was we who refused the server.
        connected: Whether there was a TCP connection.
    """

    tls: str
    served: bool
    how: str
    remedy: str = ""
    by_client: bool = False
    connected: bool = True


class Result(msgspec.Struct, kw_only=True):
    """Everything that a probe found.

    Attributes:
        target: ``HOST:PORT``.
        mode: How the server was spoken to.
        good: Who the good identity is.
        server: Who the server proved to be, and what it runs, if that shows.
        baseline: In each version.
        rows: Empty where the good identity was not served.
        notes: What else is worth knowing.
        connections: How many were opened.
    """

    target: str
    mode: str
    good: str
    server: str = ""
    baseline: list[Baseline] = msgspec.field(default_factory=list[Baseline])
    rows: list[Row] = msgspec.field(default_factory=list[Row])
    notes: list[str] = msgspec.field(default_factory=list[str])
    connections: int = 0

    @property
    def served(self) -> bool:
        """Whether anything could be judged."""
        return any(each.served for each in self.baseline)

    def findings(self, fail_on: Severity = "low") -> list[Row]:
        """Who got in and must not, of this severity or above."""
        counted = SEVERITIES[: SEVERITIES.index(fail_on) + 1]
        return [row for row in self.rows if row.is_finding and row.severity in counted]

    def exit_status(self, fail_on: Severity = "low") -> int:
        """That of the command."""
        if not self.served:
            if not any(each.connected for each in self.baseline):
                return NO_TCP
            return SERVER_REFUSED if any(e.by_client for e in self.baseline) else GOOD_REFUSED
        if self.findings(fail_on):
            return SOMEBODY_GOT_IN
        judged = [row for row in self.rows if row.verdict not in ("not tested", "unclear")]
        return ALL_REFUSED if judged else ONLY_UNCLEAR
