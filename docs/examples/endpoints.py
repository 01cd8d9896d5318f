"""A complete client of many servers: it prints who could be used, whenever that changes."""

import sys
from functools import partial
from pathlib import Path

import trio

from mtls_echo.endpoints import Monitor, Planner, read_configuration


async def follow(file: Path) -> None:
    """Keep to a configuration until Ctrl-C."""
    planner, monitor = Planner(partial(read_configuration, file)), Monitor()
    monitor.update(await planner.once())  # raises EndpointsError
    async with trio.open_nursery() as nursery:
        nursery.start_soon(monitor.run)
        nursery.start_soon(planner.run, monitor.update)
        usable, revision = None, -1
        while True:
            revision = await monitor.wait_for_change(revision)
            before, usable = usable, [s.endpoint.written for s in monitor.snapshot() if s.usable]
            if usable != before:
                print("usable:", *usable, flush=True)


if __name__ == "__main__":
    trio.run(follow, Path(sys.argv[1]))
