"""`mtls-echo demo --endpoints`: one client of many servers, while servers and files change.

The configuration is printed and every endpoint is tried. Then things change while the monitor
runs, and after each change the table is printed as soon as it shows what was announced. A change
that does not show in time is a mismatch, and the demonstration fails.
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
from mtls_echo.commands.endpoints.text import VOCABULARY
from mtls_echo.demo.drawing import bar, outcome, show_command, show_paragraph, summary
from mtls_echo.demo.endpoints.servers import DemoServer, DemoServers
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
_TIMEOUT = 20.0

# Seconds for which a table stands still on a terminal.
_PAUSE = 3.0


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


async def tour(console: Console, keep: Path | None, command: str) -> list[str]:
    """Run the demonstration, and return what did not happen as announced.

    Args:
        console: Where to print.
        keep: A folder to make everything in, and to keep; then the servers run until Ctrl-C.
        command: How this program is called here, for the commands to paste.

    Raises:
        DirectoryError: The folder cannot be used.
    """
    with _folder(keep) as folder:
        servers = DemoServers(folder)
        load = partial(read_configuration, servers.configuration)
        planner = Planner(load, interval=0.2, vocabulary=VOCABULARY)
        monitor = Monitor(check_interval=_INTERVAL, file_interval=0.2, vocabulary=VOCABULARY)
        async with trio.open_nursery() as nursery:
            await servers.open(nursery)
            _introduce(console, servers)
            monitor.update(await planner.once())
            nursery.start_soon(monitor.run)
            nursery.start_soon(planner.run, monitor.update)
            mismatches: list[str] = []
            for number, step in enumerate(_steps(servers, nursery), start=1):
                if number > 1 and console.is_terminal:
                    await trio.sleep(_PAUSE)
                mismatches += await _play(console, number, step, monitor)
            console.rule(characters=bar(console))
            console.print(f"[bold]{summary(mismatches)}.[/]")
            if keep is not None:
                _invite(console, servers, command)
                await trio.sleep_forever()
            nursery.cancel_scope.cancel()
    return mismatches


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
            "it is started again",
            "It is found again without a restart of the client.",
            partial(servers.second.open, nursery),
            (first, second, third, untrusted),
            0,
        ),
        _Step(
            "the target file is edited: the untrusted server is removed",
            "Discovered endpoints are added and removed with their file.",
            edit(servers.write_targets, servers.third),
            (first, second, third),
            0,
        ),
        _Step(
            "trusted.crt, the first group's ca_file, is replaced by another CA",
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


async def _play(console: Console, number: int, step: _Step, monitor: Monitor) -> list[str]:
    console.rule(f"[bold]{number}. {step.title}", characters=bar(console))
    await step.change()
    revision = -1
    with trio.move_on_after(_TIMEOUT):
        while _found(monitor.snapshot()) != _announced(step):
            revision = await monitor.wait_for_change(revision)
    statuses = monitor.snapshot()
    console.print(draw(statuses, monitor.problems, console, in_full=False))
    wrong = [] if _found(statuses) == _announced(step) else ["the table does not show it"]
    if verdict(statuses) != step.status:
        wrong.append(f"the exit status would be {verdict(statuses)}, not {step.status}")
    console.print(f"\n{outcome(wrong, step.why)}\n")
    return [f"{step.title}: {text}" for text in wrong]


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


@contextlib.contextmanager
def _folder(keep: Path | None) -> Generator[Path]:
    if keep is not None:
        try:
            keep.mkdir(parents=True, exist_ok=True)
            taken = any(keep.iterdir())
        except OSError as error:
            raise DirectoryError(f"{keep}: {os_reason(error)}") from error
        if taken:
            raise DirectoryError(f"{keep}: is not empty", "name a folder that does not exist yet")
        yield keep
        return
    with tempfile.TemporaryDirectory(prefix="mtls-echo-") as made:
        yield Path(made)


# --- what is printed -----------------------------------------------------------------------------


def _introduce(console: Console, servers: DemoServers) -> None:
    show_paragraph(
        console,
        "Four servers, all real and on this machine only. The certificates of two come from one"
        " CA, that of the third from another; the fourth has a certificate from a CA that the"
        " client does not trust. The client connects to all of them. Its configuration,"
        " endpoints.yaml:",
    )
    console.print(servers.configuration.read_text("utf-8"), markup=False)
    console.print("and what its endpoints_sd_files finds, targets/archive.json:\n")
    found = (servers.folder / "targets" / "archive.json").read_text("utf-8")
    console.print(found, markup=False)


def _invite(console: Console, servers: DemoServers, command: str) -> None:
    console.print("\nThe servers run until Ctrl-C. In another terminal:\n")
    show_command(
        console, f"{command} endpoints --endpoint.config-file {servers.configuration} --watch"
    )
    console.print("\nEdit the files there, and see the table change.")
