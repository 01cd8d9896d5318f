"""A client's score: one row for each exhibit and version, and what they come to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from mtls_echo.reports.junit import JUnitSuite
from mtls_echo_pki.printable import printable

if TYPE_CHECKING:
    from mtls_echo.gallery.exhibit import Exhibit
    from mtls_echo_pki.flaws.flaw import TLSVersion

Verdict: TypeAlias = Literal[
    "works", "fails", "refused", "accepted", "accepted late", "not tested"
]

# Exit statuses of `gallery judge`.
AS_IT_MUST, SOMETHING_ACCEPTED, GOOD_FAILED, NOTHING_JUDGED = 0, 1, 5, 6


@dataclass(frozen=True)
class Judgement:
    """What a client did with one exhibit.

    Attributes:
        verdict: *refused*: no application data came, and the client did not claim success.
            *accepted late*: it sent data, and then said that it had failed.
        why: Why it was not tested, or did not work.
        sent: Bytes of application data that came.
        alert: The alert that the client sent.
        cause: What the server's report says of the refusal.
        status: The command's exit status; None if it had to be ended.
        said: What it said of an error.
    """

    exhibit: Exhibit
    version: TLSVersion
    verdict: Verdict
    why: str = ""
    sent: int = 0
    alert: str | None = None
    cause: str | None = None
    status: int | None = None
    said: str = ""

    @property
    def was_accepted(self) -> bool:
        """Whether the client took a bad server for a good one, in the end or for a while."""
        return self.verdict in ("accepted", "accepted late")

    @property
    def is_wrong(self) -> bool:
        """Whether the client did what it must not."""
        return self.verdict == "fails" or (self.was_accepted and self.exhibit.must != "either")

    @property
    def fields(self) -> dict[str, Any]:
        """For programs; JSON types."""
        return {
            "exhibit": self.exhibit.slug,
            "group": self.exhibit.group,
            "tls": self.version,
            "must": self.exhibit.must,
            "rule": self.exhibit.rule,
            "verdict": self.verdict,
            "why": self.why or None,
            "bytes_received": self.sent,
            "alert": self.alert,
            "cause": self.cause,
            "exit_status": self.status,
            "said": printable(self.said) or None,
        }


class Expectation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a client is known to do with an exhibit, and why that is put up with."""

    verdict: Verdict
    reason: str


def read_expectations(file: Path) -> Mapping[str, Expectation]:
    """Read a TOML file with a table for each exhibit: its ``verdict`` and the ``reason``.

    Raises:
        OSError: It cannot be read.
        ValueError: It is not TOML, or has something else in it.
    """
    return msgspec.toml.decode(file.read_bytes(), type=dict[str, Expectation])


@dataclass
class Score:
    """All rows of a client.

    Attributes:
        client, version: Its name, and what it says of its version.
        good: ``good``, in each version of TLS.
        rows: Every other exhibit; empty where ``good`` failed.
    """

    client: str
    version: str
    good: list[Judgement]
    rows: list[Judgement] = field(default_factory=list[Judgement])

    @property
    def judged(self) -> list[Judgement]:
        """The rows that were tested."""
        return [row for row in self.rows if row.verdict != "not tested"]

    def wrong(self, expected: Mapping[str, Expectation]) -> list[Judgement]:
        """What the client did and must not, but for what is expected of it."""
        return [row for row in self.rows if row.is_wrong and not _is_expected(row, expected)]

    def stale(self, expected: Mapping[str, Expectation]) -> list[str]:
        """Exhibits that the client does not treat as expected any more."""
        met = {row.exhibit.slug for row in self.judged if _is_expected(row, expected)}
        seen = {row.exhibit.slug for row in self.judged}
        return [slug for slug in expected if slug in seen - met]

    def exit_status(self, expected: Mapping[str, Expectation]) -> int:
        """That of `gallery judge`."""
        if all(row.verdict != "works" for row in self.good):
            return GOOD_FAILED
        if self.wrong(expected):
            return SOMETHING_ACCEPTED
        return AS_IT_MUST if self.judged else NOTHING_JUDGED

    def as_json(self, expected: Mapping[str, Expectation]) -> bytes:
        """One object, with all rows."""
        wrong = self.wrong(expected)
        return msgspec.json.encode(
            {
                "client": self.client,
                "version": self.version or None,
                "exit_status": self.exit_status(expected),
                "good": [row.fields for row in self.good],
                "not_as_expected": self.stale(expected),
                "rows": [{**row.fields, "wrong": row in wrong} for row in self.rows],
            }
        )

    def as_junit(self, expected: Mapping[str, Expectation]) -> bytes:
        """A test suite with a case for each row; it fails where the exit status says so."""
        wrong = self.wrong(expected)
        is_judged = self.exit_status(expected) != GOOD_FAILED
        # A dot would begin another class.
        classname = f"gallery.{self.client.replace('.', '_')}"
        suite = JUnitSuite(f"mtls-echo gallery: {self.client}", classname)
        for row in (*self.good, *self.rows):
            title = f"{row.exhibit.slug} (TLS {row.version})"
            about = f"{row.exhibit.title} [{row.exhibit.rule}]. {row.said}"
            if row.verdict == "not tested":
                suite.add(title, "skipped", row.why)
            elif row in wrong or (row in self.good and row.is_wrong and not is_judged):
                suite.add(title, "failure", row.verdict, about)
            elif row in self.good and row.is_wrong:
                suite.add(title, "skipped", "it works in the other version of TLS only", about)
            else:
                suite.add(title)
        return suite.encode()


def _is_expected(row: Judgement, expected: Mapping[str, Expectation]) -> bool:
    expectation = expected.get(row.exhibit.slug)
    return expectation is not None and expectation.verdict == row.verdict
