"""`mtls-echo demo`: show connections succeed and fail, with the reports of both ends.

For each scene the handshake is drawn as the client recorded it, above the two reports side by
side: what the client saw and what the server saw. The two ends of one TCP connection make them
independently; they are then joined by ``ClientHello.random``.
"""

from __future__ import annotations

import shutil
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mtls_echo.console import CommandError, complain

if TYPE_CHECKING:
    import ssl

    from rich.console import Console

    from mtls_echo.demo.scenes import Scene
    from mtls_echo_server.events import Event
    from mtls_echo_tls.diagnosis.report import Report
    from mtls_echo_tls.trace.messages import Message

_MESSAGE = b"hello\n"

# Against a hang only: no result depends on it.
_TIMEOUT = 10.0


_EPILOG = """\b
examples:
  mtls-echo demo
      Six connections in TLS 1.2, and the same six in TLS 1.3.
  mtls-echo demo --tls 1.3
      In TLS 1.3 only.
  mtls-echo demo --rotation
      Replace certificates, keys and CAs of a service while clients use it.
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
def demo(tls: str | None, *, rotation: bool, endpoints: bool, keep: Path | None) -> None:
    """Show mutual TLS connections succeed and fail, from both ends.

    Makes CAs and certificates on the fly, starts a server, and connects clients: with a
    certificate, without one, with one from an untrusted CA, with an expired one; and two that
    refuse the server. Everything is real, and on this machine only.
    """
    import trio

    chosen = {"--tls": tls, "--rotation": rotation, "--endpoints": endpoints}
    if len(given := [option for option, value in chosen.items() if value]) > 1:
        raise CommandError(f"{' and '.join(given)} exclude each other")
    if keep is not None and not endpoints:
        raise CommandError("--keep has no effect without --endpoints", "add --endpoints")
    if rotation:
        mismatches = trio.run(_rotation)
    elif endpoints:
        mismatches = trio.run(_endpoints, keep)
    else:
        mismatches = trio.run(_demonstrate, tls)
    if mismatches:
        complain("not everything happened as announced", "; ".join(mismatches))
        raise SystemExit(1)


async def _rotation() -> list[str]:
    from mtls_echo.demo.drawing import open_console
    from mtls_echo.demo.rotation.run import demonstrate

    return await demonstrate(open_console())


async def _endpoints(keep: Path | None) -> list[str]:
    from mtls_echo.demo.drawing import open_console
    from mtls_echo.demo.endpoints.run import tour
    from mtls_echo_pki.files.staging import DirectoryError

    try:
        return await tour(open_console(), keep, _command())
    except DirectoryError as error:
        raise CommandError(str(error), error.hint) from error


async def _demonstrate(tls: str | None) -> list[str]:
    import trio

    from mtls_echo.demo.drawing import bar, open_console
    from mtls_echo.demo.scenes import SCENES, TLS12, TLS13, DemoCredentials
    from mtls_echo_client.context import client_context
    from mtls_echo_server.context import server_context
    from mtls_echo_server.serving import serve

    console = open_console()
    made = DemoCredentials.make()
    versions = {"1.2": (TLS12,), "1.3": (TLS13,), None: (TLS12, TLS13)}[tls]
    mismatches: list[str] = []
    seen, reports = trio.open_memory_channel[dict[str, object]](len(SCENES) * 2)

    def note(event: Event) -> None:
        if event.name == "connection":
            seen.send_nowait(dict(event.fields))

    async with trio.open_nursery() as nursery:
        context = server_context(made.server, made.client_trust)
        [(_, port)] = await nursery.start(partial(serve, context, "127.0.0.1:0", events=note))
        _introduce(console)
        for version in versions:
            console.rule(
                f"[bold]TLS {version.name[-3:].replace('_', '.')}", characters=bar(console)
            )
            for number, scene in enumerate(SCENES, start=1):
                context = client_context(
                    getattr(made, scene.trust),
                    getattr(made, scene.credential) if scene.credential else None,
                    minimum_version=version,
                    maximum_version=version,
                )
                client, messages = await _connect(port, context, scene.server_name)
                with trio.fail_after(_TIMEOUT):
                    server = _report(await reports.receive())
                wrong = _compare(scene, version, client, server)
                _show(console, number, scene, messages, client, server, wrong)
                mismatches += [
                    f"{scene.title} (TLS {version.name[-3:]}): {text}" for text in wrong
                ]
        nursery.cancel_scope.cancel()
    _conclude(console, len(versions) * len(SCENES), mismatches)
    return mismatches


async def _connect(
    port: int, context: ssl.SSLContext, server_name: str
) -> tuple[Report, list[Message]]:
    """Connect, echo, close; return the client's report and the handshake as it recorded it."""
    from mtls_echo_client.session import connect
    from mtls_echo_tls.diagnosis.failure import TLSFailure

    try:
        async with await connect(
            "127.0.0.1", port, context, server_name=server_name, timeout=_TIMEOUT, trace=True
        ) as session:
            await session.echo(_MESSAGE)
            return session.report, session.evidence.recorder.messages
    except TLSFailure as failure:
        return failure.report, failure.evidence.recorder.messages


def _report(fields: dict[str, object]) -> Report:
    import msgspec

    from mtls_echo_tls.diagnosis.report import Report

    return msgspec.convert(fields, Report)


def _compare(scene: Scene, version: ssl.TLSVersion, client: Report, server: Report) -> list[str]:
    """List what did not happen as announced."""
    wrong: list[str] = []
    verifier = server if scene.rejected_by == "server" else client
    if client.client_random is None or client.client_random != server.client_random:
        wrong.append("the two reports are not of one connection")
    for report in (client, server):
        outcome = "refused" if scene.rejected_by else "echoed"
        if (report.outcome, report.rejected_by) != (outcome, scene.rejected_by):
            wrong.append(f"the {report.side} says: {report.outcome}, by {report.rejected_by}")
        alert = report.alert and report.alert.name
        if alert != scene.alert(version):
            wrong.append(f"the {report.side} saw alert {alert}, not {scene.alert(version)}")
        if scene.cause is not None and scene.cause not in report.causes:
            wrong.append(f"the {report.side} does not name {scene.cause}: {report.causes}")
    if scene.cause is not None and verifier.causes[0] != scene.cause:
        wrong.append(f"the {verifier.side}, which refused, names {verifier.causes} first")
    return wrong


# --- what is printed -----------------------------------------------------------------------------


def _introduce(console: Console) -> None:
    from mtls_echo.demo.drawing import bar, is_plain, show_paragraph

    show_paragraph(
        console,
        "Every handshake below is real. Three CAs (certification authorities) were made on the"
        " fly: the servers' CA issued the server's certificate, the clients' CA issued alice's,"
        " and neither side trusts the third. Each side trusts only the other side's CA."
        f" {bar(console) * 2} can be read on the path, {'==' if is_plain(console) else '══'} is"
        " encrypted.",
    )


def _show(
    console: Console,
    number: int,
    scene: Scene,
    messages: list[Message],
    client: Report,
    server: Report,
    wrong: list[str],
) -> None:
    from mtls_echo.demo.drawing import show_accounts, show_diagram, show_joined
    from mtls_echo_tls.diagnosis.joint import join

    console.print(f"\n[bold]{number}. {scene.title}[/]\n")
    show_diagram(console, messages, client)
    show_accounts(console, client, server)
    if client.client_random == server.client_random:
        show_joined(console, join(client, server))
    if wrong:
        console.print(f"\n  [bold red]not as announced:[/] {'; '.join(wrong)}")
    else:
        verdict = scene.announced
        if scene.cause and client.alert:
            verdict += f": {scene.cause}, {client.alert.name} ({client.alert.code})"
        console.print(f"\n  [bold green]as announced:[/] {verdict}")


def _conclude(console: Console, count: int, mismatches: list[str]) -> None:
    from mtls_echo.demo.drawing import bar, show_command
    from mtls_echo_tls.material.load import default_pki

    verdict = (
        "all as announced" if not mismatches else f"{len(mismatches)} things not as announced"
    )
    console.rule(characters=bar(console))
    console.print(
        f"[bold]{count} connections, {verdict}.[/] Now try it yourself. In one terminal:\n"
    )
    command, pki = _command(), _short(default_pki())
    identity = f"{pki}/client/tls"
    for line in (
        f"{command} serve",
        "",
        f"{command} connect localhost:8443 hello",
        f"{command} connect localhost:8443 hello --no-cert",
        f"(echo hello; sleep 1) | openssl s_client -connect localhost:8443 -quiet -no_ign_eof"
        f" -verify_return_error -CAfile {pki}/trust/servers/ca.crt"
        f" -cert {identity}.crt -key {identity}.key",
        # An echo server sends the request back. This one reads as a response, too.
        f"curl -X 'HTTP/1.1 200' -d hello https://localhost:8443/ --cacert"
        f" {pki}/trust/servers/ca.crt --cert {identity}.crt --key {identity}.key",
    ):
        if line:
            show_command(console, line)
        else:
            console.print("\nand in another, one after the other:\n")
    console.print("\nThere is more to watch: certificates that change, and many servers.\n")
    for option in ("--rotation", "--endpoints"):
        show_command(console, f"{command} demo {option}")


def _command() -> str:
    """This program, as it can be called from here."""
    running = Path(sys.argv[0]).resolve()
    found = shutil.which("mtls-echo")
    if found is not None and Path(found).resolve() == running:
        return "mtls-echo"
    if running.name != "mtls-echo":
        return f"{_short(Path(sys.executable))} -m mtls_echo"
    return _short(Path(sys.argv[0]).absolute())


def _short(path: Path) -> str:
    """The shortest way to write a path from here, quoted for a shell."""
    import shlex

    for place, prefix in ((Path.cwd, ""), (Path.home, "~/")):
        try:
            base = place()
        except (OSError, RuntimeError):
            continue  # a deleted working directory; a user without a home
        if path.is_relative_to(base) and path != base:
            return prefix + shlex.quote(str(path.relative_to(base)))
    return shlex.quote(str(path))
