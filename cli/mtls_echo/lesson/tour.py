"""The short tour: a connection that is accepted, one that is refused, and what to type next."""

from __future__ import annotations

from mtls_echo.console import short_path, this_command
from mtls_echo.demo.blocks import Diagram, Prose, Section, Status, Transcript, unmet
from mtls_echo.demo.credentials import DemoCredentials
from mtls_echo.lesson.stage import accounts, stage
from mtls_echo_tls.material.load import default_pki


async def play(_: Status) -> list[Section]:
    """Connect with a certificate, and without."""
    made = DemoCredentials.make()
    async with stage(made.server_context(mutual=True)) as scene:
        accepted = await scene.play(made.client_context(made.alice))
        refused = await scene.play(made.client_context())
    return [
        Section(
            "alice connects with her certificate",
            (
                Prose(
                    "Everything here is real: two CAs were made, a server was started, and it"
                    " demands a certificate from its clients. ── can be read on the way, ══ is"
                    " encrypted."
                ),
                Diagram(accepted.messages, accepted.client),
                accounts(accepted),
            ),
            unmet(
                {
                    "both ends accept": accepted.client.outcome
                    == accepted.server.outcome
                    == "echoed"
                }
            ),
        ),
        Section(
            "another client connects without one",
            (Diagram(refused.messages, refused.client), accounts(refused)),
            unmet(
                {
                    "both ends say why the server refuses": refused.client.causes
                    == refused.server.causes
                    == ["no-client-certificate"]
                }
            ),
        ),
        _next(),
    ]


def _next() -> Section:
    command, pki = this_command(), short_path(default_pki())
    curl = (
        f"curl -d hello https://localhost:8443/echo --cacert {pki}/trust/servers/ca.crt"
        f" --cert {pki}/client/tls.crt --key {pki}/client/tls.key"
    )
    return Section(
        "now you",
        (
            Prose("In one terminal a server, and in another its clients:"),
            Transcript(f"{command} serve", prompt=""),
            Transcript(
                f"{command} connect localhost:8443 hello\n"
                f"{command} connect localhost:8443 hello --no-cert\n{curl}",
                prompt="",
            ),
            Prose("Or the whole lesson, page by page, from what TLS is to why mutual TLS:"),
            Transcript(f"{command} demo", prompt=""),
        ),
    )
