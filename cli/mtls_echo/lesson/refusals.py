"""Chapter 6, refusals from both ends: five ways to be refused, and what each end learns of it."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass

from mtls_echo.demo.blocks import Block, Diagram, Prose, Section, Status, Table
from mtls_echo.demo.credentials import HOST, TLS12, TLS13, DemoCredentials
from mtls_echo.lesson.stage import Played, Stage, accounts, stage
from mtls_echo_tls.sides import Side

_WRONG_HOST = "bank.test"


@dataclass(frozen=True)
class Scene:
    """A connection that is refused.

    Attributes:
        title: What differs from a connection that is accepted.
        credential: The client's, an attribute of `DemoCredentials`; None presents none.
        trust: The client's trust anchors, an attribute of `DemoCredentials`.
        server_name: The reference identifier (RFC 9525 §4).
        rejected_by, cause: Which side refuses the other, and why.
        alerts: The alert on the wire, in TLS 1.2 and in TLS 1.3.
        lesson: What to remember.
        compared: Whether there is room for what was compared.
    """

    title: str
    lesson: str
    rejected_by: Side
    cause: str
    alerts: tuple[str, str]
    credential: str | None = "alice"
    trust: str = "server_trust"
    server_name: str = HOST
    compared: bool = True

    async def play(self, scene: Stage, made: DemoCredentials, version: ssl.TLSVersion) -> Played:
        """Play it in one version of TLS."""
        credential = getattr(made, self.credential) if self.credential else None
        context = made.client_context(credential, version, getattr(made, self.trust))
        return await scene.play(context, server_name=self.server_name)


SCENES = (
    Scene(
        "no certificate",
        "An empty Certificate message is an answer, too: the server decides what it is worth.",
        "server",
        "no-client-certificate",
        # TLS 1.2 has no alert for this and uses the most general one (RFC 5246 §7.4.6).
        ("handshake_failure", "certificate_required"),
        credential=None,
    ),
    Scene(
        "a certificate of an untrusted CA",
        "An unknown CA and a missing intermediate look the same, so both are said.",
        "server",
        "unknown-authority",
        ("unknown_ca", "unknown_ca"),
        credential="foreign",
        compared=False,
    ),
    Scene(
        "an expired certificate",
        "The client has its own certificate, and a clock: it finds out by itself what the alert"
        " means.",
        "server",
        "expired",
        ("certificate_expired", "certificate_expired"),
        credential="expired",
    ),
    Scene(
        "the wrong host",
        "Now the client refuses. The alert says no more than “bad”; but the server has heard which"
        " name was asked for.",
        "client",
        "wrong-name",
        ("bad_certificate", "bad_certificate"),
        server_name=_WRONG_HOST,
    ),
    Scene(
        "a client that does not trust the server's CA",
        "The same alert as above, the other way round: who refused whom is the first question.",
        "client",
        "unknown-authority",
        ("unknown_ca", "unknown_ca"),
        trust="foreign_trust",
    ),
)


async def play(_: Status) -> list[Section]:
    """Play every scene in both versions; TLS 1.3 is shown, and what differs in 1.2."""
    made = DemoCredentials.make()
    async with stage(made.server_context(mutual=True)) as on_stage:
        played = [
            [await scene.play(on_stage, made, version) for version in (TLS12, TLS13)]
            for scene in SCENES
        ]
    sections = [
        Section(
            scene.title, (*_shown(scene, both[1]), Prose(scene.lesson)), _mismatches(scene, both)
        )
        for scene, both in zip(SCENES, played, strict=True)
    ]
    return [*sections, _summary(played)]


def _shown(scene: Scene, played: Played) -> tuple[Block, ...]:
    drawn = Diagram(played.messages, played.client)
    return drawn, accounts(played, compared=scene.compared)


def _mismatches(scene: Scene, both: Sequence[Played]) -> tuple[str, ...]:
    """List what did not happen as announced, in TLS 1.2 and 1.3."""
    wrong: list[str] = []
    for played, announced, version in zip(both, scene.alerts, ("1.2", "1.3"), strict=True):
        where = f"{scene.title}, TLS {version}"
        for report in (played.client, played.server):
            if (report.outcome, report.rejected_by) != ("refused", scene.rejected_by):
                wrong.append(f"{where}: {report.outcome} by {report.rejected_by}")
            alert = report.alert and report.alert.name
            if alert != announced:
                wrong.append(f"{where}: the {report.side} saw alert {alert}, not {announced}")
            if scene.cause not in report.causes:
                wrong.append(f"{where}: the {report.side} does not name {scene.cause}")
        verifier = played.server if scene.rejected_by == "server" else played.client
        if verifier.causes[:1] != [scene.cause]:
            wrong.append(f"{where}: the {verifier.side}, which refused, names {verifier.causes}")
        if played.client.client_random != played.server.client_random:
            wrong.append(f"{where}: the two reports are not of one connection")
    return tuple(wrong)


def _summary(played: Sequence[Sequence[Played]]) -> Section:
    rows = tuple(
        (scene.title, f"the {scene.rejected_by}", *(_alert(each) for each in both))
        for scene, both in zip(SCENES, played, strict=True)
    )
    return Section(
        "what an alert says, and what it does not",
        (
            Table(("", "refused by", "alert in TLS 1.2", "in TLS 1.3"), rows),
            Prose(
                "An alert is two bytes: a level and a number. It says neither which certificate is"
                " meant nor what was expected. The end that refused knows; the other has to infer,"
                " and where several causes leave the same traces, it says so. Both reports of one"
                " connection have its ClientHello.random: together they know most."
            ),
            Prose(
                "`mtls-echo observe` plays all failures there are; `mtls-echo explain` takes two"
                " reports, or what another program printed."
            ),
        ),
    )


def _alert(played: Played) -> str:
    return played.client.alert.name if played.client.alert else "none"
