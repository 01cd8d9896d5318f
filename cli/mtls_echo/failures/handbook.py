"""Write `docs/failures.md`, the handbook of failures, from the results of all failure cases.

A manual written by hand is out of date after the next release. This one is written by playing
every failure case (`mtls_echo.failures.registry`) and noting what each end reported; a test writes
it again and compares. So it contains nothing that differs from run to run: no dates, serial
numbers, ports or names of this machine.

What other programs print comes from a collection of real messages, each produced with the program
itself; where a program has no message for a failure, it is left out.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtls_echo.failures.case import FailureCase
from mtls_echo.failures.play import PlayedFailure
from mtls_echo.failures.registry import FAILURE_CASES
from mtls_echo.vocabulary import COMMAND_LINE
from mtls_echo_tls.alerts import AlertDescription
from mtls_echo_tls.causes import CAUSES, OWNERS
from mtls_echo_tls.diagnosis.perspective import Perspective, in_third_person
from mtls_echo_tls.diagnosis.report import Report
from mtls_echo_tls.sides import Side, peer_of
from mtls_echo_tls.slugs import Slug

SIDES: tuple[Side, Side] = ("client", "server")

# The programs that are quoted, in this order.
PROGRAMS = ("OpenSSL", "curl", "Python", "Go", "Java", "node")

_PREAMBLE = """\
# How handshakes fail

One entry for each way in which a TLS or mutual-TLS connection between a client and a server can
fail. This page is generated: `make docs` plays every failure for real, on this machine, between
the server and the client of this project, and writes down what each end reported. A test fails
when it is out of date. To watch one of them happen: `make observe ONE=expired`.

**If you are new to this.** A *certificate* says who has a key. A *CA* (certification authority)
signs certificates, and each side has a list of CAs that it trusts, its *trust anchors*. In mutual
TLS each side presents a certificate, and each verifies the other's. A side that does not accept
what it got sends an *alert*, a single number, and ends the connection. So every refusal has two
ends: the side that **refused** knows why, and the side that **was refused** knows little more than
the number. The first question is always who refused whom; both reports of this project begin with
the answer.

**How to read an entry.** The first table says, for each side at fault, what each end reports:
whether it refused or was refused, by which alert, and the cause that it names, in bold where it is
certain. Several causes mean that this end cannot know which of them it was, the most likely first.
The second table has each form of the failure; `both` is what remains when the two reports are
joined. *Code* is OpenSSL's verdict on a certificate (`verify_code`), the same in every program
that uses OpenSSL. Below is what to do about it, at either end, and what other programs print, with
`…` for what differs from case to case.
"""

_FREQUENT = """\
**The ten most frequent**, by {total} error texts from public issues and forums, with the number of
texts that name each:"""


@dataclass(frozen=True)
class QuotedMessage:
    """A message that another program printed for a failure.

    Attributes:
        stack: The program or library.
        cause: The most likely cause, by the message alone; "" where it tells none.
        rejected_by: "client", "server", "peer", "printer", "nobody" or "unsaid".
        side: Which side printed it; None where either can.
        alert: The number of the alert that the message names.
        is_cited: Whether it was found in the world, and not produced with the program.
    """

    stack: str
    text: str
    cause: str = ""
    rejected_by: str = "unsaid"
    side: str | None = None
    alert: int | None = None
    is_cited: bool = False

    @property
    def was_refused(self) -> bool:
        """Whether the side that printed it is the side that was refused."""
        if self.side in SIDES and self.rejected_by in SIDES:
            return self.side != self.rejected_by
        return self.rejected_by == "peer"


def read_messages(path: Path) -> list[QuotedMessage]:
    """The messages that were produced with the real programs, and those only cited."""
    entries: list[dict[str, Any]] = tomllib.loads(path.read_text("utf-8"))["text"]
    names = QuotedMessage.__dataclass_fields__
    return [
        QuotedMessage(
            **{name: value for name, value in entry.items() if name in names},
            is_cited=not entry["origin"].startswith("made: "),
        )
        for entry in entries
    ]


def _most_frequent(messages: Sequence[QuotedMessage]) -> list[tuple[Slug, int]]:
    """The ten causes that most of the cited messages name, with how many do."""
    counts = Counter(each.cause for each in messages if each.is_cited)
    known = sorted(CAUSES.keys() - {"internal-error"}, key=lambda slug: (-counts[slug], slug))
    return [(slug, counts[slug]) for slug in known[:10]]


_Results = tuple[FailureCase, Sequence[PlayedFailure]]
Played = Mapping[str, Sequence[_Results]]


def play_all() -> Played:
    """Play every failure case, and group the results by cause."""
    played: dict[str, list[_Results]] = {}
    for case in FAILURE_CASES:
        results = [case.play(version) for version in case.expected]
        played.setdefault(case.cause, []).append((case, results))
    return played


def page(played: Played, messages: Sequence[QuotedMessage]) -> str:
    """The handbook, as Markdown."""
    slugs = sorted(CAUSES)
    frequent = "\n".join(
        f"{place}. [{slug}](#{slug}): {_title(slug, played)} ({count})"
        for place, (slug, count) in enumerate(_most_frequent(messages), start=1)
    )
    contents = "\n".join(f"- [{slug}](#{slug}): {_title(slug, played)}" for slug in slugs)
    entries = ["\n\n".join(_entry(slug, played, messages)) for slug in slugs]
    total = sum(each.is_cited for each in messages)
    introduced = _FREQUENT.format(total=f"{total:,}")
    parts = [_PREAMBLE, introduced, frequent, "All of them:", contents, *entries]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


# --- one entry -----------------------------------------------------------------------------------


def _entry(slug: Slug, played: Played, messages: Sequence[QuotedMessage]) -> Iterator[str]:
    cases = played.get(slug, ())
    yield f"## {slug}"
    title = _title(slug, played)
    rfc = CAUSES[slug].rfc
    yield f"{title[:1].upper()}{title[1:]}." + (f" ({rfc})" if rfc else "")
    if cases:
        yield "\n".join(_both_ends(cases))
        yield "\n".join(_forms(cases))
        yield "\n".join(_table(cases))
    else:
        yield "Not played: it cannot be produced on one machine, or is not a failure of TLS."
    yield "**What to do**\n\n" + "\n".join(_remedies(slug, cases))
    if words := list(_words(slug, cases, messages)):
        yield "**What other programs print**\n\n" + "\n".join(words)


def _title(slug: Slug, played: Played) -> str:
    """The cause as a clause about the side at fault."""
    owners = _owners(played.get(slug, ()))
    owner = next(iter(owners)) if len(owners) == 1 else None
    return in_third_person(CAUSES[slug].clause, owner)


def _both_ends(cases: Sequence[_Results]) -> Iterator[str]:
    """A table: which side is at fault, by what each end reports of it."""
    yield "| at fault | the client reports | the server reports |"
    yield "|---|---|---|"
    for owner in (*SIDES, None):
        of_owner = [
            (result.reports[end], result)
            for case, results in cases
            for result in results
            if _owners([(case, [result])]) == {owner}
            for end in (0, 1)
        ]
        if of_owner:
            ends = (of_owner[0::2], of_owner[1::2])
            cells = [_reported(side, reports) for side, reports in zip(SIDES, ends, strict=True)]
            yield f"| {'the ' + owner if owner else 'neither'} | {' | '.join(cells)} |"


def _reported(side: Side, reports: Sequence[tuple[Report | None, PlayedFailure]]) -> str:
    """What one end reports, in all forms and versions together."""
    said: dict[str, dict[str, None]] = {}
    uncertain: set[str] = set()
    for report, result in reports:
        if report is None:
            said.setdefault("does not speak TLS", {})
            continue
        alert = AlertDescription[result.alert].name if result.alert is not None else "no alert"
        deed = {side: "refuses", None: "saw no refusal"}.get(
            report.rejected_by, f"is refused, {alert}"
        )
        said.setdefault(deed, {}).update(dict.fromkeys(report.causes))
        if len(report.causes) > 1:
            uncertain.add(deed)
    return "; ".join(
        f"{deed}: {', '.join(causes)}" if deed in uncertain else f"{deed}: **{', '.join(causes)}**"
        if causes else deed
        for deed, causes in said.items()
    )  # fmt: skip


def _forms(cases: Sequence[_Results]) -> Iterator[str]:
    """Each case of the failure once, for either side."""
    for case in {each.slug: each for each, _ in cases}.values():
        about = f" {case.about}" if case.about else ""
        yield f"- **{case.slug}**: {case.title}.{about}"


def _table(cases: Sequence[_Results]) -> Iterator[str]:
    """A table of what each side named, with equal lines of both versions joined."""
    lines: dict[tuple[str, ...], list[str]] = {}
    for case, results in cases:
        for result in results:
            cells = _cells(case, result)
            lines.setdefault(cells, []).append(result.version)
    yield "| failure | TLS | refused by | client named | server named | both | alert | code |"
    yield "|---|---|---|---|---|---|---|---|"
    for (name, *rest), versions in lines.items():
        yield f"| {name} | {', '.join(versions)} | {' | '.join(rest)} |"


def _cells(case: FailureCase, result: PlayedFailure) -> tuple[str, ...]:
    refuser = case.expected[result.version].refuser
    account = result.account
    client, server = result.reports
    verdicts = [report.verify_code for report in result.reports if report is not None]
    alert = "none"
    if result.alert is not None:
        alert = f"{result.alert} ({AlertDescription[result.alert].value})"
    return (
        case.name,
        refuser or "neither",
        _named(client),
        _named(server),
        ", ".join(account.causes) if account is not None else "-",
        alert,
        next((str(code) for code in verdicts if code is not None), "-"),
    )


def _named(report: Report | None) -> str:
    return "(does not speak TLS)" if report is None else ", ".join(report.causes)


def _remedies(slug: Slug, cases: Sequence[_Results]) -> Iterator[str]:
    """The hints for each end, as the two programs print them."""
    owners = _owners(cases)
    known: list[Side | None] = [side for side in SIDES if side in owners or not owners]
    hints = {
        (owner, side): _hint(slug, side, owner) for owner in known or [None] for side in SIDES
    }
    if len({*hints.values()}) == 1:
        yield f"- On either side: {next(iter(hints.values()))}."
        return
    for (owner, side), hint in hints.items():
        whose = f"If the fault is the {owner}'s, on" if len(known) > 1 else "On"
        yield f"- {whose} the {side}: {hint}."


def _hint(slug: Slug, side: Side, owner: Side | None) -> str:
    rejected_by = None if owner is None else peer_of(owner)
    always: Side | None = OWNERS.get(slug)
    return Perspective(side, rejected_by, always or owner, COMMAND_LINE).remedy(CAUSES[slug])


def _owners(cases: Sequence[_Results]) -> set[Side | None]:
    """The sides at fault: the one with the bad credential, or else the one that was refused."""
    owners: set[Side | None] = set()
    for case, results in cases:
        for result in results:
            refuser = case.expected[result.version].refuser
            owners.add(case.whose or (None if refuser is None else peer_of(refuser)))
    return owners


# --- what other programs print -------------------------------------------------------------------

# What differs from case to case, or names a place in a program's source.
_VARIABLE = (
    (re.compile(r"\b[0-9A-F]{16}:error:"), "…:error:"),
    (re.compile(r":\.\.[\w./]*:\d+:"), ":…:"),
    (re.compile(r"(localhost|127\.0\.0\.1):\d+"), r"\1:…"),
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:]+Z"), "…"),
    (re.compile(r"NotAfter: .*"), "NotAfter: …"),
    (re.compile(r"OpenSSL/[\d.]+"), "OpenSSL/…"),
    (re.compile(r"\(_ssl\.c:\d+\)"), "(_ssl.c:…)"),
    (re.compile(r"\s+"), " "),
)
_LONGEST = 160


def _words(
    slug: Slug, cases: Sequence[_Results], messages: Sequence[QuotedMessage]
) -> Iterator[str]:
    """Each program's messages for this cause, and for the alert that it leads to."""
    alerts = {
        AlertDescription[result.alert].value
        for _, results in cases
        for result in results
        if result.alert is not None
    }
    for program in PROGRAMS:
        own = [each for each in messages if each.stack == program and not each.is_cited]
        own_verdicts = [each for each in own if each.cause == slug and not each.was_refused]
        received = [each for each in own if each.was_refused and each.alert in alerts]
        if own_verdicts:
            yield f"- {program}: {_quoted(own_verdicts)}"
        if received:
            yield f"- {program}, when it was refused: {_quoted(received)}"


def _quoted(messages: Iterable[QuotedMessage]) -> str:
    phrases = dict.fromkeys(map(_phrase, messages))
    telling = [p for p in phrases if not any(q != p and q.startswith(p) for q in phrases)]
    return "; ".join(f"`{phrase}`" for phrase in telling)


def _phrase(message: QuotedMessage) -> str:
    """The message in one line, without what differs from case to case."""
    text = message.text
    for pattern, replacement in _VARIABLE:
        text = pattern.sub(replacement, text)
    text = text.strip().rstrip(":").replace("`", "'")
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


if __name__ == "__main__":
    sys.stdout.write(page(play_all(), read_messages(Path(sys.argv[1]))))
