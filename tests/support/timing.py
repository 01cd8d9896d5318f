"""Time in the tests: how long one may hang, and clocks that only the test moves.

A verdict never depends on how fast the machine is. So an asynchronous test runs on a clock that
stands still: nothing is ever late, neither what it tests nor what the kernel or another process
does for it. A test about lateness takes ``mock_clock``, and lets time pass when it knows that the
other side has what it waits for, or ``patient_clock`` when there is no other side but in the same
event loop. One that needs time to pass by itself is marked ``real_time``, and has to come to the
same end at any pace.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import trio
import trio.testing

# Against a hang only, in seconds: nothing takes this long on any machine that still answers.
TIMEOUT = 300.0

# With a clock that jumps when everybody waits: for so long nothing may have moved, in seconds.
# Data on its way through the loopback interface is what trio does not see.
IDLE = 0.1


def run(
    test: Callable[[], Awaitable[Any]],
    *,
    clock: trio.abc.Clock | None = None,
    instruments: Sequence[trio.abc.Instrument] = (),
) -> Any:
    """Run an asynchronous test on its clock, or else on one that stands still."""
    return run_in_real_time(test, clock=clock or trio.testing.MockClock(), instruments=instruments)


def run_in_real_time(
    test: Callable[[], Awaitable[Any]],
    *,
    clock: trio.abc.Clock | None = None,
    instruments: Sequence[trio.abc.Instrument] = (),
) -> Any:
    """Run an asynchronous test; whatever its clock says, it is not waited for without end."""

    async def bounded() -> Any:
        scope, token = trio.CancelScope(), trio.lowlevel.current_trio_token()

        def give_up() -> None:
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(scope.cancel)

        watchdog = threading.Timer(TIMEOUT, give_up)
        watchdog.daemon = True
        watchdog.start()
        where: BaseException | None = None
        try:
            with scope:
                try:
                    return await test()
                except BaseException as error:
                    where = error
                    raise
        finally:
            watchdog.cancel()
        raise trio.TooSlowError(f"the test hung for {TIMEOUT:.0f} s") from where

    return trio.run(bounded, clock=clock, instruments=instruments)


def passing(clock: trio.testing.MockClock, seconds: float) -> Callable[[], None]:
    """What a server's thread calls to let so much of the clients' time pass."""
    token = trio.lowlevel.current_trio_token()
    return lambda: token.run_sync_soon(clock.jump, seconds)


def flying(clock: trio.testing.MockClock) -> Callable[[], None]:
    """What any thread calls when from now on nothing can happen but that time runs out."""
    token = trio.lowlevel.current_trio_token()
    return lambda: token.run_sync_soon(setattr, clock, "autojump_threshold", IDLE)


# What a process runs first whose clock stands still. On SIGUSR1 an hour passes at once; from
# SIGUSR2 on time passes as everywhere.
CLOCKED = """
import os, signal, trio, trio.testing

told = os.open(os.devnull, os.O_WRONLY)

def hour(*_):
    clock.jump(3600)
    os.write(told, b"an hour later\\n")

def go_on(*_):
    clock.rate = 1.0

clock, run = trio.testing.MockClock(), trio.run
trio.run = lambda *arguments, **options: run(*arguments, clock=clock, **options)
signal.signal(signal.SIGUSR1, hour)
signal.signal(signal.SIGUSR2, go_on)
"""

# One that also says so on standard error, when an hour has passed.
TELLING = CLOCKED + "told = 2\n"
HOUR = b"an hour later\n"
