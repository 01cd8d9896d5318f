"""`mtls-echo observe`: every failure that can be shown here, one after the other, from both ends.

The demonstration shows a handful; this is the whole collection (`mtls_echo.failures.registry`).
Each is played for real, drawn as either end recorded it, told by both and then by both together,
and compared with what the registry promises.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from mtls_echo.console import complain

if TYPE_CHECKING:
    from rich.console import Console

    from mtls_echo.failures.case import Observation
    from mtls_echo.failures.play import Seen, Sighting
    from mtls_echo_pki.flaws.flaw import TLSVersion

# Seconds for which a screenful stands still on a terminal. Ctrl-C is always at hand.
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


@click.command(epilog=_EPILOG)
@click.argument("slug", required=False)
@click.option("--tls", type=click.Choice(["1.2", "1.3"]), help="In this version only.")
@click.option("--fast", is_flag=True, help="Do not pause between two, on a terminal either.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object for each, and no more."
)
def observe(slug: str | None, tls: TLSVersion | None, fast: bool, as_json: bool) -> None:
    """Watch handshakes fail in every way there is, from both ends.

    SLUG is a cause such as "expired", or one of the flaws of `mtls-echo pki flaws`; without it
    all are played, in both versions of TLS and for each side that can be at fault. A table at the
    end says how much each side knew. The same is written down in docs/failures.md.
    """
    from mtls_echo.failures.registry import OBSERVATIONS, find

    try:
        chosen = find(slug) if slug is not None else OBSERVATIONS
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="SLUG") from None
    plays: list[tuple[Observation, TLSVersion]] = [
        (each, version) for each in chosen for version in each.expected if tls in (None, version)
    ]
    if not plays:
        raise click.BadParameter(f"{slug} does not exist in TLS {tls}", param_hint="--tls")
    surprises = _print_json(plays) if as_json else _show_all(plays, fast=fast)
    if surprises:
        complain("not everything happened as announced", "; ".join(surprises))
        raise SystemExit(1)


def _print_json(plays: list[tuple[Observation, TLSVersion]]) -> list[str]:
    import msgspec

    found: list[str] = []
    for observation, version in plays:
        sighting = observation.play(version)
        surprises = observation.surprises(sighting)
        client, server = sighting.client, sighting.server
        fields = {
            "slug": observation.slug,
            "cause": observation.cause,
            "whose": observation.whose,
            "tls": version,
            "alert": sighting.alert,
            "surprises": surprises,
            "client": None if client is None else client.report,
            "server": None if server is None else server.report,
            "account": sighting.account,
        }
        click.echo(msgspec.json.encode(fields))
        found += _named(observation, version, surprises)
    return found


def _show_all(plays: list[tuple[Observation, TLSVersion]], *, fast: bool) -> list[str]:
    from mtls_echo.demo.drawing import bar, open_console
    from mtls_echo.failures.scoreboard import Row, score, table

    console = open_console()
    found: list[str] = []
    rows: list[Row] = []
    for number, (observation, version) in enumerate(plays, start=1):
        if number > 1 and console.is_terminal and not fast:
            time.sleep(_PAUSE)
        sighting = observation.play(version)
        surprises = observation.surprises(sighting)
        heading = f"[bold]{observation.name}, TLS {version}[/] ({number} of {len(plays)})"
        console.rule(heading, characters=bar(console))
        _show(console, observation, sighting, surprises)
        rows.append(Row.of(observation, sighting))
        found += _named(observation, version, surprises)
    console.rule(characters=bar(console))
    for line in table(rows, console.width if console.is_terminal else None):
        console.print(line, markup=False, soft_wrap=True)
    console.print()
    for line in score(rows):
        console.print(line, markup=False)
    return found


def _named(observation: Observation, version: TLSVersion, surprises: list[str]) -> list[str]:
    return [f"{observation.name} (TLS {version}): {surprise}" for surprise in surprises]


def _show(
    console: Console, observation: Observation, sighting: Sighting, surprises: list[str]
) -> None:
    from mtls_echo.demo.drawing import show_accounts, show_joined

    client, server, account = sighting.client, sighting.server, sighting.account
    console.print(f"\n{observation.title}. {observation.about}".rstrip(), markup=False)
    _show_diagram(console, "client", client)
    _show_diagram(console, "server", server)
    show_accounts(
        console,
        None if client is None else client.report,
        None if server is None else server.report,
    )
    if account is not None:
        show_joined(console, account)
    if surprises:
        console.print(f"\n  [bold red]not as announced:[/] {'; '.join(surprises)}\n")
    else:
        alert = sighting.alert or "no alert"
        console.print(f"\n  [bold green]as announced:[/] {observation.cause}, {alert}\n")


def _show_diagram(console: Console, side: str, seen: Seen | None) -> None:
    from mtls_echo.demo.drawing import show_diagram

    if seen is None:
        return
    console.print(f"\n[dim]as the {side} recorded it:[/]\n")
    show_diagram(console, seen.messages, seen.report)
