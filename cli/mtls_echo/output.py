"""Write to a pipe whose reader may be slow, or leave."""

from __future__ import annotations

import os
import select

import trio


async def write(descriptor: int, data: bytes) -> None:
    """Write all of it, in a thread, so that connections go on while the reader does not read.

    Cancelled, the thread is abandoned: a reader that stopped reading must not keep Ctrl-C waiting.

    Raises:
        BrokenPipeError: Its reader has gone.
        OSError: It cannot be written, for example to a full disk.
    """
    await trio.to_thread.run_sync(_write_all, descriptor, data, abandon_on_cancel=True)


def _write_all(descriptor: int, data: bytes) -> None:
    remaining = memoryview(data)
    while remaining:
        try:
            remaining = remaining[os.write(descriptor, remaining) :]
        except BlockingIOError:
            # The parent process made it non-blocking.
            select.select([], [descriptor], [])
