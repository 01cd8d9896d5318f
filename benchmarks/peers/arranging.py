"""Which cases are played: every fault with every foreign stack, in both roles and both versions.

All of it with the CAs of every tool would be five times as much. Unless that is asked for, the
tools take turns, so that each stack and each fault meets the certificates of each tool.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from benchmarks.peers.faults import JUDGES, Fault, Judge, World, faults
from benchmarks.peers.meeting import Meeting
from benchmarks.peers.profiles import PROFILES
from benchmarks.peers.stacks import STACKS, Part, Stack
from benchmarks.worlds import BOTH, OTHER, Side

VERSIONS = ("1.2", "1.3")
_OTHER_VERSION = {"1.2": "1.3", "1.3": "1.2"}

# A case on one core, as measured on a machine of 2026; said at the start, and nothing else.
SECONDS_EACH = 1.4


@dataclass(frozen=True)
class Turns:
    """The worlds, and the faults in each, by slug; presenters of either side.

    Attributes:
        worlds: One for each tool whose certificates take part.
        every: Whether each case is played with each of them.
    """

    worlds: tuple[World, ...]
    every: bool

    def __post_init__(self) -> None:
        known = {
            (world.profile.name, owner): {fault.slug: fault for fault in faults(world, owner)}
            for world in self.worlds
            for owner in BOTH
        }
        object.__setattr__(self, "_known", known)

    def slugs(self, owner: Side) -> list[str]:
        """Of all faults of this side."""
        found = [slug for world in self.worlds for slug in self._faults(world, owner)]
        return list(dict.fromkeys(found))

    def worlds_of(self, owner: Side, slug: str, turn: int) -> Iterator[tuple[World, Fault]]:
        """The worlds whose turn it is, of those that know the fault."""
        able = [world for world in self.worlds if slug in self._faults(world, owner)]
        chosen = able if self.every else [able[turn % len(able)]]
        for world in chosen:
            yield world, self._faults(world, owner)[slug]

    def _faults(self, world: World, owner: Side) -> dict[str, Fault]:
        known: dict[tuple[str, Side], dict[str, Fault]] = vars(self)["_known"]
        return known[world.profile.name, owner]


def stacks_of(names: Iterable[str]) -> tuple[list[Stack], dict[str, str]]:
    """The stacks of these names that are installed, and why the others cannot take part."""
    chosen = [stack for stack in STACKS if stack.name in set(names)]
    missing = {stack.name: why for stack in chosen if (why := stack.missing())}
    return [stack for stack in chosen if stack.name not in missing], missing


def worlds_of(names: Iterable[str]) -> tuple[World, ...]:
    """The PKIs of these tools."""
    return tuple(World(profile) for profile in PROFILES if profile.name in set(names))


def arrange(stacks: Sequence[Stack], turns: Turns, only: str | None = None) -> Iterator[Meeting]:
    """All cases, or those of one fault."""
    turn = 0
    for stack in stacks:
        for side in stack.sides:
            for tls in VERSIONS:
                for meeting in _with(stack, side, tls, turns, turn):
                    if only in (None, meeting.fault.slug):
                        yield meeting
                turn += 1


def _with(stack: Stack, side: Side, tls: str, turns: Turns, turn: int) -> Iterator[Meeting]:
    for judge in JUDGES:
        owner = side if judge == "ours" else OTHER[side]
        for number, slug in enumerate(turns.slugs(owner)):
            for world, fault in turns.worlds_of(owner, slug, turn + number):
                needed = "" if judge == "ours" and fault.crls else fault.needs
                if judge in fault.judges and stack.plays(side, needed):
                    yield _judged(stack, side, tls, world, judge, fault)
    for number, slug in enumerate(("no-common-version", "no-common-cipher")):
        needed = ""
        if slug == "no-common-cipher":
            needed = "cipher 1.3" if tls == "1.3" else "cipher"
        for world, _ in turns.worlds_of(side, "sound", turn + number):
            if stack.plays(side, needed):
                yield _negotiated(stack, side, tls, world, slug)


def _judged(
    stack: Stack, side: Side, tls: str, world: World, judge: Judge, fault: Fault
) -> Meeting:
    presents = bool(fault.chain) if judge == "ours" else True
    part = Part(side, tls, presents)
    if judge == "theirs":
        part = replace(part, crl=bool(fault.crls), strict=fault.needs == "strict")
        part = replace(part, refuses_ed25519=fault.needs == "key-type")
    elif fault.needs == "weak-key":
        part = replace(part, weak=True)
    sound = world.chain(side if judge == "theirs" else OTHER[side])
    # Who has a key of a kind that the other side does not take has nothing to present: a server
    # gives up by itself, a client goes on without a certificate.
    refuser: Side | None = "server" if fault.needs == "key-type" else None
    return Meeting(
        *(stack, part, fault, judge, world.profile.name, sound, world.root, tls),
        refuser=refuser,
    )


def _negotiated(stack: Stack, side: Side, tls: str, world: World, slug: str) -> Meeting:
    part = Part(side, tls)
    options: tuple[str, ...] = ()
    if slug == "no-common-version":
        part = replace(part, tls=_OTHER_VERSION[tls])
        if side == "client":
            options = (f"--{'min' if tls == '1.3' else 'max'}-version={tls}",)
    else:
        part = replace(part, cipher=True)
    fault = Fault(slug, frozenset((slug,)), world.chain(OTHER[side]))
    judge: Judge = "theirs" if side == "server" else "ours"
    chains = {"theirs": world.chain(side), "ours": world.chain(OTHER[side])}
    fault = replace(fault, chain=chains["ours" if judge == "theirs" else "theirs"])
    sound = chains[judge]
    return Meeting(
        *(stack, part, fault, judge, world.profile.name, sound, world.root, tls, options),
        refuser="server",
    )
