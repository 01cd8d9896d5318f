"""`mtls-echo demo --endpoints`: many servers under many authorities, and what becomes of them.

The configuration is shown and every endpoint is tried; then things change while the monitor is
watching, and after each change the table is printed as soon as it shows what was announced. A
change that does not show in time is a surprise, and the demonstration fails.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from mtls_echo.commands.endpoints.table import draw
from mtls_echo.demo.drawing import bar, show_command, show_paragraph
from mtls_echo.demo.endpoints.servers import House, Town
from mtls_echo_client.endpoints.configuration.read import read_configuration
from mtls_echo_client.endpoints.discovery.planner import Planner
from mtls_echo_client.endpoints.monitor.monitor import Monitor
from mtls_echo_client.endpoints.monitor.status import Status, verdict
from mtls_echo_pki.files.durable import os_reason
from mtls_echo_pki.files.staging import DirectoryError

if TYPE_CHECKING:
    from rich.console import Console

# Seconds between two checks, and how long a change may take to show.
_INTERVAL = 2.0
_PATIENCE = 20.0

# Seconds for which a table stands still on a terminal.
_PAUSE = 3.0


@dataclass(frozen=True)
class _Step:
    """One change.

    Attributes:
        title: What is done.
        why: What it shows.
        change: Does it.
        expected: What becomes of each server, in the order of the table.
        status: What the command would end with then.
    """

    title: str
    why: str
    change: Callable[[], Awaitable[object]]
    expected: tuple[tuple[House, str, str], ...]
    status: int


async def tour(console: Console, keep: Path | None, command: str) -> list[str]:
    """Show it all.

    Args:
        console: Where.
        keep: A folder to make everything in, and to leave there; then the servers go on until
            Ctrl-C. None: a temporary one.
        command: How this program is called here, for what can be typed.

    Returns:
        What did not happen as announced.

    Raises:
        DirectoryError: The folder cannot be used.
    """
    with _folder(keep) as folder:
        town = Town(folder)
        load = partial(read_configuration, town.configuration)
        planner = Planner(load, interval=0.2)
        monitor = Monitor(check_interval=_INTERVAL, file_interval=0.2)
        async with trio.open_nursery() as nursery:
            await town.open(nursery)
            _introduce(console, town)
            monitor.update(await planner.once())
            nursery.start_soon(monitor.run)
            nursery.start_soon(planner.run, monitor.update)
            surprises: list[str] = []
            for number, step in enumerate(_steps(town, nursery), start=1):
                if number > 1 and console.is_terminal:
                    await trio.sleep(_PAUSE)
                surprises += await _play(console, number, step, monitor)
            _conclude(console, surprises)
            if keep is not None:
                _invite(console, town, command)
                await trio.sleep_forever()
            nursery.cancel_scope.cancel()
    return surprises


def _steps(town: Town, nursery: trio.Nursery) -> Sequence[_Step]:
    ada, bob, carol = (town.ada, "up", ""), (town.bob, "up", ""), (town.carol, "up", "")
    stranger = (town.stranger, "down", "unknown-authority")

    async def nothing() -> None:
        await trio.lowlevel.checkpoint()

    async def forget_the_stranger() -> None:
        town.name_targets(town.carol)
        await trio.lowlevel.checkpoint()

    async def replace() -> None:
        town.trust_another_authority()
        await trio.lowlevel.checkpoint()

    async def put_back() -> None:
        town.trust_the_right_authority()
        await trio.lowlevel.checkpoint()

    return (
        _Step(
            "every endpoint is tried",
            "Three have echoed. The stranger was refused, and is not admitted: it never echoed.",
            nothing,
            (ada, bob, carol, stranger),
            0,
        ),
        _Step(
            "a strict server stops",
            "It is kept and tried again and again, and the exit status would be 3.",
            town.bob.close,
            (ada, (town.bob, "down", "no-connection"), carol, stranger),
            3,
        ),
        _Step(
            "it is started again",
            "Nobody had to be told.",
            partial(town.bob.open, nursery),
            (ada, bob, carol, stranger),
            0,
        ),
        _Step(
            "the target file is edited: the stranger is gone from it",
            "Discovered endpoints come and go with their file.",
            forget_the_stranger,
            (ada, bob, carol),
            0,
        ),
        _Step(
            "trusted.crt, the first group's ca_file, is replaced by another authority",
            "Both of its servers are refused at once; the other group is not touched.",
            replace,
            (
                (town.ada, "down", "unknown-authority"),
                (town.bob, "down", "unknown-authority"),
                carol,
            ),
            4,
        ),
        _Step(
            "the right one is put back",
            "And all is as it was.",
            put_back,
            (ada, bob, carol),
            0,
        ),
    )


async def _play(console: Console, number: int, step: _Step, monitor: Monitor) -> list[str]:
    console.rule(f"[bold]{number}. {step.title}", characters=bar(console))
    await step.change()
    revision = -1
    with trio.move_on_after(_PATIENCE):
        while _found(monitor.snapshot()) != _announced(step):
            revision = await monitor.wait_for_change(revision)
    statuses = monitor.snapshot()
    console.print(draw(statuses, monitor.problems, console, in_full=False))
    wrong = [] if _found(statuses) == _announced(step) else ["the table does not show it"]
    if verdict(statuses) != step.status:
        wrong.append(f"the exit status would be {verdict(statuses)}, not {step.status}")
    if wrong:
        console.print(f"\n[bold red]not as announced:[/] {'; '.join(wrong)}\n")
    else:
        console.print(f"\n[bold green]as announced:[/] {step.why}\n")
    return [f"{step.title}: {text}" for text in wrong]


def _announced(step: _Step) -> list[tuple[str, str, str]]:
    return [(house.address, state, cause) for house, state, cause in step.expected]


def _found(statuses: Sequence[Status]) -> list[tuple[str, str, str]]:
    return [
        (
            str(each.endpoint.address),
            each.state,
            (each.report.causes or [""])[0] if each.report else "",
        )
        for each in statuses
    ]


@contextlib.contextmanager
def _folder(keep: Path | None) -> Generator[Path]:
    if keep is not None:
        try:
            keep.mkdir(parents=True, exist_ok=True)
            taken = any(keep.iterdir())
        except OSError as error:
            reason = os_reason(error)
            raise DirectoryError(f"{keep}: {reason}") from error
        if taken:
            raise DirectoryError(f"{keep}: is not empty", "name a folder that does not exist yet")
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="mtls-echo-") as made:
        yield Path(made)


# --- what is printed -----------------------------------------------------------------------------


def _introduce(console: Console, town: Town) -> None:
    show_paragraph(
        console,
        "Four servers, all real and on this machine only. The certificates of two come from one"
        " CA, that of the third from another; the fourth has a certificate from a CA that the"
        " client does not trust. The client connects to all of them. Its configuration,"
        " endpoints.yaml:",
    )
    console.print(town.configuration.read_text("utf-8"), markup=False)
    console.print("and what its endpoints_sd_files finds, targets/archive.json:\n")
    found = (town.folder / "targets" / "archive.json").read_text("utf-8")
    console.print(found, markup=False)


def _conclude(console: Console, surprises: list[str]) -> None:
    verdict = "all as announced" if not surprises else f"{len(surprises)} things not as announced"
    console.rule(characters=bar(console))
    console.print(f"[bold]{verdict}.[/]")


def _invite(console: Console, town: Town, command: str) -> None:
    console.print("\nThe servers go on until Ctrl-C. In another terminal:\n")
    show_command(
        console, f"{command} endpoints --endpoint.config-file {town.configuration} --watch"
    )
    console.print("\nEdit the files there, and see what the table makes of it.")
