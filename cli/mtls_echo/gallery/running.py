"""Run a command: for so long at most, and with all that it starts."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import cast

import trio

# Of what a command says this much is kept, from the end, in bytes, and of one line in characters;
# and what it has started may go on saying something for so many seconds.
_MOST_SAID, _LONGEST_LINE, _OUTLAST = 64 * 1024, 200, 1.0

# On standard input, for clients that send what they are given.
_REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True)
class Ran:
    """How a command ended: its exit status, or None when its time was over; what it said."""

    status: int | None
    said: str

    @property
    def error(self) -> str:
        """The first line that speaks of an error, else the last."""
        lines = [line.strip() for line in self.said.splitlines() if line.strip()]
        errors = [line for line in lines if re.search("error|problem|alert", line, re.I)]
        return (errors or lines[-1:] or [""])[0][:_LONGEST_LINE]


async def run_command(words: Sequence[str], limit: float) -> Ran:
    """Run a command, and end it and its children when its time is over."""
    said = bytearray()
    status = None
    with tempfile.TemporaryFile() as request:
        request.write(_REQUEST)
        request.seek(0)
        process = await trio.lowlevel.open_process(
            words,
            stdin=request,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")},
        )
    output = cast("trio.abc.ReceiveStream", process.stdout)
    try:
        with trio.move_on_after(limit) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_read, output, said)
                status = await process.wait()
                # Children that it left behind may have gone out of reach, and still write.
                _kill(process)
                scope.deadline = min(scope.deadline, trio.current_time() + _OUTLAST)
    finally:
        _kill(process)
        with trio.CancelScope(shield=True):
            await process.wait()
            await output.aclose()
    return Ran(status, said.decode(errors="replace"))


async def _read(output: trio.abc.ReceiveStream, said: bytearray) -> None:
    """Keep the end of what a command says."""
    async for piece in output:
        said += piece
        del said[:-_MOST_SAID]


def _kill(process: trio.Process) -> None:
    """End a command and its children; what has ended already is not minded."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
