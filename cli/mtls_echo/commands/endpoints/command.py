"""The ``mtls-echo endpoints`` command: many servers, each with TLS settings of its own.

Scripts rely on three things, which are documented in the help and tested: the exit status, the
fields of ``--json``, and that nothing is connected to before the whole configuration is found to
be valid. Nothing is imported before it is needed.
"""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import click

from mtls_echo.console import CONNECTION_STATUSES, REDIRECT, CommandError
from mtls_echo.parameters import Seconds, quiet_option, verify_option
from mtls_echo.usage.help import SectionedCommand

# The file is read, and names are looked up, as often as this or more often, in seconds.
_FILE_INTERVAL = 1.0

# Whether it can be read is found out by reading it, and said like everything else about it.
_FILE = click.Path(path_type=Path, readable=False)

EPILOG = f"""
\b
the configuration is a list of groups:
  - name: eu
    tls_config:
      cert_file: client.crt
      key_file: client.key
      ca_file: servers.crt
      server_name: echo.test
    endpoints: ["127.0.0.1:8443", "dns+echo.test:8443"]
    endpoints_sd_files:
      - files: ["targets/*.json"]
        refresh_interval: 5m
    mode: ""            # or "strict": kept and tried for ever, no discovery

\b
examples:
  mtls-echo endpoints --endpoint.config-file endpoints.yaml --check
      Check the files, and print what would be connected to, and how. Connects to nothing.
  mtls-echo endpoints --endpoint.config-file endpoints.yaml
      Try each endpoint once.
  mtls-echo endpoints --endpoint.config-file endpoints.yaml --watch
      Stay connected, and follow the configuration, the files and the servers.
  mtls-echo endpoints --endpoint.config-file endpoints.yaml --json | jq '.endpoints[].state'
      The same for a script.

\b
exit status:
  0  every strict endpoint echoed, and at least one endpoint is admitted
  otherwise that of the first strict endpoint that did not echo, or of the
  first endpoint when none is admitted:
  2  usage, configuration or unusable files; nothing to connect to
{CONNECTION_STATUSES}\
  130  one round was interrupted by Ctrl-C
  141  standard output was closed by its reader
  with --check: 0 the configuration and its files are valid, 2 they are not
  with --watch, ended by Ctrl-C or SIGTERM: the same, of the last states;
  SIGHUP reads everything again at once
"""


_period = partial(click.option, type=Seconds(min=0, min_open=True), metavar="SECONDS")


_SECTIONS = {
    "What to connect to": "file inline allow_plaintext verify",
    "What to do": "check watch",
    "How often, how long": "interval timeout unhealthy_timeout",
    "Output": "quiet json",
}


@click.command(
    "endpoints", cls=SectionedCommand, sections=_SECTIONS, epilog=EPILOG, no_args_is_help=True
)
@click.option(
    "--endpoint.config-file",
    "file",
    type=_FILE,
    metavar="FILE",
    help="What to connect to, YAML. Relative paths in it begin at its folder.",
)
@click.option(
    "--endpoint.config",
    "inline",
    metavar="YAML",
    help="The same, given here. Relative paths in it begin at the current folder.",
)
@click.option(
    "--check",
    is_flag=True,
    help="Print where each endpoint's TLS settings come from, and connect to none.",
)
@click.option("--watch", is_flag=True, help="Stay connected and show what happens, until Ctrl-C.")
@quiet_option(
    "Print only what is not well: the table if the exit status is not 0 or a file is not in order;"
    " with --watch a line for each endpoint or file that fails, and that is well again."
)
@click.option("--json", is_flag=True, help="Print one JSON object; with --watch one per change.")
@click.option(
    "--allow-plaintext",
    is_flag=True,
    help="Let groups without tls_config be connected to in plaintext, and show them as such.",
)
@verify_option("default")
@_period(
    "--interval",
    help="With --watch: the time between two checks of an endpoint, and the longest until a lost"
    " one is dialled again.  [default: 5]",
)
@_period(
    "--timeout",
    help="For connecting and the handshake; then for the echo.  [default: 5]",
)
@_period(
    "--unhealthy-timeout",
    help="With --watch: drop an endpoint that is not strict after so long without an echo; it is"
    " still tried.  [default: 300]",
)
def endpoints(
    file: Path | None,
    inline: str | None,
    *,
    check: bool,
    watch: bool,
    quiet: bool,
    json: bool,
    allow_plaintext: bool,
    verify: str | None,
    interval: float | None,
    timeout: float | None,
    unhealthy_timeout: float | None,
) -> None:
    """Connect to many servers, each with TLS settings of its own, and show the state of each.

    An endpoint is admitted once its first echo has come back, and until it has not answered for
    --unhealthy-timeout; a strict one always is. Whether it is listed or discovered from files, it
    is verified with its own group's CA and presented with its own group's certificate.
    """
    if (file is None) is (inline is None):
        raise CommandError(
            "give either --endpoint.config-file or --endpoint.config"
            + ("" if file is None else ", not both"),
            "for example: mtls-echo endpoints --endpoint.config-file endpoints.yaml --check",
        )
    if check and watch:
        raise CommandError("--check and --watch exclude each other", "--check connects to nothing")
    _refuse_idle(
        "--watch", watch, {"--interval": interval, "--unhealthy-timeout": unhealthy_timeout}
    )
    _refuse_idle("a connection", not check, {"--timeout": timeout})
    if sys.stdout is None:
        raise CommandError("standard output is closed", REDIRECT)

    import trio

    from mtls_echo.commands.endpoints.run import Rounds
    from mtls_echo.commands.endpoints.text import VOCABULARY
    from mtls_echo_client.endpoints.configuration.read import (
        parse_configuration,
        read_configuration,
    )
    from mtls_echo_client.endpoints.discovery.planner import Planner
    from mtls_echo_client.endpoints.monitor.monitor import Monitor

    strict = verify == "strict"
    load = partial(parse_configuration, inline or "", name="--endpoint.config", strict=strict)
    if file is not None:
        load = partial(read_configuration, file, strict=strict)
    interval = interval or 5.0
    looking = min(interval, _FILE_INTERVAL)

    async def run() -> int:
        rounds = Rounds(
            planner=Planner(
                load, allow_plaintext=allow_plaintext, interval=looking, vocabulary=VOCABULARY
            ),
            monitor=Monitor(
                check_interval=interval,
                timeout=timeout or 5.0,
                unhealthy_timeout=unhealthy_timeout or 300.0,
                file_interval=looking,
                vocabulary=VOCABULARY,
                strict=strict,
            ),
            json=json,
            quiet=quiet,
        )
        if check:
            return await rounds.show_plan()
        return await (rounds.watch() if watch else rounds.check())

    # Between checkpoints Ctrl-C could leave a socket without an owner.
    raise SystemExit(trio.run(run, restrict_keyboard_interrupt_to_checkpoints=True))


def _refuse_idle(without: str, there: bool, given: dict[str, float | None]) -> None:
    """Nothing that was asked for is ignored."""
    for option, value in given.items():
        if value is not None and not there:
            raise CommandError(f"{option} has no effect without {without}", "leave it out")
