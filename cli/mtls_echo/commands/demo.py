"""`mtls-echo demo`: the lesson, in one terminal, chapter by chapter."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from mtls_echo.console import CommandError, complain, print_result
from mtls_echo.lesson.chapters import CHAPTERS, ONWARD, TOUR, numbered
from mtls_echo.parameters import quiet_option

if TYPE_CHECKING:
    from mtls_echo.demo.blocks import Section

_EPILOG = """\b
examples:
  mtls-echo demo
      The whole lesson, page by page, from what TLS is.
  mtls-echo demo --tour
      A connection that is accepted and one that is refused: two screens.
  mtls-echo demo --chapter attacks
      One chapter: listen, phish, guess and more, with a password and with
      mutual TLS.
  mtls-echo demo --no-pause > lesson.txt
      All of it as one text.
  mtls-echo demo --chapter endpoints --keep ./many
      Connect to four servers, and leave them running for a second terminal.

\b
exit status:
  0  everything happened as announced
  1  something did not
  2  usage, or DIR cannot be used
"""


class ChapterName(click.Choice[str]):
    """The name of a chapter, or its number."""

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> str:
        """The name that is meant."""
        numbers = {str(number): each.name for number, each in enumerate(CHAPTERS, start=1)}
        return super().convert(numbers.get(str(value), value), param, ctx)


@click.command(epilog=_EPILOG)
@click.option(
    "--chapter",
    "names",
    type=ChapterName([chapter.name for chapter in CHAPTERS]),
    multiple=True,
    metavar="NAME",
    help="Play this chapter only, by its name or number in --list; repeatable.",
)
@click.option("--list", "only_list", is_flag=True, help="Print the names of the chapters.")
@click.option("--tour", is_flag=True, help="Play the short tour in place of the lesson.")
@click.option(
    "--no-pause",
    is_flag=True,
    help="Do not wait for a key at the end of each page, as without a terminal.",
)
@quiet_option("Show only what does not happen as announced.")
@click.option(
    "--keep",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="With --chapter endpoints: make everything in DIR, and serve until Ctrl-C, for `mtls-echo"
    " endpoints` in a second terminal.",
)
def demo(
    *,
    names: tuple[str, ...],
    only_list: bool,
    tour: bool,
    no_pause: bool,
    quiet: bool,
    keep: Path | None,
) -> None:
    """Show what TLS and mutual TLS are, in chapters that build on each other.

    Every connection in it is real, on this machine only, with certificates made on the fly.
    On a terminal it stops at each page until a key is pressed: space goes on, b goes back, q
    quits.
    """
    given = [
        option
        for option, value in (("--chapter", names), ("--list", only_list), ("--tour", tour))
        if value
    ]
    if len(given) > 1:
        raise CommandError(f"{' and '.join(given)} exclude each other", "give one of them")
    if keep is not None and names != ("endpoints",):
        raise CommandError("--keep has no effect without --chapter endpoints", "add it")
    if only_list:
        print_result("\n".join(f"{numbered(each):<15} {each.title}" for each in CHAPTERS))
        return
    from mtls_echo.lesson.show import is_screen, open_console, pressed_keys, show, show_paged

    lesson = [c for c in CHAPTERS if c.name in names] if names else [*CHAPTERS, ONWARD]
    chosen = [TOUR] if tour else lesson
    console = open_console()
    if keep is not None:
        _serve_from(keep)
    with pressed_keys() as keys:
        if keys is None or no_pause or tour or quiet or not is_screen(console):
            mismatches = show(console, chosen, quiet=quiet)
        else:
            mismatches = show_paged(console, chosen, keys)
    if mismatches:
        complain("not everything happened as announced", "; ".join(mismatches))
        raise SystemExit(1)


def _serve_from(folder: Path) -> NoReturn:
    """Play the last chapter with everything in a folder, and serve until Ctrl-C."""
    import trio

    from mtls_echo.demo.endpoints.run import keep_serving
    from mtls_echo.lesson.show import open_console, show_sections
    from mtls_echo_pki.files.staging import DirectoryError

    console = open_console()

    def ignore(_: str) -> None:
        """Of what it waits is not said: it goes on for ever."""

    async def show(sections: list[Section]) -> None:
        await trio.to_thread.run_sync(show_sections, console, CHAPTERS[-1], sections)

    try:
        trio.run(keep_serving, folder, ignore, show)
    except DirectoryError as error:
        raise CommandError(str(error), error.hint) from error
    raise AssertionError("it serves until it is interrupted")
