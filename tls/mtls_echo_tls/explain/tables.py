"""The error texts of other programs, as tables: `vocabulary/*.tsv`, and what of them is in a text.

One row is one text or symbol, in the program's own words, with what it means and where that is
from. The columns:

    program, text, also (other spellings, symbols and numbers), code (alert, verify code or
    reason), kind, side (which prints it), refused (seen from that side), causes (most likely
    first), meaning, source, decides

``…`` stands for anything on the way, ``-`` for nothing. A spelling that begins with ``?`` is too
short or too common to be known by itself: it counts only beside words of its program
(`vocabulary/programs.tsv`). Rows are compared in lower case, underscores as blanks.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple, cast

from mtls_echo_tls.explain.findings import Finding
from mtls_echo_tls.explain.phrases import Kind, Refused
from mtls_echo_tls.sides import Side
from mtls_echo_tls.slugs import Slugs

FOLDER = Path(__file__).with_name("vocabulary")

_WORD = re.compile(r"[^\W_]+")
_HOLE: Final = "\N{HORIZONTAL ELLIPSIS}"
_FOLDED = str.maketrans(
    "_\N{LEFT SINGLE QUOTATION MARK}\N{RIGHT SINGLE QUOTATION MARK}"
    "\N{LEFT DOUBLE QUOTATION MARK}\N{RIGHT DOUBLE QUOTATION MARK}`",
    " ''\"\"'",
)

# Of two programs that print the same, the commoner one is named.
_FIRST = ("phrases", "openssl")

# Who pastes a Go error often leaves out its package.
_PACKAGE = re.compile(r"(?:tls|x509): (?=(?:\S+ ){3})")

# A number that is an error's, by what stands before it.
_NUMBER = re.compile(r"-?(?:\d+|0x[\da-f]+)")
_CALLED = re.compile(
    r"(?:(?:error|errno|err|code|status|result|returned|returns|return|ret|rc|failed)\W{0,4}"
    r"|[=(\[:] ?)\Z"
)

# What stands for `…` is no longer than this, and no piece is tried at more places.
_LONGEST_HOLE = 400
_MOST_PLACES = 64

# Of a text that is full of known texts, the most telling.
_MOST_MATCHES = 256

# Most telling first. Of an ending or a wrapper nothing follows that another row could contradict.
_RANK: Final = {
    kind: rank
    for rank, kinds in enumerate(
        (
            ("alert-received",),
            ("own-verdict",),
            ("alert-sent",),
            ("reason", "key", "file", "config"),
            ("alert",),
            ("vague",),
            ("ending", "other"),
            ("line",),
        )
    )
    for kind in kinds
}
VAGUE = _RANK["vague"]

_KINDS: dict[str, Kind] = {
    "alert-received": "alert received", "alert-sent": "alert sent", "alert": "alert",
    "own-verdict": "statement", "vague": "statement", "reason": "statement", "key": "file",
    "file": "file", "config": "file", "ending": "statement", "other": "statement",
    "line": "vague",
}  # fmt: skip


class TableRow(NamedTuple):
    """One row of a table, as it stands there."""

    program: str
    text: str
    also: str
    code: str
    kind: str
    side: str
    refused: str
    causes: str
    meaning: str
    source: str
    decides: str

    def spellings(self) -> list[str]:
        """The text, and whatever else is as good."""
        return [self.text, *(self.also.split(" | ") if self.also != "-" else ())]


class Match(NamedTuple):
    """A row that is in a text, and where."""

    rank: int
    curated: bool
    length: int
    spans: tuple[tuple[int, int], ...]
    row: TableRow

    def finding(self, line: str) -> Finding:
        """What the row proves."""
        row = self.row
        alert = row.kind.startswith("alert") and row.code.isdigit()
        return Finding(
            _KINDS[row.kind] if alert or not row.kind.startswith("alert") else "statement",
            cast("Refused", row.refused),
            row.program,
            line[self.spans[0][0] : self.spans[-1][1]],
            cast("Side", row.side) if row.side != "-" else None,
            alert=int(row.code) if alert else None,
            verify_code=int(row.code) if not alert and row.code.isdigit() else None,
            reason=row.code if row.code != "-" and not row.code.isdigit() else None,
            stated=cast("Slugs", tuple(row.causes.split())) if row.causes != "-" else (),
            decides="" if row.decides == "-" else row.decides,
            meaning="" if row.meaning == "-" else row.meaning,
        )


class _Form(NamedTuple):
    pieces: list[str]
    alone: bool
    line: str
    curated: bool


def rows(table: str = "*") -> Iterator[TableRow]:
    """Every row of a table or of all, in the order of their names."""
    for path in _tables(table):
        for line in path.read_text("utf-8").splitlines()[1:]:
            yield TableRow._make(line.split("\t"))


def _tables(table: str = "*") -> list[Path]:
    found = {path.stem: path for path in sorted(FOLDER.glob(f"{table}.tsv"))}
    found.pop("programs", None)
    first = [found.pop(name) for name in _FIRST if name in found]
    return first + list(found.values())


def folded(text: str) -> str:
    """In lower case, underscores as blanks, quotation marks straight."""
    return text.lower().translate(_FOLDED)


@cache
def _forms() -> dict[str, list[_Form]]:
    """Every spelling of every row, by its first word; by none where a hole may complete it.

    The rows themselves are read when one is in a text.
    """
    forms: dict[str, list[_Form]] = {}
    for path in _tables():
        curated = path.stem == _FIRST[0]
        for line in path.read_text("utf-8").splitlines()[1:]:
            _, text, also, _ = line.split("\t", 3)
            spellings = text if also == "-" else f"{text} | {also}"
            written = folded(spellings).split(" | ")
            for spelling in (
                *written,
                *(s[m.end() :] for s in written if (m := _PACKAGE.match(s))),
            ):
                alone = spelling[0] != "?"
                pieces = (spelling if alone else spelling[1:]).removesuffix(".").split(_HOLE)
                word = _WORD.search(pieces[0])
                whole = word is not None and (word.end() < len(pieces[0]) or len(pieces) == 1)
                key = word[0] if word is not None and whole else ""
                forms.setdefault(key, []).append(_Form(pieces, alone, line, curated))
    return forms


@cache
def program_words() -> dict[str, tuple[str, ...]]:
    """By program, words beside which its short texts are its own."""
    lines = (FOLDER / "programs.tsv").read_text("utf-8").splitlines()[1:]
    split = (line.partition("\t") for line in lines)
    return {name: tuple(map(folded, words.split(" | "))) for name, _, words in split}


def matches(line: str) -> list[Match]:
    """The rows that are in a line (`parse.plain`), most telling first, none inside another."""
    text = folded(line)
    words = program_words()
    here = {name for name, its in words.items() if any(word in text for word in its)}
    found: dict[tuple[tuple[int, int], ...], list[tuple[bool, TableRow]]] = {}
    forms = _forms()
    for word in dict.fromkeys(["", *_WORD.findall(text)]):
        for pieces, alone, raw, own in forms.get(word, ()):
            spans = _spans(text, pieces)
            if spans:
                row = TableRow._make(raw.split("\t"))
                if alone or (row.program in here and _meant(text, spans[0], row)):
                    found.setdefault(spans, []).append((own, row))
    best = [_one_of(spans, same, here) for spans, same in found.items()]
    best.sort(key=lambda match: (match.rank, not match.curated, -match.length))
    longest = sorted(best, key=lambda match: -match.length)
    return [match for match in best[:_MOST_MATCHES] if not _inside_another(match, longest)]


def _spans(text: str, pieces: list[str]) -> tuple[tuple[int, int], ...]:
    """Where the pieces stand, in their order and as whole words; empty if they do not."""
    start = -1
    for _ in range(_MOST_PLACES):
        start = text.find(pieces[0], start + 1)
        if start < 0:
            break
        spans = [(start, start + len(pieces[0]))]
        for piece in pieces[1:]:
            end = spans[-1][1]
            at = text.find(piece, end, end + _LONGEST_HOLE + len(piece))
            if at < 0:
                break
            spans.append((at, at + len(piece)))
        if len(spans) == len(pieces) and _whole(text, start, spans[-1][1]):
            return tuple(spans)
    return ()


def _meant(text: str, span: tuple[int, int], row: TableRow) -> bool:
    """Whether a short spelling is one: a number beside a word for it, an alert's name likewise."""
    if _NUMBER.fullmatch(text, *span):
        return _CALLED.search(text, max(0, span[0] - 16), span[0]) is not None
    return row.kind != "alert" or "alert" in text


def _whole(text: str, start: int, end: int) -> bool:
    before = start > 0 and text[start].isalnum() and text[start - 1].isalnum()
    after = end < len(text) and text[end - 1].isalnum() and text[end].isalnum()
    return not (before or after)


def _one_of(
    spans: tuple[tuple[int, int], ...], same: list[tuple[bool, TableRow]], here: set[str]
) -> Match:
    """One row for all that share a text: our own, or of the program that speaks, or of all."""
    curated = same[0][0]
    known = [row for own, row in same if own or (row.program in here and not curated)]
    known = sorted(known or [row for _, row in same], key=lambda row: _RANK[row.kind])
    row = known[0]
    causes = dict.fromkeys(slug for each in known for slug in each.causes.split() if slug != "-")
    row = row._replace(
        causes=" ".join(causes) or "-",
        side=row.side if len({each.side for each in known}) == 1 else "-",
        refused=row.refused if len({each.refused for each in known}) == 1 else "unsaid",
        code=next((each.code for _, each in same if each.code != "-"), "-"),
        decides=next((each.decides for each in known if each.decides != "-"), "-"),
    )
    rank = _RANK[row.kind]
    without_reason = len(causes) > 4 or causes.keys() <= {"internal-error"}
    if row.kind in ("own-verdict", "reason") and without_reason:
        rank = VAGUE
    return Match(rank, curated, sum(end - start for start, end in spans), spans, row)


def _inside_another(match: Match, longest: list[Match]) -> bool:
    for other in longest:
        if other.length <= match.length:
            return False
        if other.row.kind != "line" and all(
            any(start >= left and end <= right for left, right in other.spans)
            for start, end in match.spans
        ):
            return True
    return False
