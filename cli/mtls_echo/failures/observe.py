"""`mtls-echo observe`: play failure cases and show what both ends report.

`mtls-echo demo` shows six; this shows the whole registry (`mtls_echo.failures.registry`). Each
case is played for real, drawn as each end recorded it, with the reports of both ends and the joint
report, and compared with its expected result.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from mtls_echo.console import CommandError, complain, print_result, value_errors
from mtls_echo.parameters import quiet_option

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem
    from rich.console import Console

    from mtls_echo.failures.case import FailureCase
    from mtls_echo.failures.play import PlayedFailure
    from mtls_echo_pki.flaws.flaw import TLSVersion

# Seconds between two failures on a terminal, to read what is on the screen.
_PAUSE = 5.0


_EPILOG = """\b
examples:
  mtls-echo observe expired
  mtls-echo observe no-common-alpn --tls 1.3
  mtls-echo observe --json | jq -r '[.slug, .tls, .alert] | @tsv'

\b
exit status:
  0  everything happened as announced
  1  something did not
  2  usage
"""


def _complete(ctx: click.Context, param: click.Parameter, begun: str) -> list[CompletionItem]:
    """The failures and causes whose names begin so, with what they mean."""
    from click.shell_completion import CompletionItem

    from mtls_echo.failures.registry import FAILURE_CASES

    titles = {case.cause: "" for case in FAILURE_CASES}
    titles |= {case.slug: case.title for case in FAILURE_CASES}
    found = sorted(slug for slug in titles if slug.startswith(begun))
    return [CompletionItem(slug, help=titles[slug]) for slug in found]


@click.command(epilog=_EPILOG)
@click.argument("slug", required=False, shell_complete=_complete)
@click.option("--list", "listed", is_flag=True, help="List the failures, and end.")
@click.option("--tls", type=click.Choice(["1.2", "1.3"]), help="Play this version only.")
@click.option("--fast", is_flag=True, help="Do not pause between two failures on a terminal.")
@quiet_option("Show only what does not happen as announced; no pause, no table.")
@click.option("--json", "as_json", is_flag=True, help="Print only one JSON object per failure.")
def observe(
    slug: str | None,
    listed: bool,
    tls: TLSVersion | None,
    fast: bool,
    quiet: bool,
    as_json: bool,
) -> None:
    """Play handshake failures, and show what both ends report.

    SLUG is a cause such as "expired", or one of the flaws of `mtls-echo pki flaws`. Without it all
    failures are played, in both versions of TLS and for each side that can be at fault. A table at
    the end says how many causes each side named. docs/failures.md is written from the same.
    """
    from mtls_echo.failures.registry import FAILURE_CASES, find

    if listed:
        titles = {case.slug: case.title for case in FAILURE_CASES}
        print_result("\n".join(f"{each:38}  {title}" for each, title in titles.items()))
        return
    with value_errors(""):
        chosen = find(slug) if slug is not None else FAILURE_CASES
    plays: list[tuple[FailureCase, TLSVersion]] = [
        (each, version) for each in chosen for version in each.expected if tls in (None, version)
    ]
    if not plays:
        raise CommandError(f"{slug} does not exist in TLS {tls}", "leave out --tls")
    mismatches = _print_json(plays) if as_json else _show_all(plays, fast=fast, quiet=quiet)
    if mismatches:
        complain("not everything happened as announced", "; ".join(mismatches))
        raise SystemExit(1)


def _print_json(plays: list[tuple[FailureCase, TLSVersion]]) -> list[str]:
    import msgspec

    found: list[str] = []
    for case, version in plays:
        played = case.play(version)
        mismatches = case.mismatches(played)
        client, server = played.reports
        fields = {
            "slug": case.slug,
            "cause": case.cause,
            "whose": case.whose,
            "tls": version,
            "alert": played.alert,
            "surprises": mismatches,
            "client": client,
            "server": server,
            "account": played.account,
        }
        click.echo(msgspec.json.encode(fields))
        found += _named(case, version, mismatches)
    return found


def _show_all(
    plays: list[tuple[FailureCase, TLSVersion]], *, fast: bool, quiet: bool
) -> list[str]:
    from mtls_echo.demo.drawing import bar, open_console
    from mtls_echo.failures.scoreboard import Row, score, table

    console = open_console()
    found: list[str] = []
    rows: list[Row] = []
    for number, (case, version) in enumerate(plays, start=1):
        if number > 1 and console.is_terminal and not fast and not quiet:
            time.sleep(_PAUSE)
        played = case.play(version)
        mismatches = case.mismatches(played)
        found += _named(case, version, mismatches)
        rows.append(Row.of(case, played))
        if quiet and not mismatches:
            continue
        heading = f"[bold]{case.name}, TLS {version}[/] ({number} of {len(plays)})"
        console.rule(heading, characters=bar(console))
        _show(console, case, played, mismatches)
    if quiet:
        return found
    console.rule(characters=bar(console))
    lines = table(rows, console.width if console.is_terminal else None)
    console.print("\n".join(lines), markup=False, soft_wrap=True)
    console.print("", *score(rows), sep="\n", markup=False)
    return found


def _named(case: FailureCase, version: TLSVersion, mismatches: list[str]) -> list[str]:
    return [f"{case.name} (TLS {version}): {mismatch}" for mismatch in mismatches]


def _show(
    console: Console, case: FailureCase, played: PlayedFailure, mismatches: list[str]
) -> None:
    from mtls_echo.demo.drawing import outcome, show_accounts, show_diagram, show_joined

    console.print(f"\n{case.title}. {case.about}".rstrip(), markup=False)
    for side, end in (("client", played.client), ("server", played.server)):
        if end is not None:
            console.print(f"\n[dim]as the {side} recorded it:[/]\n")
            show_diagram(console, end.messages, end.report)
    show_accounts(console, *played.reports)
    if played.account is not None:
        show_joined(console, played.account)
    announced = f"{case.cause}, {played.alert or 'no alert'}"
    console.print(f"\n  {outcome(mismatches, announced)}\n")
