"""What a drill tells while it runs: the commands, what they print, who was turned away.

On a terminal one more line moves at the bottom, with the count of echoes and of losses, since
something that takes seconds should show that it is alive. A pipe gets the story alone.
"""

from __future__ import annotations

import ssl
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from mtls_echo.demo.drawing import bar, is_plain, show_paragraph

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from mtls_echo.demo.rotation.attacker import Visit
    from mtls_echo.demo.rotation.load import Tally

_INDENT = 2


class Narrator:
    """Tells a drill.

    Args:
        console: Where to.
        tally: What became of the clients; shown while something is being waited for.
    """

    def __init__(self, console: Console, tally: Tally) -> None:
        self._console = console
        self._tally = tally

    def heading(self, number: int, title: str, story: str) -> None:
        """Print a numbered title in a rule, and a paragraph below it."""
        self._console.print()
        self._console.rule(f"[bold]{number}. {title}", characters=bar(self._console))
        self._console.print()
        self.tell(story)

    def tell(self, text: str) -> None:
        """A few sentences, and an empty line."""
        show_paragraph(self._console, text)

    def command(self, line: str, output: str) -> None:
        """A command was run, and has printed something."""
        shown = Text.assemble(("$ ", "dim"), (f"mtls-echo {line}", "bold cyan"))
        self._console.print(_indented(shown))
        for text in output.rstrip().splitlines():
            self._console.print(_indented(Text(text)))

    def read(self, server: bool, clients: bool, generations: tuple[int, int]) -> None:
        """Both ends have looked at their files."""
        ends = [
            f"the {name} (generation {generation})"
            for name, is_new, generation in (
                ("server", server, generations[0]),
                ("clients", clients, generations[1]),
            )
            if is_new
        ]
        told = f"read by {' and '.join(ends)}" if ends else "nothing in it for either end to read"
        self._console.print(_indented(Text(told, style="dim")))
        self._console.print()

    def visits(self, visits: Sequence[Visit]) -> None:
        """What somebody tried who must not get in, and what came of it."""
        table = Table.grid(padding=(0, 2))
        for visit in visits:
            what = "the session ticket" if visit.ticket else "the certificate"
            taken = "resumed, and " if visit.resumed else "not resumed, " if visit.ticket else ""
            style = "bold red" if visit.admitted else "green"
            answer = Text(f"{taken}{visit.answer}", style=style)
            table.add_row(f"{what}, {_called(visit.version)}", answer)
        self._console.print(_indented(table))
        self._console.print()

    def found(self, who: str, what: str, *, good: bool) -> None:
        """One who was tried out, and what came of it."""
        text = Text.assemble(f"{who}  ", (what, "green" if good else "bold red"))
        self._console.print(_indented(text))
        self._console.print()

    def balance(self, before: int) -> None:
        """What the clients of the service have noticed.

        Args:
            before: How many echoes there were when the occasion began.
        """
        lost = len(self._tally.lost)
        echoes = self._tally.echoes - before
        style = "bold green" if not lost else "bold red"
        text = Text.assemble("meanwhile ", (f"{echoes} echoes, {lost or 'none'} lost", style))
        self._console.print(_indented(text))
        for line in self._tally.lost[:5]:
            self._console.print(_indented(Text(line, style="red")))

    @contextmanager
    def busy(self, what: str) -> Generator[None]:
        """Show that something is going on, and the count meanwhile; on a terminal only."""
        if not self._console.is_terminal or self._console.is_dumb_terminal:
            yield
            return
        from rich.live import Live

        spinner = Spinner("line" if is_plain(self._console) else "dots")

        def line() -> Spinner:
            lost = len(self._tally.lost)
            spinner.update(text=f"{self._tally.echoes} echoes, {lost or 'none'} lost; {what}")
            return spinner

        with Live(get_renderable=line, console=self._console, transient=True):
            yield


def _indented(what: RenderableType) -> Padding:
    return Padding(what, (0, 0, 0, _INDENT), expand=False)


def _called(version: ssl.TLSVersion) -> str:
    return f"TLS {version.name[-3:].replace('_', '.')}"
