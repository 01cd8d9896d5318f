"""The command `mtls-echo gallery judge`: score a client, and say what it let pass."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click
from click.shell_completion import CompletionItem

from mtls_echo.console import CommandError, print_result, value_errors
from mtls_echo.parameters import (
    file_option,
    progress_bar,
    quiet_option,
    timeout_option,
    write_report,
)
from mtls_echo_pki.files.durable import os_reason
from mtls_echo_pki.printable import printable

if TYPE_CHECKING:
    from mtls_echo.gallery.clients import ClientCommand
    from mtls_echo.gallery.exhibit import Exhibit
    from mtls_echo.gallery.judge import Progress
    from mtls_echo.gallery.score import Expectation, Score
    from mtls_echo_pki.flaws.flaw import TLSVersion

_EPILOG = """\b
examples:
  mtls-echo gallery judge --client curl
  mtls-echo gallery judge -- curl --cacert {ca} {url}
  mtls-echo gallery judge -- ./my-client --host {host} --port {port} --trust {ca}
  mtls-echo gallery judge --only expired --only wrong-name -- ./my-client {url} {ca}
  mtls-echo gallery judge --expect known.toml --junit report.xml -- ./my-client {url} {ca}
      Where known.toml says what is put up with:
        [no-san]
        verdict = "accepted"
        reason = "falls back to the common name until version 3"

\b
placeholders:
  {url}          https://localhost:PORT/, a port for each run
  {host} {port}  the same apart; {host} an address where one is asked for
  {ca}           the trust anchors, PEM
  {crl}          a CRL of every CA; {trust}: both in one file, for OpenSSL;
                 with neither no revocation is judged
  {cert} {key}   a client's certificate and key, PEM
  Standard input is an HTTP request, for clients that send what they read.

\b
exit status:
  0  every exhibit that was judged was refused as it must be, or as expected
  1  something was accepted, or what must work failed
  2  usage, or a client that is not there
  5  the good server failed, so nothing was judged
  6  nothing could be judged
"""


def complete_clients(
    _: click.Context, __: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """The ready-made clients that are here."""
    from mtls_echo.gallery.clients import CLIENTS

    here = (name for name, client in CLIENTS.items() if not client.missing)
    return [CompletionItem(name) for name in here if name.startswith(incomplete)]


def complete_exhibits(
    _: click.Context, __: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """The exhibits whose names begin so, with what they are."""
    from mtls_echo.gallery.collection import EXHIBITS

    found = (each for slug, each in EXHIBITS.items() if slug.startswith(incomplete))
    return [CompletionItem(each.slug, help=each.title) for each in found]


@click.command(epilog=_EPILOG, context_settings={"ignore_unknown_options": False})
@click.option(
    "--client",
    metavar="NAME",
    shell_complete=complete_clients,
    help="A ready-made client; `--client list` names them.",
)
@click.option(
    "--only",
    multiple=True,
    metavar="SLUG",
    shell_complete=complete_exhibits,
    help="Judge by this exhibit; repeatable.",
)
@click.option("--tls", type=click.Choice(["1.2", "1.3"]), help="Judge in this version only.")
@file_option("--expect", help="What is put up with, TOML, so that only what changed is an error.")
@click.option("--all", "everything", is_flag=True, help="Show what was refused, too.")
@quiet_option("Print the score only where something is wrong or was not judged; no progress.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object with all rows.")
@file_option("--junit", help="Write a JUnit report there.")
@timeout_option(20.0, "How long one run may take; then it is ended, and not judged.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[-- CMD ...]")
def judge(
    client: str | None,
    only: tuple[str, ...],
    tls: TLSVersion | None,
    expect: Path | None,
    everything: bool,
    quiet: bool,
    as_json: bool,
    junit: Path | None,
    timeout: float,
    command: tuple[str, ...],
) -> None:
    """Run a client against every exhibit, and say what it let pass.

    The client is run once for each exhibit and version of TLS, each time against a server of its
    own on this machine. What counts is what that server saw: an exhibit is refused if no
    application data came. An exit status alone proves nothing, and an error that is printed after
    the request was sent is too late.
    """
    if client == "list":
        _list()
        return
    chosen, judged = _exhibits(only), _client(client, command)
    expected = _expectations(expect)

    with progress_bar(f"judging {printable(judged.name)}", shown=not quiet) as progress:
        score = _run(judged, partial(_judge, judged, chosen, tls, timeout, progress))
    write_report("--junit", junit, lambda: score.as_junit(expected))
    if as_json:
        click.echo(score.as_json(expected))
    elif not quiet or score.exit_status(expected):
        from mtls_echo.commands.gallery.text import lines_of

        for line in lines_of(score, expected, everything=everything):
            print_result(line)
    raise SystemExit(score.exit_status(expected))


def _run(client: ClientCommand, judging: Callable[[], Awaitable[Score]]) -> Score:
    import trio

    from mtls_echo.gallery.judge import BuildError

    try:
        return trio.run(judging)
    except ExceptionGroup as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
        if isinstance(error, BuildError):
            raise CommandError(
                f"{client.name} cannot be built: {error}",
                "judge another: mtls-echo gallery judge --client list",
            ) from error
        if isinstance(error, OSError):
            program = (client.build or client.command)[0]
            raise CommandError(
                f"{program} cannot be run: {os_reason(error)}", "name a program on PATH"
            ) from error
        raise


async def _judge(
    client: ClientCommand,
    exhibits: list[Exhibit],
    tls: TLSVersion | None,
    limit: float,
    progress: Progress | None,
) -> Score:
    """Judge; when this is terminated, the client that runs ends, too."""
    import signal

    import trio

    from mtls_echo.gallery.judge import judge as run

    async with trio.open_nursery() as nursery:

        async def until_terminated() -> None:
            with trio.open_signal_receiver(signal.SIGTERM) as signals:
                await anext(signals)
                nursery.cancel_scope.cancel()

        nursery.start_soon(until_terminated)
        score = await run(client, exhibits, tls=tls, timeout=limit, progress=progress)
        nursery.cancel_scope.cancel()
        return score
    raise SystemExit(143)  # 128 + SIGTERM, as a shell reports it


def _list() -> None:
    from mtls_echo.gallery.clients import CLIENTS

    for each in CLIENTS.values():
        print_result(f"{each.name:10}  {f'not here: {each.missing}' if each.missing else 'here'}")


def _exhibits(only: tuple[str, ...]) -> list[Exhibit]:
    from mtls_echo.gallery.collection import EXHIBITS, find_exhibit

    with value_errors("--only: "):
        return [find_exhibit(slug) for slug in only] or list(EXHIBITS.values())


def _client(name: str | None, command: tuple[str, ...]) -> ClientCommand:
    from mtls_echo.gallery.clients import find_client, own_client

    if (name is None) == (not command):
        raise CommandError(
            "name a client or give a command" + (", not both" if command else ""),
            "mtls-echo gallery judge --client curl, or: mtls-echo gallery judge -- CMD {url} {ca}",
        )
    with value_errors("", "mtls-echo gallery judge --help has the placeholders"):
        client = own_client(command) if name is None else find_client(name)
    if client.missing:
        raise CommandError(
            f"--client {name}: {client.missing} is not installed",
            "install it, or judge another: mtls-echo gallery judge --client list",
        )
    return client


def _expectations(file: Path | None) -> Mapping[str, Expectation]:
    if file is None:
        return {}
    from mtls_echo.gallery.collection import find_exhibit
    from mtls_echo.gallery.score import read_expectations

    form = 'a table per exhibit: [no-san], then verdict = "accepted" and reason = "why"'
    try:
        with value_errors(f"--expect {file}: ", form):
            found = read_expectations(file)
            for slug in found:
                find_exhibit(slug)
    except OSError as error:
        raise CommandError(f"--expect {file}: {os_reason(error)}", f"write {form}") from error
    return found
