"""How a report about a foreign peer is graded.

    exact    the first cause is right, and no wrong one is named beside it
    first    the first cause is right, others follow
    within   the right cause is named, but not first
    wrong    it is not named, or there is no report
    false    wrong, and one cause alone: said as certain

That a foreign end accepts a fault is its right, and common: such a case is not graded, as there is
nothing to explain. Where nothing is wrong, the two ends must come together; where they do
not, that is wrong as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from benchmarks.worlds import Side

Grade = Literal["exact", "first", "within", "wrong", "false", "accepted", "met", "not played"]
GRADED: tuple[Grade, ...] = ("exact", "first", "within", "wrong", "false")

# What was seen of the end of a connection: no cause of it, and never false.
_SEEN = {"closed-without-alert", "truncated", "reset", "timeout"}

_ALIKE = {"missing-intermediate", "unknown-authority"}

# Of all graded reports: the first cause right, and certain though false.
GOAL, GOAL_FALSE = 0.95, 0


@dataclass
class Outcome:
    """One case, what our end reported, and how that was graded.

    Attributes:
        slug, stack, side, tls, profile, judge: The case; ``side`` is the foreign end's.
        causes: The truth; empty: nothing is wrong.
        grade: Of the report.
        named: The causes it names.
        refuser_right: Whether it says who refused; None: not asked.
        undecidable: Whether the first cause is wrong, and one end alone could not have known: of a
            certificate whose issuer is in no file, it cannot be told whether the issuer is unknown
            or was left out.
        culprit_named: Whether summary or remedy name the CA at fault; None: not a CA's fault, or
            the first cause is wrong anyway.
        report: As our end gave it.
        status: The exit status of `connect`.
        said: The foreign end's own words.
        note: Why it was not played.
    """

    slug: str
    stack: str
    side: Side
    tls: str
    profile: str
    judge: str
    causes: tuple[str, ...]
    grade: Grade = "not played"
    named: list[str] = field(default_factory=list[str])
    refuser_right: bool | None = None
    undecidable: bool = False
    culprit_named: bool | None = None
    report: dict[str, Any] | None = None
    status: int | None = None
    said: str = ""
    note: str = ""

    def __str__(self) -> str:
        other = "client" if self.side == "server" else "server"
        judged = f"our {other} by {self.stack}" if self.judge == "theirs" else self.stack
        if self.judge == "ours":
            judged += f" {self.side} by ours"
        return f"{self.slug} ({judged}; TLS {self.tls}, CA of {self.profile})"


def grade(outcome: Outcome, refuser: Side | None, culprits: Sequence[str], *, alone: bool) -> None:
    """Compare the report with the truth.

    Args:
        outcome: With the report; takes the grade.
        refuser: Who must have refused; None: either side.
        culprits: Common names of CAs; the hint must name one.
        alone: Whether the certificate was presented without any other.
    """
    report, true = outcome.report, set(outcome.causes)
    if report is None:
        outcome.grade = "wrong"
        return
    outcome.named = report["causes"]
    if report["outcome"] == "echoed" or report.get("bytes_sent"):
        outcome.grade = "accepted" if true else "met"
        if true and outcome.judge == "ours":
            outcome.grade = "wrong"  # our end let something in that it must refuse
        return
    outcome.grade = graded(outcome.named, true)
    if outcome.grade in ("within", "wrong", "false") and alone and true & _ALIKE:
        outcome.undecidable = outcome.named[:1] != [] and outcome.named[0] in _ALIKE
    if true and refuser is not None:
        outcome.refuser_right = report["rejected_by"] == refuser
    if culprits and outcome.grade in ("exact", "first"):
        text = f"{report['summary']} {report['remedy']}"
        outcome.culprit_named = any(culprit in text for culprit in culprits)


def graded(named: Sequence[str], true: set[str]) -> Grade:
    """The grade of these causes, most likely first."""
    if not true.intersection(named):
        return "false" if len(named) == 1 and named[0] not in _SEEN else "wrong"
    if named[0] not in true:
        return "within"
    return "exact" if true.issuperset(named) else "first"
