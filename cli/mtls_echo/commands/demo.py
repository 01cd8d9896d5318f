"""`mtls-echo demo`: the lesson, in one terminal: connections, rotation, attacks, endpoints."""

from __future__ import annotations

from pathlib import Path

import click

from mtls_echo.console import CommandError, complain, this_command

_EPILOG = """\b
examples:
  mtls-echo demo
      Six connections in TLS 1.2, and the same six in TLS 1.3.
  mtls-echo demo --tls 1.3
      In TLS 1.3 only.
  mtls-echo demo --rotation
      Replace certificates, keys and CAs of a service while clients use it.
  mtls-echo demo --attacks
      Listen, phish, guess and more, with a password and with mutual TLS.
  mtls-echo demo --endpoints --keep ./many
      Connect to four servers, and leave them running for a second terminal.

\b
exit status:
  0  everything happened as announced
  1  something did not
  2  usage, or DIR cannot be used
"""


@click.command(epilog=_EPILOG)
@click.option(
    "--tls", type=click.Choice(["1.2", "1.3"]), help="Play this version only.  [default: both]"
)
@click.option(
    "--rotation",
    is_flag=True,
    help="Replace certificates under load instead: one expires, a key leaks, a CA changes.",
)
@click.option(
    "--attacks",
    is_flag=True,
    help="Attack a login instead: once with a password, once with mutual TLS.",
)
@click.option(
    "--endpoints",
    is_flag=True,
    help="Connect one client to many servers instead, each with TLS settings of its own.",
)
@click.option(
    "--keep",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="With --endpoints: make everything in DIR, and serve until Ctrl-C, for `mtls-echo"
    " endpoints` in a second terminal.",
)
def demo(
    tls: str | None, *, rotation: bool, attacks: bool, endpoints: bool, keep: Path | None
) -> None:
    """Show mutual TLS connections succeed and fail, from both ends.

    Makes CAs and certificates on the fly, starts a server, and connects clients: with a
    certificate, without one, with one from an untrusted CA, with an expired one; and two that
    refuse the server. Everything is real, and on this machine only.
    """
    import trio

    chosen = {
        "--tls": tls,
        "--rotation": rotation,
        "--attacks": attacks,
        "--endpoints": endpoints,
    }
    if len(given := [option for option, value in chosen.items() if value]) > 1:
        raise CommandError(f"{' and '.join(given)} exclude each other")
    if keep is not None and not endpoints:
        raise CommandError("--keep has no effect without --endpoints", "add --endpoints")
    from mtls_echo.demo.drawing import open_console

    if rotation:
        from mtls_echo.demo.rotation.run import replace_certificates

        mismatches = trio.run(replace_certificates, open_console())
    elif attacks:
        from mtls_echo.attacks.run import show_attacks

        mismatches = trio.run(show_attacks, open_console())
    elif endpoints:
        from mtls_echo.demo.endpoints.run import tour
        from mtls_echo_pki.files.staging import DirectoryError

        try:
            mismatches = trio.run(tour, open_console(), keep, this_command())
        except DirectoryError as error:
            raise CommandError(str(error), error.hint) from error
    else:
        from mtls_echo.demo.connections import play_scenes

        mismatches = trio.run(play_scenes, open_console(), tls)
    if mismatches:
        complain("not everything happened as announced", "; ".join(mismatches))
        raise SystemExit(1)
