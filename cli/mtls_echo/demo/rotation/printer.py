"""The output of `demo --rotation`: commands, what they print, and which attempts were refused.

On a terminal one more line at the bottom counts echoes and failures while the demonstration waits
for something. A pipe does not get that line.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.padding import Padding
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from mtls_echo.console import wrap
from mtls_echo.demo.drawing import bar, is_plain, show_paragraph

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from mtls_echo.demo.rotation.attacker import Attempt
    from mtls_echo.demo.rotation.load import Counts

_INDENT = 2


class Printer:
    """Prints a demonstration of rotation; while it waits, the counts of the clients."""

    def __init__(self, console: Console, counts: Counts) -> None:
        self._console = console
        self._counts = counts

    def heading(self, number: int, title: str, text: str) -> None:
        """Print a numbered title in a rule, and a paragraph below it."""
        self._console.print()
        self._console.rule(f"[bold]{number}. {title}", characters=bar(self._console))
        self._console.print()
        self.paragraph(text)

    def paragraph(self, text: str) -> None:
        """Print sentences, and an empty line."""
        show_paragraph(self._console, text)

    def command(self, line: str, output: str) -> None:
        """Print a command and its output."""
        shown = Text.assemble(("$ ", "dim"), (f"mtls-echo {line}", "bold cyan"))
        self._indented(shown)
        for text in output.rstrip().splitlines():
            for each in wrap(f"{' ' * _INDENT}{text}", self._console.width, "  "):
                self._console.print(each, markup=False, soft_wrap=True)

    def reload(self, server: bool, clients: bool, generations: tuple[int, int]) -> None:
        """Print which ends have new files in use."""
        ends = [f"the server (generation {generations[0]})"] if server else []
        ends += [f"the clients (generation {generations[1]})"] if clients else []
        text = f"reloaded by {' and '.join(ends)}" if ends else "nothing to reload for either end"
        self._indented(Text(text, style="dim"), "")

    def attempts(self, attempts: Sequence[Attempt]) -> None:
        """Print an attacker's attempts and their results."""
        table = Table.grid(padding=(0, 2))
        for each in attempts:
            what = "the session ticket" if each.ticket else "the certificate"
            how = "resumed, and " if each.resumed else "not resumed, " if each.ticket else ""
            style = "bold red" if each.admitted else "green"
            version = f"TLS {each.version.name[-3:].replace('_', '.')}"
            table.add_row(f"{what}, {version}", Text(f"{how}{each.answer}", style=style))
        self._indented(table, "")

    def result(self, client: str, result: str, *, good: bool) -> None:
        """Print a client and its result."""
        text = Text.assemble(f"{client}  ", (result, "green" if good else "bold red"))
        self._indented(text, "")

    def totals(self, before: int) -> None:
        """Print the results of the clients; ``before``, there were so many echoes."""
        lost = len(self._counts.lost)
        echoes = self._counts.echoes - before
        style = "bold green" if not lost else "bold red"
        text = Text.assemble("meanwhile ", (f"{echoes} echoes, {lost or 'none'} lost", style))
        self._indented(text, *(Text(line, style="red") for line in self._counts.lost[:5]))

    @contextmanager
    def busy(self, what: str) -> Generator[None]:
        """Show what is being waited for and the counts, on a terminal only."""
        if not self._console.is_terminal or self._console.is_dumb_terminal:
            yield
            return
        from rich.live import Live

        spinner = Spinner("line" if is_plain(self._console) else "dots")

        def line() -> Spinner:
            lost = len(self._counts.lost)
            spinner.update(text=f"{self._counts.echoes} echoes, {lost or 'none'} lost; {what}")
            return spinner

        with Live(get_renderable=line, console=self._console, transient=True):
            yield

    def _indented(self, *parts: RenderableType) -> None:
        for part in parts:
            self._console.print(Padding(part, (0, 0, 0, _INDENT), expand=False) if part else part)
