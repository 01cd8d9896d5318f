"""What a supervisor and its workers tell each other, and how.

A socket pair for each worker carries both directions: `Command` down, one byte each, and messages
up, one line of JSON each. The end of a process is the end of the stream: a worker whose supervisor
is gone, however it ended, reads it, and so does the supervisor of a worker. Signals would do
neither, and a signal to a process group reaches all of it: a stop would then count twice.

A pipe for each worker carries its events up, as the text that is to be written
(`mtls_echo_server.log.END_OF_EVENT` behind each).
"""

from __future__ import annotations

import enum
from typing import TypeAlias

import msgspec


class Command(enum.Enum):
    """What a worker is to do.

    RELOAD: read the files now. STOP: accept no more, and let open connections finish; again, it
        has no effect. ABORT: stop, and cut them off.
    """

    RELOAD = b"r"
    STOP = b"s"
    ABORT = b"a"


class Ready(msgspec.Struct, tag=True, frozen=True):
    """The worker accepts connections."""


class Reloaded(msgspec.Struct, tag=True, frozen=True):
    """The worker has read files that are new, or wrong, or in order again."""

    ok: bool
    generation: int


class Stopping(msgspec.Struct, tag=True, frozen=True):
    """The worker accepts no more, and so many connections were open."""

    connections: int


class Ended(msgspec.Struct, tag=True, frozen=True):
    """The worker has stopped; how its connections ended."""

    drained: int
    aborted: int


class Failed(msgspec.Struct, tag=True, frozen=True):
    """The worker cannot go on, and why."""

    reason: str


Message: TypeAlias = Ready | Reloaded | Stopping | Ended | Failed

_decoder: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)


def encode(message: Message) -> bytes:
    """A message as a line."""
    return msgspec.json.encode(message) + b"\n"


def decode(line: bytes) -> Message:
    """The message that a line is."""
    return _decoder.decode(line)
