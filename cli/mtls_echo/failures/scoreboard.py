"""The table of played failures: how many causes each side named, and the alert on the wire.

A side that names one cause is *sure*; one that names six cannot know more. Both are right as long
as the true cause is among those named, which the tests require. So the table counts: ``sure``, or
``1 of 6``. Where either side can be at fault, each was once the verifier and once the presenter,
and has two entries where they differ: the verifier's comes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mtls_echo.failures.case import FailureCase
from mtls_echo.failures.play import PlayedFailure
from mtls_echo_pki.flaws.flaw import TLSVersion
from mtls_echo_tls.diagnosis.joint import JointReport
from mtls_echo_tls.diagnosis.report import Report
from mtls_echo_tls.sides import Side

_HEADER = ("failure", "TLS", "the client", "the server", "alert on the wire")
_WRONG = 0


@dataclass(frozen=True, kw_only=True)
class Row:
    """One failure case in one version, as plain values that can be sent to another process.

    Attributes:
        refuser: None when neither side refused.
        client, server, joined: How many causes that side and the joint report named; None for a
            peer that does not speak TLS, and 0 when the true cause was not among them.
        alert: By its RFC 8446 name.
    """

    slug: str
    version: TLSVersion
    refuser: Side | None
    client: int | None
    server: int | None
    joined: int | None
    alert: str | None

    @classmethod
    def of(cls, case: FailureCase, played: PlayedFailure) -> Row:
        """Count the causes that a result leaves possible."""

        def count(account: Report | JointReport | None) -> int | None:
            if account is None:
                return None
            return len(account.causes) if case.cause in account.causes else _WRONG

        client, server = played.reports
        return cls(
            slug=case.slug,
            version=played.version,
            refuser=case.expected[played.version].refuser,
            client=count(client),
            server=count(server),
            joined=count(played.account),
            alert=played.alert,
        )


def table(rows: Iterable[Row], width: int | None = None) -> list[str]:
    """The lines, sorted: one for each slug, and a second one where the versions differ.

    A table that is wider than ``width`` has the slug on a line of its own; one that is wider even
    so, the alert too.
    """
    by_slug: dict[str, list[Row]] = {}
    for row in rows:
        by_slug.setdefault(row.slug, []).append(row)
    cells = [_HEADER, *(line for slug in sorted(by_slug) for line in _lines(slug, by_slug[slug]))]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEADER))]
    lines = [[cell.ljust(size) for cell, size in zip(line, widths, strict=True)] for line in cells]
    if width is None or sum(widths) + 2 * (len(widths) - 1) <= width:
        return ["  ".join(line).rstrip() for line in lines]
    slug_on_its_own = sum(widths[1:]) + 2 * (len(widths) - 1) <= width
    return [
        part.rstrip()
        for slug, *line, alert in lines
        for part in (
            [slug, f"  {'  '.join([*line, alert])}"]
            if slug_on_its_own
            else [slug, f"  {'  '.join(line)}", f"  {alert}"]
        )
    ]


def score(rows: Iterable[Row]) -> list[str]:
    """How often each side and both together were sure, and how often wrong: one line for each."""
    who = ("the client alone", "the server alone", "both together")
    counts = zip(*((row.client, row.server, row.joined) for row in rows), strict=True)
    return list(map(_share, who, counts))


def _share(who: str, counts: Iterable[int | None]) -> str:
    known = [count for count in counts if count is not None]
    sure, wrong = known.count(1), known.count(_WRONG)
    return f"{who}: sure in {sure} of {len(known)}, wrong in {wrong or 'none'}"


def _lines(slug: str, rows: list[Row]) -> Iterator[tuple[str, ...]]:
    groups: dict[tuple[str, ...], list[str]] = {}
    for alert in dict.fromkeys(row.alert for row in rows):
        for version in sorted({row.version for row in rows}):
            same = [row for row in rows if (row.alert, row.version) == (alert, version)]
            if same:
                cells = (_cell("client", same), _cell("server", same), alert or "none")
                groups.setdefault(cells, []).append(version)
    for (client, server, alert), versions in groups.items():
        yield slug, " ".join(versions), client, server, alert


def _cell(side: Side, rows: list[Row]) -> str:
    """What a side knew as the verifier, and after it what it knew as the presenter."""
    ordered = sorted(rows, key=lambda row: row.refuser != side)
    counts = [row.client if side == "client" else row.server for row in ordered]
    return ", ".join(dict.fromkeys(_known(count) for count in counts))


def _known(count: int | None) -> str:
    if count is None:
        return "no TLS"
    return {_WRONG: "WRONG", 1: "sure"}.get(count, f"1 of {count}")
