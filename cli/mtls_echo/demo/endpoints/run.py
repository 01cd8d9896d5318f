"""The chapter about endpoints: one client of many servers, while servers and files change.

The configuration is shown and every endpoint is tried. Then things change while the monitor runs,
and after each change the table is taken as soon as it shows what was announced. A change that does
not show in time is a mismatch.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NoReturn

import trio
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from mtls_echo.commands.endpoints.table import draw
from mtls_echo.commands.endpoints.text import VOCABULARY, explanation
from mtls_echo.console import this_command
from mtls_echo.demo.blocks import Prose, Screen, Section, Transcript
from mtls_echo.demo.blocks import Status as Tell
from mtls_echo.demo.endpoints.servers import CONFIGURATION, DemoServer, DemoServers
from mtls_echo_client.endpoints.configuration.read import read_configuration
from mtls_echo_client.endpoints.discovery.planner import Planner
from mtls_echo_client.endpoints.monitor.monitor import Monitor
from mtls_echo_client.endpoints.monitor.status import Status, verdict
from mtls_echo_client.endpoints.plan import Problem
from mtls_echo_pki.files.durable import os_reason
from mtls_echo_pki.files.staging import DirectoryError

# Seconds between two checks, and how long a change may take to show.
_INTERVAL = 2.0
_TIMEOUT = 20.0


@dataclass(frozen=True)
class _Step:
    """One change, what it shows, and the state of things after it."""

    title: str
    why: str
    change: Callable[[], Awaitable[object]]
    # Each server, its state and its cause, in the order of the table.
    expected: tuple[tuple[DemoServer, str, str], ...]
    # The exit status that the command would have then.
    status: int


@dataclass(frozen=True)
class EndpointTable:
    """The table of endpoints as it was, for a terminal of any width.

    Attributes:
        explained: Those of the statuses whose reasons are given.
    """

    statuses: Sequence[Status]
    problems: Sequence[Problem]
    explained: Sequence[Status]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw it in the width that there is."""
        del console
        room = Console(width=options.max_width, file=io.StringIO())
        yield draw(self.statuses, self.problems, room, in_full=False, explained=self.explained)


async def play(status: Tell) -> list[Section]:
    """Play every step; it takes a few seconds."""
    with tempfile.TemporaryDirectory(prefix="mtls-echo-") as made:
        async with _played(Path(made), status) as sections:
            return sections


async def keep_serving(
    folder: Path, status: Tell, shown: Callable[[list[Section]], Awaitable[None]]
) -> NoReturn:
    """Play every step, and serve until cancelled, for a client in a second terminal.

    Args:
        folder: Where to make everything, and to keep it; it must not exist, or be empty.
        status: As for `play`.
        shown: Called with the sections, while the servers run.

    Raises:
        DirectoryError: The folder cannot be used.
    """
    _check(folder)
    async with _played(folder, status) as sections:
        invitation = (
            Prose("The servers run until Ctrl-C. In another terminal:"),
            Transcript(
                f"{this_command()} endpoints --endpoint.config-file"
                f" {folder / CONFIGURATION} --watch"
            ),
            Prose("Edit the files there, and see the table change."),
        )
        await shown([*sections, Section("now from a second terminal", invitation)])
        await trio.sleep_forever()


@contextlib.asynccontextmanager
async def _played(folder: Path, status: Tell) -> AsyncGenerator[list[Section]]:
    """The sections, while the servers still run."""
    servers = DemoServers(folder)
    load = partial(read_configuration, servers.configuration)
    planner = Planner(load, interval=0.2, vocabulary=VOCABULARY)
    monitor = Monitor(check_interval=_INTERVAL, file_interval=0.2, vocabulary=VOCABULARY)
    sections, told = _introduction(servers), set[tuple[str, str]]()
    async with trio.open_nursery() as nursery:
        await servers.open(nursery)
        monitor.update(await planner.once())
        nursery.start_soon(monitor.run)
        nursery.start_soon(planner.run, monitor.update)
        for step in _steps(servers, nursery):
            status(f"{step.title}: waiting until the table shows it")
            sections.append(await _play(step, monitor, told))
        yield sections
        nursery.cancel_scope.cancel()


def _steps(servers: DemoServers, nursery: trio.Nursery) -> Sequence[_Step]:
    first, second = (servers.first, "up", ""), (servers.second, "up", "")
    third, untrusted = (servers.third, "up", ""), (servers.untrusted, "down", "unknown-authority")

    def edit(change: Callable[..., None], *arguments: DemoServer) -> Callable[[], Awaitable[None]]:
        async def edited() -> None:
            change(*arguments)
            await trio.lowlevel.checkpoint()

        return edited

    return (
        _Step(
            "every endpoint is tried",
            "Three have echoed. The fourth is refused, and is not admitted, as it never echoed.",
            trio.lowlevel.checkpoint,
            (first, second, third, untrusted),
            0,
        ),
        _Step(
            "a strict server stops",
            "It stays admitted and is tried again and again; the exit status would be 3.",
            servers.second.close,
            (first, (servers.second, "down", "no-connection"), third, untrusted),
            3,
        ),
        _Step(
            "the server is started again",
            "It is found again without a restart of the client.",
            partial(servers.second.open, nursery),
            (first, second, third, untrusted),
            0,
        ),
        _Step(
            "the untrusted server is removed from the file",
            "Discovered endpoints are added and removed with their file.",
            edit(servers.write_targets, servers.third),
            (first, second, third),
            0,
        ),
        _Step(
            "the first group's ca_file is replaced by another CA",
            "Both of its servers are refused at once; the other group is not affected.",
            edit(servers.trust_another_ca),
            (
                (servers.first, "down", "unknown-authority"),
                (servers.second, "down", "unknown-authority"),
                third,
            ),
            4,
        ),
        _Step(
            "the right CA is put back",
            "Both servers are up again.",
            edit(servers.trust_the_right_ca),
            (first, second, third),
            0,
        ),
    )


async def _play(step: _Step, monitor: Monitor, told: set[tuple[str, str]]) -> Section:
    """Make the change, and wait until the table shows it; add to the reasons that were told."""
    await step.change()
    revision = -1
    with trio.move_on_after(_TIMEOUT):
        while _found(monitor.snapshot()) != _announced(step):
            revision = await monitor.wait_for_change(revision)
    statuses = monitor.snapshot()
    wrong = [] if _found(statuses) == _announced(step) else ["the table does not show it"]
    if verdict(statuses) != step.status:
        wrong.append(f"the exit status would be {verdict(statuses)}, not {step.status}")
    new = [status for status in statuses if explanation(status) not in told]
    told.update(map(explanation, statuses))
    table = EndpointTable(statuses, monitor.problems, new)
    return Section(
        step.title,
        (Screen(table), Prose(step.why)),
        tuple(f"{step.title}: {text}" for text in wrong),
    )


def _announced(step: _Step) -> list[tuple[str, str, str]]:
    return [(server.address, state, cause) for server, state, cause in step.expected]


def _found(statuses: Sequence[Status]) -> list[tuple[str, str, str]]:
    return [
        (
            str(each.endpoint.address),
            each.state,
            each.report.causes[0] if each.report and each.report.causes else "",
        )
        for each in statuses
    ]


def _check(folder: Path) -> None:
    """Make the folder, unless it exists; it must be empty."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        taken = any(folder.iterdir())
    except OSError as error:
        raise DirectoryError(f"{folder}: {os_reason(error)}", "name another") from error
    if taken:
        raise DirectoryError(f"{folder}: is not empty", "name a folder that does not exist yet")


def _introduction(servers: DemoServers) -> list[Section]:
    """What the client is given."""
    return [
        Section(
            "four servers, one client",
            (
                Prose(
                    "The certificates of two servers come from one CA, that of the third from"
                    " another; the fourth has a certificate from a CA that the client does not"
                    f" trust. The client connects to all of them, by its `{CONFIGURATION}`:"
                ),
                Screen(Text(servers.configuration.read_text("utf-8").rstrip()), kind="yaml"),
            ),
        ),
        Section(
            "endpoints from a file",
            (
                Prose(
                    "The endpoints of the first group are listed and strict: the client keeps them"
                    " whether they answer or not. Those of the second are discovered in files, and"
                    " admitted once they have echoed. This is"
                    f" `{servers.targets.relative_to(servers.folder)}`:"
                ),
                Screen(Text(servers.targets.read_text("utf-8").rstrip()), kind="json"),
            ),
        ),
    ]
