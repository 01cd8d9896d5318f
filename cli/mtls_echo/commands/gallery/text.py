"""A client's score for people: first the verdict, then what it let pass, then what is open."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from mtls_echo_pki.printable import printable

if TYPE_CHECKING:
    from mtls_echo.gallery.score import Expectation, Row, Score


def lines_of(
    score: Score, expected: Mapping[str, Expectation], *, everything: bool = False
) -> Iterator[str]:
    """The lines to print; with ``everything``, one for each exhibit."""
    yield _verdict(score, expected)
    if score.version:
        yield f"  {printable(score.version)}"
    for row in score.good:
        if row.verdict != "works":
            said = f': "{printable(row.said)}"' if row.said else ""
            yield f"  the good server fails in TLS {row.version}, exit status {row.status}{said}"
    wrong = score.wrong(expected)
    accepted = [row for row in score.rows if row.verdict in ("accepted", "accepted late")]
    known = [row for row in accepted if row not in wrong and row.is_wrong]
    free = [row for row in accepted if not row.is_wrong]
    yield from _section("accepted, and must not be", [r for r in wrong if r in accepted])
    yield from _section("failed, and must work", [r for r in wrong if r not in accepted])
    yield from _section("accepted, as expected", known, {s: e.reason for s, e in expected.items()})
    yield from _section("accepted, where the rules leave a choice", free)
    for slug in score.stale(expected):
        yield f"\nnot as expected any more: {slug}, which was to be {expected[slug].verdict}"
    if everything:
        yield from _section("as it must be", [r for r in score.judged if r not in accepted])
    untested = [row for row in score.rows if row.verdict == "not tested"]
    for why, rows in itertools.groupby(sorted(untested, key=lambda r: r.why), key=lambda r: r.why):
        slugs = list(dict.fromkeys(row.exhibit.slug for row in rows))
        yield f"\nnot tested, {why}: {_few(slugs)}"


def _verdict(score: Score, expected: Mapping[str, Expectation]) -> str:
    if not score.rows:
        return f"{score.client}: not judged, the good server does not work with it"
    must = [row for row in score.judged if row.exhibit.must in ("refuse", "fail")]
    right = [row for row in must if not row.is_wrong]
    wrong = len({row.exhibit.slug for row in score.wrong(expected)})
    says = "nothing that must be refused was accepted"
    if wrong:
        says = (
            f"{wrong} {'exhibit was' if wrong == 1 else 'exhibits were'} not treated as they must"
        )
    return f"{score.client}: {says}; {len(right)} of {len(must)} handshakes ended as they must"


def _section(
    title: str, rows: Sequence[Row], reasons: Mapping[str, str] | None = None
) -> Iterator[str]:
    if not rows:
        return
    yield f"\n{title}:"
    for slug, group in itertools.groupby(rows, key=lambda row: row.exhibit.slug):
        found = list(group)
        exhibit = found[0].exhibit
        seen = list(dict.fromkeys(_what(row) for row in found))
        versions = "" if len(found) == len(exhibit.versions) else f", TLS {found[0].version}"
        yield f"  {slug:36}  {' / '.join(seen)}{versions}"
        why = (reasons or {}).get(slug) or exhibit.choice or f"{exhibit.title} ({exhibit.rule})"
        if title != "as it must be":
            yield f"  {'':36}  {why}"


def _what(row: Row) -> str:
    if row.verdict == "refused":
        return f"refused, {row.alert}" if row.alert else "refused"
    return row.verdict


def _few(slugs: Sequence[str], most: int = 6) -> str:
    more = f" and {len(slugs) - most} more" if len(slugs) > most else ""
    return ", ".join(slugs[:most]) + more
