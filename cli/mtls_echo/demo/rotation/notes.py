"""What a demonstration of rotation has to show: commands, what they print, which attempts failed.

It is collected while the scenarios are played, section by section. In the meantime there is the
count of echoes to tell, and what is being waited for.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio
from rich.text import Text

from mtls_echo.demo.blocks import Block, Prose, Section, Status, Table, Transcript, bad, good

if TYPE_CHECKING:
    from mtls_echo.demo.rotation.attacker import Attempt
    from mtls_echo.demo.rotation.load import Counts

# Seconds between two counts.
_INTERVAL = 0.1

# What commands print above their advice.
_NEXT = "next:"


class Notes:
    """Collects sections, and tells the counts of the clients.

    Attributes:
        sections: Those that are complete; `close` completes the last one.
    """

    def __init__(self, counts: Counts, status: Status) -> None:
        self.sections = list[Section]()
        self._counts = counts
        self._status = status
        self._waiting = ""
        self._title = ""
        self._blocks = list[Block]()
        self._mismatches = list[str]()

    async def tell(self) -> None:
        """Tell the count of echoes and what is being waited for, until cancelled."""
        while True:
            self._status("; ".join(filter(None, (self._counted(0), self._waiting))))
            await trio.sleep(_INTERVAL)

    @contextmanager
    def busy(self, what: str) -> Generator[None]:
        """Say what is being waited for."""
        self._waiting = what
        yield
        self._waiting = ""

    def section(self, title: str, text: str = "") -> None:
        """Begin a section, with a paragraph."""
        self.close()
        self._title = title
        if text:
            self.paragraph(text)

    def close(self) -> None:
        """Complete the section that was begun."""
        if self._blocks:
            section = Section(self._title, tuple(self._blocks), tuple(self._mismatches))
            self.sections.append(section)
        self._blocks, self._mismatches = [], []

    def mismatch(self, text: str) -> None:
        """Note what did not happen as announced."""
        self._mismatches.append(f"{self._title}: {text}")

    def paragraph(self, text: str) -> None:
        """Note sentences."""
        self._blocks.append(Prose(text))

    def command(self, line: str, output: str) -> None:
        """Note a command and its output, without what it says to do next: that follows here."""
        lines = output.splitlines()
        if _NEXT in lines:
            lines[lines.index(_NEXT) :] = ["…"]
        self._blocks.append(Transcript(f"mtls-echo {line}", "\n".join(lines)))

    def attempts(self, attempts: Sequence[Attempt]) -> None:
        """Note an attacker's attempts and their results."""
        rows = list[tuple[str | Text, ...]]()
        for each in attempts:
            what = "the session ticket" if each.ticket else "the certificate"
            how = "resumed, and " if each.resumed else "not resumed, " if each.ticket else ""
            answer = f"{how}{each.answer}"
            version = each.version.name[-3:].replace("_", ".")
            rows.append((version, what, bad(answer) if each.admitted else good(answer)))
        self._blocks.append(Table(("TLS", "the attacker presents", "result"), tuple(rows)))

    def result(self, client: str, result: str, *, accepted: bool) -> None:
        """Note a client and its result."""
        shown = good(result) if accepted else bad(result)
        self._blocks.append(Table(("client", "result"), ((client, shown),)))

    def totals(self, before: int) -> None:
        """Note the results of the clients; ``before``, there were so many echoes."""
        self.paragraph(f"Meanwhile **{self._counted(before)}**.")

    def conclude(self) -> None:
        """Note the results of the clients from beginning to end, and each failure."""
        self.paragraph(
            f"In all {self._counts.connections:,} connections, one of them from beginning to end;"
            f" **{self._counted(0)}**."
        )
        for line in self._counts.lost:
            self.mismatch(line)

    def _counted(self, before: int) -> str:
        lost = len(self._counts.lost)
        return f"{self._counts.echoes - before:,} echoes, {lost or 'none'} lost"
