"""Write `docs/why-mtls.md` from what happens when the scenes are played.

As `docs/failures.md` it cannot go out of date: a test writes it again and compares. What differs
from run to run, the cost of a guess, is left out. The claims at its end are those of the modules
in `tests/attacks`, in the words of their docstrings.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import trio

from mtls_echo.attacks.lesson import (
    INTRODUCTION,
    NOT_PREVENTED,
    SCENES,
    WHY_THE_WEB_DOES_WITHOUT,
)
from mtls_echo.attacks.parties import Parties
from mtls_echo.attacks.run import rows
from mtls_echo.attacks.scenes import AttackScene, Half
from mtls_echo.console import wrap

_PREAMBLE = """\
# Why mutual TLS

What it stops, what it does not, and why the public web does without it. This page is generated:
`make docs` plays every attack for real and writes down what the attacker got and what both ends
said; a test fails when it is out of date. `mtls-echo demo --attacks` plays them on a terminal.
"""

_CLAIMS = """\
## What is claimed, and tested

Each line is one module in `tests/attacks/`. Its tests attack the server and the client of this
project, in TLS 1.2 and 1.3, most of them through a relay on the path, and assert which end noticed
and what both reported: the cause, and the alert."""

_WIDTH = 100

_VARIABLE = re.compile(r"[\d.]+ ms")

Played = Sequence[tuple[AttackScene, tuple[Half, Half]]]


async def play_scenes() -> Played:
    """Play every scene."""
    parties = Parties.make()
    return [(scene, await scene.play(parties)) for scene in SCENES]


class Claim(NamedTuple):
    """What a module of tests claims, and which end notices the attack."""

    text: str
    noticed: str


def read_claims(folder: Path) -> dict[str, Claim]:
    """Each module's claim by its name: the first paragraph of its docstring, and the last."""
    claims: dict[str, Claim] = {}
    for path in sorted(folder.glob("test_*.py")):
        docstring = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
        paragraphs = [" ".join(each.split()) for each in docstring.split("\n\n")]
        first, last = paragraphs[0].removeprefix("Claim: "), paragraphs[-1]
        noticed = last.removeprefix("Noticed by ").rstrip(".")
        claims[path.stem] = Claim(f"{first[:1].upper()}{first[1:]}", noticed)
    return claims


def page(played: Played, claims: dict[str, Claim]) -> str:
    """The page, as Markdown."""
    parts = [_PREAMBLE, *map(_wrapped, INTRODUCTION)]
    for number, (scene, halves) in enumerate(played, start=1):
        parts += [f"## {number}. {scene.title[0].upper()}{scene.title[1:]}"]
        parts += [_wrapped(scene.story), "\n".join(_table(scene, halves)), _wrapped(scene.why)]
    parts += [
        "## What mutual TLS does not prevent",
        "\n".join(_wrapped("- **{}.** {}".format(*_split(each))) for each in NOT_PREVENTED),
        "## Why the public web does without it",
        *map(_wrapped, WHY_THE_WEB_DOES_WITHOUT),
        _CLAIMS,
        "\n".join(_claims_table(claims)),
    ]
    return "\n\n".join(part.strip("\n") for part in parts) + "\n"


def _wrapped(text: str) -> str:
    return "\n".join(wrap(text, _WIDTH, "  " if text.startswith("- ") else ""))


def _split(text: str) -> tuple[str, str]:
    first, _, rest = text.partition(". ")
    return first, rest


def _table(scene: AttackScene, halves: tuple[Half, Half]) -> Iterator[str]:
    yield f"| | {scene.headings[0]} | {scene.headings[1]} |"
    yield "|---|---|---|"
    for label, cells in rows(*halves):
        yield f"| {label} | {' | '.join(map(_cell, cells))} |"
    ends = ("**succeeds**" if half.succeeded else "**fails**" for half in halves)
    yield f"| the attack | {' | '.join(ends)} |"


def _claims_table(claims: dict[str, Claim]) -> Iterator[str]:
    yield "| claim | noticed by | tested in |"
    yield "|---|---|---|"
    for module, claim in claims.items():
        yield f"| {claim.text} | {claim.noticed} | `{module}` |"


def _cell(lines: Sequence[str]) -> str:
    return _VARIABLE.sub("… ms", "<br>".join(lines)) or "-"


if __name__ == "__main__":
    sys.stdout.write(page(trio.run(play_scenes), read_claims(Path(sys.argv[1]))))
