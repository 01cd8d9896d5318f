"""A client's score for people: first the verdict, then what it let pass, then what is open."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from mtls_echo.console import wrap
from mtls_echo_pki.printable import printable

if TYPE_CHECKING:
    from mtls_echo.gallery.score import Expectation, Judgement, Score

# Columns in which a score can be quoted; a narrower terminal wraps it once more.
_WIDTH = 80


def lines_of(
    score: Score, expected: Mapping[str, Expectation], *, everything: bool = False
) -> Iterator[str]:
    """The lines to print; with ``everything``, what was as it must be is among them."""
    yield f"{score.client}: {_verdict(score)}"
    if score.version:
        yield f"  {printable(score.version)}"
    wrong = score.wrong(expected)
    failed = [row for row in (*score.good, *wrong) if row.verdict == "fails"]
    known = [row for row in score.rows if row.is_wrong and row not in wrong]
    free = [row for row in score.rows if row.was_accepted and not row.is_wrong]
    yield from _section("accepted, and must not be", [r for r in wrong if r.was_accepted], _fault)
    yield from _section("failed, and must work", failed, _ended)
    yield from _section("as expected", known, lambda row: expected[row.exhibit.slug].reason)
    yield from _section("accepted, and the rules allow it", free, lambda row: row.exhibit.choice)
    for slug in score.stale(expected):
        yield f"\nnot as expected any more: {slug}, which was to be {expected[slug].verdict}"
    if everything:
        right = [row for row in score.judged if not row.is_wrong and not row.was_accepted]
        yield from _section("as it must be", right, _how)
    untested = [row for row in score.rows if row.verdict == "not tested"]
    first = {row.why: row for row in reversed(untested)}
    yield from _section("not tested", untested, lambda row: _ended(first[row.why]))


def _verdict(score: Score) -> str:
    if all(row.verdict != "works" for row in score.good):
        return "not judged, since the good server does not work with it"
    if not score.rows:
        return "worked with the good server, and was judged by no other"
    if not score.judged:
        return "worked with the good server, and no other run came to a verdict"
    bad = {row.exhibit.slug for row in score.judged if row.exhibit.must in ("refuse", "fail")}
    good = {row.exhibit.slug for row in score.judged if row.exhibit.must == "work"}
    wrong = {row.exhibit.slug for row in score.rows if row.is_wrong}
    works = f", and worked with {len(good - wrong)} of {len(good)} good ones" if good else ""
    return f"refused {len(bad - wrong)} of {len(bad)} bad servers{works}"


def _section(
    title: str, rows: Sequence[Judgement], about: Callable[[Judgement], str]
) -> Iterator[str]:
    """A list of exhibits, those together of which the same is to be said."""
    if rows:
        yield f"\n{title}:"
    found: dict[str, dict[str, None]] = {}
    for row in rows:
        found.setdefault(about(row), {})[_named(row, rows)] = None
    for said, names in found.items():
        for line in (f"  {', '.join(names)}", f"      {said[:1].upper()}{said[1:]}"):
            yield from wrap(line, _WIDTH)


def _named(row: Judgement, rows: Sequence[Judgement]) -> str:
    """The exhibit, and the version where the other is not among the rows."""
    versions = {each.version for each in rows if each.exhibit is row.exhibit}
    only = f" (TLS {row.version})" if versions != {*row.exhibit.versions} else ""
    return row.exhibit.slug + only


def _fault(row: Judgement) -> str:
    but = "; refused only after it had sent data" if row.verdict == "accepted late" else ""
    if row.exhibit.must == "fail" and row.status == 0:
        but = "; it ended with exit status 0"
    return f"{row.exhibit.title} [{row.exhibit.rule}]{but}"


def _how(row: Judgement) -> str:
    return f"{row.verdict}, {row.alert}" if row.alert else row.verdict


def _ended(row: Judgement) -> str:
    said = f': "{printable(row.said)}"' if row.said else ""
    is_lost = row.verdict == "fails" and row.cause == "unknown-authority"
    hint = "; {ca} stands for a file of the CAs that it has to trust" if is_lost else ""
    return (row.why or f"exit status {row.status}") + said + hint
