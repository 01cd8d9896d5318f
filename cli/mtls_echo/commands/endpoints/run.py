"""Run one round of checks of all endpoints, or watch them until interrupted.

Results are on standard output: a table for a person, JSON for a script, and while watching without
a terminal one line for each change. A log's reader may be slower than the changes are; it gets the
latest state of each endpoint then, and no connection waits for it.

Watching ends with Ctrl-C or SIGTERM, as it is meant to, and not by an error: its exit status is
that of the endpoints as they were at that moment. SIGHUP reads everything again at once.
"""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import AsyncGenerator, Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import trio

from mtls_echo.commands.endpoints import json as fields
from mtls_echo.commands.endpoints.json import Changes
from mtls_echo.commands.endpoints.text import line
from mtls_echo.console import CommandError, say
from mtls_echo.output import write
from mtls_echo_client.endpoints.configuration.errors import EndpointsError
from mtls_echo_client.endpoints.discovery.planner import Planner
from mtls_echo_client.endpoints.monitor.monitor import Monitor
from mtls_echo_client.endpoints.monitor.status import Status, verdict
from mtls_echo_client.endpoints.plan import Plan, Problem
from mtls_echo_client.exit_status import OK, USAGE
from mtls_echo_tls.address import Address

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

# A check that takes longer than this says how far it is, on a terminal. In seconds.
_SILENCE = 1.0

# How long one look lasts at the least, in seconds: five hundred endpoints change a hundred times a
# second, and drawing must not cost more than the connections. What happens between two
# looks and is over by the second is not seen.
_TABLE_LASTS, _LINES_LAST = 0.5, 0.1

# And how long a table lasts at the most: the times in it grow old.
_LONGEST_LOOK = 5.0


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """What the command line asked for; each way to run it returns the exit status."""

    planner: Planner
    monitor: Monitor
    json: bool
    quiet: bool = False

    async def show_plan(self) -> int:
        """Print the plan, and connect to nothing."""
        plan = await self._first_plan()
        if self.json:
            await _write(fields.encode(fields.plan_fields(plan)))
        else:
            from mtls_echo.commands.endpoints.plan import draw_plan

            console = _console()
            console.print(draw_plan(plan, console), crop=False)
        return USAGE if plan.problems else OK

    async def check(self) -> int:
        """Try every endpoint once, and print what came of it."""
        plan = await self._first_plan()
        async with _progress(len(plan.endpoints), quiet=self.quiet) as count:
            statuses = await self.monitor.check_once(plan, count)
        problems = [*plan.problems, *_of_files(statuses)]
        if self.json:
            await _write(fields.encode(fields.outcome_fields(statuses, problems)))
        elif not self.quiet or problems or verdict(statuses) != OK:
            from mtls_echo.commands.endpoints.table import draw

            console = _console()
            console.print(draw(statuses, problems, console), crop=False)
        return verdict(statuses)

    async def watch(self) -> int:
        """Keep to the plan as it changes, and show how it fares, until Ctrl-C or SIGTERM.

        It ends with its terminal, too: then it can be neither seen nor ended.
        """
        self.monitor.update(await self._first_plan())
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as endings:
            async with trio.open_nursery() as nursery:

                async def show() -> None:
                    await self._show()
                    nursery.cancel_scope.cancel()

                nursery.start_soon(self.monitor.run)
                nursery.start_soon(self._follow)
                nursery.start_soon(show)
                await anext(endings)
                nursery.cancel_scope.cancel()
        return verdict(self.monitor.snapshot())

    async def _first_plan(self) -> Plan:
        try:
            plan = await self.planner.once()
        except EndpointsError as error:
            form = "its form is in: mtls-echo endpoints --help"
            raise CommandError(str(error), error.hint or form) from error
        configuration = self.planner.configuration
        for warning in configuration.warnings if configuration else ():
            say(f"warning: {warning}")
        return plan

    # --- watching --------------------------------------------------------------------------------

    async def _follow(self) -> NoReturn:
        """Pass each plan on; at SIGHUP make one at once, of everything there is."""
        with trio.open_signal_receiver(signal.SIGHUP) as requests:
            while True:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self.planner.run, self.monitor.update)
                    await anext(requests)
                    nursery.cancel_scope.cancel()
                self.monitor.look_at_files()
                # One that is refused stays refused: run() goes on from the last good one, and
                # has the reason among its plan's problems.
                with contextlib.suppress(EndpointsError):
                    await self.planner.once()

    async def _show(self) -> None:
        if not self.json and not self.quiet:
            console = _console()
            if console.is_terminal and not console.is_dumb_terminal:
                await self._show_table(console)
                return
        await self._write_changes()

    async def _show_table(self, console: Console) -> None:
        """Draw in place for as long as there is a terminal."""
        from rich.live import Live

        live = Live(
            console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
        )
        try:
            with live:
                await self._draw_on(live)
        except OSError:
            # A closed window is found out by trying to write to it; rich asks first, but once.
            if console.is_terminal:
                raise

    async def _draw_on(self, live: Live) -> None:
        from mtls_echo.commands.endpoints.table import draw_screen

        def draw() -> RenderableType:
            return draw_screen(self.monitor.snapshot(), self.monitor.problems, live.console)

        revision = -1
        try:
            while live.console.is_terminal:
                with trio.move_on_after(_LONGEST_LOOK):
                    revision = await self.monitor.wait_for_change(revision)
                live.update(draw(), refresh=True)
                await trio.sleep(_TABLE_LASTS)
        finally:
            live.update(draw())  # what stays on the screen is how it was at the end

    async def _write_changes(self) -> NoReturn:
        changes, findings, revision = Changes(), Findings(), -1
        while True:
            revision = await self.monitor.wait_for_change(revision)
            found = changes.since(self.monitor.snapshot(), self.monitor.problems)
            lines = b"".join(
                self._line(event, about)
                for event, about in found
                if not self.quiet or findings(about)
            )
            if lines:
                await _write(lines)
            await trio.sleep(_LINES_LAST)

    def _line(self, event: str, about: Status | Problem) -> bytes:
        if self.json:
            return fields.encode(fields.event_fields(event, about))
        return f"{line(event, about)}\n".encode(sys.stdout.encoding, "replace")


class Findings:
    """Tells the changes to what is not well, and back, from the others."""

    def __init__(self) -> None:
        self._told: set[Address] = set()

    def __call__(self, about: Status | Problem) -> bool:
        """Whether a change is one of those."""
        if isinstance(about, Problem):
            return True
        address = about.endpoint.address
        if about.state in ("down", "dropped") or about.problem is not None:
            self._told.add(address)
            return True
        if about.state == "up" and address in self._told:
            self._told.remove(address)
            return True
        return False


def _of_files(statuses: Iterable[Status]) -> tuple[Problem, ...]:
    found = (status.problem for status in statuses)
    return tuple(dict.fromkeys(problem for problem in found if problem is not None))


async def _write(data: bytes) -> None:
    await write(sys.stdout.fileno(), data)


def _console(*, stderr: bool = False) -> Console:
    from mtls_echo.terminal import open_console

    return open_console(stderr=stderr)


@contextlib.asynccontextmanager
async def _progress(total: int, *, quiet: bool) -> AsyncGenerator[Callable[[Status], None]]:
    """Count checks; show how many are done, on a terminal and when they take long."""
    done: list[Status] = []

    async def show() -> NoReturn:
        await trio.sleep(_SILENCE)
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = (TextColumn("checking"), BarColumn(), MofNCompleteColumn())
        console = _console(stderr=True)
        with Progress(*columns, console=console, transient=True, auto_refresh=False) as bar:
            task = bar.add_task("", total=total)
            while True:
                bar.update(task, completed=len(done), refresh=True)
                await trio.sleep(_LINES_LAST)

    async with trio.open_nursery() as nursery:
        if not quiet and sys.stderr is not None and sys.stderr.isatty():
            nursery.start_soon(show)
        yield done.append
        nursery.cancel_scope.cancel()
