"""Connections that succeed and fail, drawn above the reports of both ends.

For each scene the handshake is drawn as the client recorded it, above the two reports side by
side: what the client saw and what the server saw. The two ends of one TCP connection make them
independently; they are then joined by ``ClientHello.random``.
"""

from __future__ import annotations

import ssl
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import trio

from mtls_echo.console import short_path, this_command
from mtls_echo.demo import drawing
from mtls_echo.demo.scenes import SCENES, TLS12, TLS13, DemoCredentials, Scene
from mtls_echo.vocabulary import COMMAND_LINE
from mtls_echo_client.context import client_context
from mtls_echo_client.session import connect
from mtls_echo_server.context import server_context
from mtls_echo_server.events import Event
from mtls_echo_server.service import serve
from mtls_echo_tls.diagnosis.context_info import with_vocabulary
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.diagnosis.joint import join_reports
from mtls_echo_tls.diagnosis.report import Report
from mtls_echo_tls.material.load import default_pki
from mtls_echo_tls.trace.messages import Message

if TYPE_CHECKING:
    from rich.console import Console

_MESSAGE = b"hello\n"

# Against a hang only: no result depends on it.
_TIMEOUT = 10.0


async def play_scenes(console: Console, tls: str | None) -> list[str]:
    """Play every scene, in one version ("1.2" or "1.3") or both.

    Returns:
        What did not happen as announced.
    """
    made = DemoCredentials.make()
    versions = {"1.2": (TLS12,), "1.3": (TLS13,), None: (TLS12, TLS13)}[tls]
    mismatches: list[str] = []
    seen, reports = trio.open_memory_channel[dict[str, object]](len(SCENES) * 2)

    def note(event: Event) -> None:
        if event.name == "connection":
            seen.send_nowait(dict(event.fields))

    async with trio.open_nursery() as nursery:
        context = with_vocabulary(server_context(made.server, made.client_trust), COMMAND_LINE)
        [(_, port)] = await nursery.start(partial(serve, context, "127.0.0.1:0", events=note))
        _introduce(console)
        for version in versions:
            console.rule(
                f"[bold]TLS {version.name[-3:].replace('_', '.')}", characters=drawing.bar(console)
            )
            for number, scene in enumerate(SCENES, start=1):
                context = client_context(
                    getattr(made, scene.trust),
                    getattr(made, scene.credential) if scene.credential else None,
                    minimum_version=version,
                    maximum_version=version,
                )
                with_vocabulary(context, COMMAND_LINE)
                client, messages = await _connect(port, context, scene.server_name)
                with trio.fail_after(_TIMEOUT):
                    server = msgspec.convert(await reports.receive(), Report)
                wrong = _compare(scene, version, client, server)
                _show(console, number, scene, messages, client, server, wrong)
                where = f"{scene.title} (TLS {version.name[-3:]})"
                mismatches += [f"{where}: {text}" for text in wrong]
        nursery.cancel_scope.cancel()
    _conclude(console, len(versions) * len(SCENES), mismatches)
    return mismatches


async def _connect(
    port: int, context: ssl.SSLContext, server_name: str
) -> tuple[Report, list[Message]]:
    """Connect, echo, close; return the client's report and the handshake as it recorded it."""
    try:
        async with await connect(
            "127.0.0.1", port, context, server_name=server_name, timeout=_TIMEOUT, trace=True
        ) as session:
            await session.echo(_MESSAGE)
            return session.report, session.evidence.recorder.messages
    except TLSFailure as failure:
        return failure.report, failure.evidence.recorder.messages


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
    drawing.show_paragraph(
        console,
        "Every handshake below is real. Three CAs (certification authorities) were made on the"
        " fly: the servers' CA issued the server's certificate, the clients' CA issued alice's,"
        " and neither side trusts the third. Each side trusts only the other side's CA."
        f" {drawing.bar(console) * 2} can be read on the path,"
        f" {'==' if drawing.is_plain(console) else '══'} is encrypted.",
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
    console.print(f"\n[bold]{number}. {scene.title}[/]\n")
    drawing.show_diagram(console, messages, client)
    drawing.show_accounts(console, client, server)
    if client.client_random == server.client_random:
        drawing.show_joined(console, join_reports(client, server))
    announced = f"refused by the {scene.rejected_by}" if scene.rejected_by else "echoed"
    if scene.cause and client.alert:
        announced += f": {scene.cause}, {client.alert.name} ({client.alert.code})"
    console.print(f"\n  {drawing.outcome(wrong, announced)}")


def _conclude(console: Console, count: int, mismatches: list[str]) -> None:
    console.rule(characters=drawing.bar(console))
    console.print(
        f"[bold]{count} connections, {drawing.summary(mismatches)}.[/] Now try it yourself. In one"
        " terminal:\n"
    )
    command, pki = this_command(), short_path(default_pki())
    identity = f"{pki}/client/tls"
    drawing.show_command(console, f"{command} serve")
    console.print("\nand in another, one after the other:\n")
    for line in (
        f"{command} connect localhost:8443 hello",
        f"{command} connect localhost:8443 hello --no-cert",
        f"(echo hello; sleep 1) | openssl s_client -connect localhost:8443 -quiet -no_ign_eof"
        f" -verify_return_error -CAfile {pki}/trust/servers/ca.crt"
        f" -cert {identity}.crt -key {identity}.key",
        f"curl -d hello https://localhost:8443/echo --cacert"
        f" {pki}/trust/servers/ca.crt --cert {identity}.crt --key {identity}.key",
    ):
        drawing.show_command(console, line)
    console.print("\nThere is more to watch: certificates that change, attacks, many servers.\n")
    for option in ("--rotation", "--attacks", "--endpoints"):
        drawing.show_command(console, f"{command} demo {option}")
