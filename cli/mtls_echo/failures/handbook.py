"""The handbook of failures: `docs/failures.md`, written from what really happened.

A manual that says what "should" be seen is wrong after the next release, and nobody notices. This
one is written by playing every observation (`mtls_echo.failures.registry`) and noting what each
end reported; a test writes it again and compares. So it holds nothing that differs from run to
run: no dates, serial numbers, ports or names of this machine.

What other programs print comes from a collection of real messages, each produced with the
program itself; a program without a message for some failure is left out rather than guessed.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mtls_echo.failures.case import Observation
from mtls_echo.failures.play import Seen, Sighting
from mtls_echo.failures.registry import OBSERVATIONS
from mtls_echo_tls.alerts import AlertDescription
from mtls_echo_tls.diagnosis.causes import CAUSES, OWNERS
from mtls_echo_tls.diagnosis.wording import Words, in_third_person
from mtls_echo_tls.sides import Side, peer_of

SIDES: tuple[Side, Side] = ("client", "server")

# Whose words the handbook quotes, in this order.
PROGRAMS = ("OpenSSL", "curl", "Go", "Java", "node")

_PREAMBLE = """\
# How handshakes fail

One entry for each way in which a TLS or mutual-TLS connection between a client and a server can
fail. This page is generated: `make docs` plays every failure for real, on this machine, between
the server and the client of this project, and writes down what each end reported. A test fails
when it is out of date. To watch one of them happen: `make observe ONE=expired`.

**If you are new to this.** A *certificate* says whose a key is. An *authority* signs certificates,
and each side has a list of those that it believes, its *trust anchors*. In mutual TLS each side
shows the other a certificate, and each judges the other's. Whoever is not content sends an
*alert*, a single number, and ends the connection. So every refusal has two ends: the side that
**refused** knows why, and the side that **was refused** knows little more than the number. The
first question is always who refused whom; both reports of this project begin with the answer.

**How to read an entry.** The table says what each side named as the cause. Several causes mean
that this side cannot know which of them it was, the likeliest first; `both` is what the two
reports joined leave. *Code* is OpenSSL's verdict on a certificate (`verify_code`), the same in
every program that uses OpenSSL. Then what to do about it, at either end, and how other programs
put it: the words are theirs, `…` stands for what differs from case to case.
"""


@dataclass(frozen=True)
class Saying:
    """What a program printed when it met a failure.

    Attributes:
        stack: Which program or library.
        text: Its words.
        cause: The likeliest cause, by the words alone.
        rejected_by: "client", "server", "peer", "printer", "nobody" or "unsaid".
        side: Which side printed it; None where either can.
        alert: The alert that the words name.
    """

    stack: str
    text: str
    cause: str
    rejected_by: str
    side: str | None = None
    alert: int | None = None

    @property
    def was_refused(self) -> bool:
        """Whether whoever printed it is the side that was refused."""
        if self.side in SIDES and self.rejected_by in SIDES:
            return self.side != self.rejected_by
        return self.rejected_by == "peer"


def read_sayings(path: Path) -> list[Saying]:
    """The messages that were produced with the real programs; those only cited are left out."""
    entries: list[dict[str, Any]] = tomllib.loads(path.read_text("utf-8"))["saying"]
    names = Saying.__dataclass_fields__
    return [
        Saying(**{name: value for name, value in entry.items() if name in names})
        for entry in entries
        if entry["origin"].startswith("made: ") and entry["stack"] in PROGRAMS
    ]


Played = Mapping[str, Sequence[tuple[Observation, Sequence[Sighting]]]]


def play_all() -> Played:
    """Play every observation, and sort the sightings by cause."""
    played: dict[str, list[tuple[Observation, Sequence[Sighting]]]] = {}
    for observation in OBSERVATIONS:
        sightings = [observation.play(version) for version in observation.expected]
        played.setdefault(observation.cause, []).append((observation, sightings))
    return played


def page(played: Played, sayings: Sequence[Saying]) -> str:
    """The handbook, as Markdown."""
    slugs = sorted(CAUSES)
    parts = [
        _PREAMBLE,
        "\n".join(f"- [{slug}](#{slug}): {_title(slug, played)}" for slug in slugs),
    ]
    parts += ["\n\n".join(_entry(slug, played, sayings)) for slug in slugs]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


# --- one entry -----------------------------------------------------------------------------------


def _entry(slug: str, played: Played, sayings: Sequence[Saying]) -> Iterator[str]:
    observed = played.get(slug, ())
    yield f"## {slug}"
    title = _title(slug, played)
    rfc = CAUSES[slug].rfc
    yield f"{title[:1].upper()}{title[1:]}." + (f" ({rfc})" if rfc else "")
    if observed:
        yield "\n".join(_forms(observed))
        yield "\n".join(_sightings(observed))
    else:
        yield "Not observed: it cannot be produced on one machine, or is no failure of TLS."
    yield "**What to do**\n\n" + "\n".join(_remedies(slug, observed))
    words = list(_words(slug, observed, sayings))
    if words:
        yield "**How others put it**\n\n" + "\n".join(words)


def _title(slug: str, played: Played) -> str:
    """The cause as a clause about whoever has the fault."""
    owners = _owners(played.get(slug, ()))
    owner = next(iter(owners)) if len(owners) == 1 else None
    return in_third_person(CAUSES[slug].says, owner)


def _forms(observed: Sequence[tuple[Observation, Sequence[Sighting]]]) -> Iterator[str]:
    """Each form in which the failure was observed, once, whoever's it was."""
    for observation in {each.slug: each for each, _ in observed}.values():
        about = f" {observation.about}" if observation.about else ""
        yield f"- **{observation.slug}**: {observation.title}.{about}"


def _sightings(observed: Sequence[tuple[Observation, Sequence[Sighting]]]) -> Iterator[str]:
    """A table: what each side named, lines that are equal in both versions only once."""
    lines: dict[tuple[str, ...], list[str]] = {}
    for observation, sightings in observed:
        for sighting in sightings:
            cells = _cells(observation, sighting)
            lines.setdefault(cells, []).append(sighting.version)
    yield "| observed | TLS | refused by | client named | server named | both | alert | code |"
    yield "|---|---|---|---|---|---|---|---|"
    for (name, *rest), versions in lines.items():
        yield f"| {name} | {', '.join(versions)} | {' | '.join(rest)} |"


def _cells(observation: Observation, sighting: Sighting) -> tuple[str, ...]:
    refuser = observation.expected[sighting.version].refuser
    account = sighting.account
    reports = [seen.report for seen in (sighting.client, sighting.server) if seen is not None]
    codes = [report.verify_code for report in reports if report.verify_code is not None]
    alert = "none"
    if sighting.alert is not None:
        alert = f"{sighting.alert} ({AlertDescription[sighting.alert].value})"
    return (
        observation.name,
        refuser or "nobody",
        _named(sighting.client),
        _named(sighting.server),
        ", ".join(account.causes) if account is not None else "-",
        alert,
        str(codes[0]) if codes else "-",
    )


def _named(seen: Seen | None) -> str:
    return "(speaks no TLS)" if seen is None else ", ".join(seen.report.causes)


def _remedies(
    slug: str, observed: Sequence[tuple[Observation, Sequence[Sighting]]]
) -> Iterator[str]:
    """What either end is told to do; the same hints that the two programs print."""
    owners = _owners(observed)
    known: list[Side | None] = [side for side in SIDES if side in owners or not owners]
    hints: dict[tuple[Side | None, Side], str] = {}
    for owner in known or [None]:
        for side in SIDES:
            hints[owner, side] = _hint(slug, side, owner)
    if len({*hints.values()}) == 1:
        yield f"- On either side: {next(iter(hints.values()))}."
        return
    for (owner, side), hint in hints.items():
        whose = f"If the fault is the {owner}'s, on" if len(known) > 1 else "On"
        yield f"- {whose} the {side}: {hint}."


def _hint(slug: str, side: Side, owner: Side | None) -> str:
    rejected_by = None if owner is None else peer_of(owner)
    always: Side | None = OWNERS.get(slug)
    return Words(side, rejected_by, always or owner).remedy(CAUSES[slug])


def _owners(observed: Sequence[tuple[Observation, Sequence[Sighting]]]) -> set[Side | None]:
    """Whose fault it was: of the one with the bad credential, or else of the one refused."""
    owners: set[Side | None] = set()
    for observation, sightings in observed:
        for sighting in sightings:
            refuser = observation.expected[sighting.version].refuser
            refused = None if refuser is None else peer_of(refuser)
            owners.add(observation.whose or refused)
    return owners


# --- how others put it ---------------------------------------------------------------------------

# What differs from case to case, or is only where in a program's source something happened.
_VARIABLE = (
    (re.compile(r"\b[0-9A-F]{16}:error:"), "…:error:"),
    (re.compile(r":\.\.[\w./]*:\d+:"), ":…:"),
    (re.compile(r"(localhost|127\.0\.0\.1):\d+"), r"\1:…"),
    (re.compile(r"\d{4}-\d\d-\d\dT[\d:]+Z"), "…"),
    (re.compile(r"NotAfter: .*"), "NotAfter: …"),
    (re.compile(r"OpenSSL/[\d.]+"), "OpenSSL/…"),
    (re.compile(r"\s+"), " "),
)
_LONGEST = 160


def _words(
    slug: str,
    observed: Sequence[tuple[Observation, Sequence[Sighting]]],
    sayings: Sequence[Saying],
) -> Iterator[str]:
    """Each program's words for this cause, or else for the alert that it leads to."""
    alerts = {
        AlertDescription[sighting.alert].value
        for _, sightings in observed
        for sighting in sightings
        if sighting.alert is not None
    }
    for program in PROGRAMS:
        own = [each for each in sayings if each.stack == program]
        judged = [each for each in own if each.cause == slug and not each.was_refused]
        received = [each for each in own if each.was_refused and each.alert in alerts]
        if judged:
            yield f"- {program}: {_quoted(judged)}"
        if received:
            yield f"- {program}, when it was refused: {_quoted(received)}"


def _quoted(sayings: Iterable[Saying]) -> str:
    phrases = dict.fromkeys(map(_phrase, sayings))
    telling = [p for p in phrases if not any(q != p and q.startswith(p) for q in phrases)]
    return "; ".join(f"`{phrase}`" for phrase in telling)


def _phrase(saying: Saying) -> str:
    """The words without what differs from case to case, and in one line."""
    text = saying.text
    for pattern, replacement in _VARIABLE:
        text = pattern.sub(replacement, text)
    text = text.strip().rstrip(":").replace("`", "'")
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


if __name__ == "__main__":
    sys.stdout.write(page(play_all(), read_sayings(Path(sys.argv[1]))))
