"""Play every fault with foreign stacks, and print how our end explained it."""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.peers.arranging import SECONDS_EACH, Turns, arrange, stacks_of, worlds_of
from benchmarks.peers.grading import GOAL, GOAL_FALSE, GRADED, Outcome
from benchmarks.peers.meeting import Meeting
from benchmarks.peers.profiles import PROFILES
from benchmarks.peers.stacks import STACKS, Built
from benchmarks.processes import facts_of

STACK_NAMES = tuple(stack.name for stack in STACKS)
CA_NAMES = tuple(profile.name for profile in PROFILES)

_JUDGED = {"theirs": "the peer judges our certificate", "ours": "we judge the peer's certificate"}


def measure(
    python: str,
    peers: Sequence[str] = STACK_NAMES,
    cas: Sequence[str] = CA_NAMES,
    *,
    every_ca: bool = False,
    only: str | None = None,
    output: Path | None = None,
) -> bool:
    """Play all of it, print it, and return whether the goals were met.

    Args:
        python: The interpreter that runs our end.
        peers: Names of stacks.
        cas: Names of tools.
        every_ca: Whether each case is played with the certificates of each tool, in place of one
            of them in turn.
        only: The fault to play; None: all.
        output: Where everything is written as JSON.
    """
    stacks, missing = stacks_of(peers)
    for name, why in missing.items():
        print(f"not tried: {name}: {why}")
    facts = {**facts_of(python), **{stack.name: stack.version() for stack in stacks}}
    worlds = worlds_of(cas)
    made = {f"CA of {world}": world.made_by for world in worlds}
    meetings = list(arrange(stacks, Turns(worlds, every_ca), only))
    if not meetings:
        sys.exit(f"error: no case is played with {only or 'these peers'}")
    cores = os.cpu_count() or 1
    minutes = max(1, round(len(meetings) * SECONDS_EACH / cores / 60))
    print("  ".join(f"{name} {value}" for name, value in facts.items()))
    print("  ".join(f"{name}: {by}" for name, by in made.items()))
    print(f"{len(meetings)} cases, about {minutes} min on {cores} cores", flush=True)

    outcomes: list[Outcome] = []
    with TemporaryDirectory(prefix="mtls-echo-peers-") as folder:
        Built.build(Path(folder), {stack.name for stack in stacks})
        for outcome in _played(meetings, python, cores):
            outcomes.append(outcome)
            _print_outcome(outcome)
    print_summary(outcomes)
    for name, why in missing.items():
        print(f"not tried: {name}: {why}")
    if output:
        everything = {"facts": facts, "made": made, "not tried": missing}
        found = [asdict(outcome) for outcome in outcomes]
        output.write_text(json.dumps({**everything, "outcomes": found}, indent=1))
    return goals_met(outcomes)


def _played(meetings: Sequence[Meeting], python: str, cores: int) -> Iterator[Outcome]:
    show = sys.stderr.isatty()
    with ThreadPoolExecutor(cores) as pool:
        played = pool.map(partial(_play, python=python), meetings)
        for number, outcome in enumerate(played, 1):
            if show:
                print(f"\r{number}/{len(meetings)} ", end="", file=sys.stderr, flush=True)
            yield outcome
    if show:
        print("\r\033[K", end="", file=sys.stderr)


def _play(meeting: Meeting, python: str) -> Outcome:
    return meeting.play(python)


def goals_met(outcomes: Sequence[Outcome]) -> bool:
    """Whether the first cause is right often enough, and none is certain and false.

    What one end cannot know counts for neither, if the truth is among the causes it names.
    """
    counts = Counter(outcome.grade for outcome in outcomes)
    total = sum(counts[grade] for grade in GRADED)
    total -= sum(one.undecidable and one.grade == "within" for one in outcomes)
    right = counts["exact"] + counts["first"]
    return counts["false"] <= GOAL_FALSE and right >= GOAL * total


def _print_outcome(outcome: Outcome) -> None:
    if outcome.grade == "not played":
        print(f"NOT PLAYED {outcome}: {outcome.note}")
        return
    odd = [outcome.grade.upper()] if outcome.grade in ("within", "wrong", "false") else []
    if outcome.refuser_right is False and outcome.report:
        odd.append(f"REFUSER {outcome.report['rejected_by']}")
    if outcome.culprit_named is False:
        odd.append("CA NOT NAMED")
    if odd:
        truth = ", ".join(outcome.causes) or "nothing wrong"
        named = ", ".join(outcome.named) or "none"
        print(f"{', '.join(odd)} {outcome}: the truth is {truth}; named: {named}")


def print_summary(outcomes: Sequence[Outcome]) -> None:
    """The tables: for either judge, a line for each stack and role."""
    for judge, title in _JUDGED.items():
        chosen = [outcome for outcome in outcomes if outcome.judge == judge]
        if chosen:
            print(f"\n{title}\n")
            _print_table(chosen)
    print()
    counts = Counter(outcome.grade for outcome in outcomes)
    total = sum(counts[grade] for grade in GRADED)
    right = counts["exact"] + counts["first"]
    share = f"{right / max(total, 1):.0%}; goal {GOAL:.0%}"
    print(f"first cause right {right} of {total} ({share})")
    alike = [outcome for outcome in outcomes if outcome.undecidable]
    named = sum(outcome.grade == "within" for outcome in alike)
    print(
        f"  one end alone could not have known {len(alike)} of the others; {named} name it after"
    )
    print(f"certain and false {counts['false']} (goal {GOAL_FALSE})")


def _print_table(outcomes: Sequence[Outcome]) -> None:
    titles = ("first right", *GRADED, "refuser", "CA named", "accepted", "met", "not played")
    print(f"{'':16}" + "".join(f"{title:>12}" for title in titles))
    rows = dict.fromkeys((outcome.stack, outcome.side) for outcome in outcomes)
    for stack, side in rows:
        chosen = [one for one in outcomes if (one.stack, one.side) == (stack, side)]
        print(f"{f'{stack} {side}':16}" + "".join(f"{cell:>12}" for cell in _cells(chosen)))
    print(f"{'all':16}" + "".join(f"{cell:>12}" for cell in _cells(outcomes)))


def _cells(outcomes: Sequence[Outcome]) -> list[str]:
    counts = Counter(outcome.grade for outcome in outcomes)
    total = sum(counts[grade] for grade in GRADED)
    right = counts["exact"] + counts["first"]
    refusers = Counter(one.refuser_right for one in outcomes)
    culprits = Counter(one.culprit_named for one in outcomes)
    sound = sum(not one.causes for one in outcomes)
    return [
        f"{right}/{total}",
        *(str(counts[grade]) for grade in GRADED),
        f"{refusers[True]}/{refusers[True] + refusers[False]}",
        f"{culprits[True]}/{culprits[True] + culprits[False]}",
        str(counts["accepted"]),
        f"{counts['met']}/{sound}",
        str(counts["not played"]),
    ]
