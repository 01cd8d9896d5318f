"""`mtls-echo demo --attacks`: each attack without mutual TLS and with it, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from mtls_echo.attacks.lesson import (
    INTRODUCTION,
    NOT_PREVENTED,
    SCENES,
    WHY_THE_WEB_DOES_WITHOUT,
)
from mtls_echo.attacks.parties import Parties
from mtls_echo.attacks.scenes import AttackScene, Half
from mtls_echo.console import wrap
from mtls_echo.demo import drawing

if TYPE_CHECKING:
    from rich.console import Console


async def show_attacks(console: Console) -> list[str]:
    """Play every scene, and return what did not happen as announced."""
    parties, mismatches = Parties.make(), list[str]()
    for text in INTRODUCTION:
        drawing.show_paragraph(console, text)
    for number, scene in enumerate(SCENES, start=1):
        console.rule(f"[bold]{number}. {scene.title}", characters=drawing.bar(console))
        console.print()
        drawing.show_paragraph(console, scene.story)
        halves = await scene.play(parties)
        _show_halves(console, scene, halves)
        drawing.show_paragraph(console, scene.why)
        wrong = scene.mismatches(halves)
        mismatches += [f"{scene.title}: {text}" for text in wrong]
        if wrong:
            console.print(f"{drawing.outcome(wrong, '')}\n")
    _conclude(console, mismatches)
    return mismatches


def _show_halves(console: Console, scene: AttackScene, halves: tuple[Half, Half]) -> None:
    """Print both ways side by side; in a narrow terminal, one below the other."""
    if console.width < drawing.TWO_COLUMNS:
        for heading, half in zip(scene.headings, halves, strict=True):
            console.print(Text(heading, "bold"))
            for label, (lines,) in rows(half):
                console.print(Text.assemble((f"{label}:\n", "dim"), _listed(lines, console.width)))
            console.print(_outcome(half))
            console.print()
        return
    table = Table(box=None, expand=True, padding=(0, 1), header_style="bold")
    for heading in scene.headings:
        table.add_column(heading, ratio=1)
    room = console.width // 2 - 2
    for label, (left, right) in rows(*halves):
        table.add_row()
        table.add_row(Text(f"{label}:", "dim"))
        table.add_row(_listed(left, room), _listed(right, room))
    table.add_row()
    table.add_row(*map(_outcome, halves))
    console.print(table)
    console.print()


def rows(*halves: Half) -> Iterator[tuple[str, tuple[Sequence[str], ...]]]:
    """What there is to say of some halves, each with its label; without what none of them has."""
    found = {
        "what mallory did": tuple(half.happened for half in halves),
        "what mallory holds": tuple(half.holds for half in halves),
        "what alice's client says": tuple(half.client for half in halves),
        "what the bank's server logs": tuple(half.log for half in halves),
    }
    return ((label, each) for label, each in found.items() if any(each))


def _listed(lines: Sequence[str], width: int) -> Text:
    wrapped = [wrap(f"- {line}", width, "  ") for line in lines] or [["-"]]
    return Text("\n".join(line for each in wrapped for line in each))


def _outcome(half: Half) -> Text:
    if half.succeeded:
        return Text("the attack succeeds", "bold red")
    return Text("the attack fails", "bold green")


def _conclude(console: Console, mismatches: list[str]) -> None:
    console.rule(characters=drawing.bar(console))
    console.print(f"[bold]{len(SCENES)} attacks, {drawing.summary(mismatches)}.[/]\n")
    console.print("[bold]What mutual TLS does not prevent[/]\n")
    for text in NOT_PREVENTED:
        console.print(_listed([text], console.width))
    console.print("\n[bold]Why the public web does without it[/]\n")
    for text in WHY_THE_WEB_DOES_WITHOUT:
        drawing.show_paragraph(console, text)
