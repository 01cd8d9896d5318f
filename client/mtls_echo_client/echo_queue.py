"""Bytes that were sent and whose echo is due, in order.

What is sent goes in at the back, what comes back is compared with the front: the next line need
not wait for the echo of the last.
"""

from __future__ import annotations

import trio

# Bytes sent whose echo is still due, at the most: fills a path of 100 ms at 20 Mbit/s.
WINDOW = 256 * 1024

# What is encrypted and sent at once: small enough that the window always has room for the next
# piece while an echo is on its way.
PIECE = WINDOW // 4


class EchoQueue:
    """What is in flight, at most `WINDOW` bytes.

    Attributes:
        echoed: How many bytes have come back, verified.
    """

    def __init__(self) -> None:
        self.echoed = 0
        self._due = bytearray()
        self._room = trio.Event()

    def __len__(self) -> int:
        return len(self._due)

    async def wait_for_room(self, data: bytes) -> None:
        """Wait until ``data`` may be sent too."""
        while len(self._due) + len(data) > WINDOW:
            self._room = trio.Event()
            await self._room.wait()

    def put(self, data: bytes) -> None:
        """Expect the echo of ``data``."""
        self._due += data

    def take(self, data: bytes) -> bool:
        """Whether ``data`` is what was due next; then it is not due any more."""
        if not self._due.startswith(data):
            return False
        del self._due[: len(data)]
        self.echoed += len(data)
        self._room.set()
        return True

    def state(self) -> str:
        """When the end of the connection came, in one clause."""
        if self._due:
            return f"after {self.echoed} bytes had come back and {len(self._due)} were due"
        if self.echoed:
            return f"after every byte had come back ({self.echoed})"
        return "before anything was sent"

    def difference(self, data: bytes) -> str:
        """What is wrong with ``data``, which was not due, in one clause of bounded length."""
        pairs = enumerate(zip(self._due, data, strict=False))
        shorter = min(len(self._due), len(data))
        same = next((i for i, (ours, theirs) in pairs if ours != theirs), shorter)
        where = f"byte {self.echoed + same + 1}"
        if same == len(self._due):
            return f"{where} was never sent: {_shown(data[same:])}"
        expected = bytes(self._due[same : same + len(data)])
        return f"{where} differs: sent {_shown(expected)}, received {_shown(data[same:])}"


def _shown(data: bytes) -> str:
    return repr(data[:24])[1:] + ("…" if len(data) > 24 else "")
