"""The chapter about attacks: each without mutual TLS and with it, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from rich.text import Text

from mtls_echo.attacks.lesson import (
    INTRODUCTION,
    NOT_PREVENTED,
    SCENES,
    WHY_THE_WEB_DOES_WITHOUT,
)
from mtls_echo.attacks.parties import Parties
from mtls_echo.attacks.scenes import AttackScene, Half
from mtls_echo.demo.blocks import Bullets, Prose, Section, Status, Table, bad, good


async def play(status: Status) -> list[Section]:
    """Play every attack both ways."""
    parties = Parties.make()
    sections = [Section("five attacks on a login", tuple(map(Prose, INTRODUCTION)))]
    for number, scene in enumerate(SCENES, start=1):
        status(f"attack {number} of {len(SCENES)}: {scene.title}")
        sections += _told(number, scene, await scene.play(parties))
    return [
        *sections,
        Section("what mutual TLS does not prevent", (Bullets(NOT_PREVENTED),)),
        Section("why the public web does without it", tuple(map(Prose, WHY_THE_WEB_DOES_WITHOUT))),
    ]


def _told(number: int, scene: AttackScene, halves: tuple[Half, Half]) -> Iterator[Section]:
    """What happens and whether the attack succeeds; then what both ends say of it, and why."""
    done = {
        "what mallory did": [half.happened for half in halves],
        "what mallory holds": [half.holds for half in halves],
    }
    yield Section(
        f"attack {number}: {scene.title}",
        (Prose(scene.story), _table(scene, done, tuple(map(_outcome, halves)))),
        tuple(f"{scene.title}: {text}" for text in scene.mismatches(halves)),
    )
    said = {
        "what alice's client says": [half.client for half in halves],
        "what the bank's server logs": [half.log for half in halves],
    }
    yield Section(
        f"attack {number}: what both ends say, and why", (_table(scene, said), Prose(scene.why))
    )


def _table(
    scene: AttackScene, told: Mapping[str, Sequence[Sequence[str]]], *below: tuple[Text, ...]
) -> Table:
    """A row for each thing that at least one of the two ways has something to say of."""
    told = {label: cells for label, cells in told.items() if any(cells)}
    rows = [tuple(map(_listed, cells)) for cells in told.values()]
    labels = (*told, *("" for _ in below))
    return Table(scene.headings, (*rows, *below), even=True, labels=labels)


def _listed(lines: Sequence[str]) -> Text:
    return Text("\n".join(f"- {line}" for line in lines) or "-")


def _outcome(half: Half) -> Text:
    return bad("the attack succeeds") if half.succeeded else good("the attack fails")
