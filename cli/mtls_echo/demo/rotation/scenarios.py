"""The three occasions on which certificates are changed, each with the one it must shut out.

Expired, leaked, a new authority: in each, somebody keeps a copy of what was valid before, session
tickets included, and tries to enter when all is done. An occasion is a success when no client of
the service has noticed anything, and the copy is worth nothing.

The changes are the program's own commands, run as anybody would run them.
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from mtls_echo.demo.rotation.attacker import Intruder, Visit
from mtls_echo_client.context import client_context
from mtls_echo_client.session import connect
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_pki.directory.directory import Directory
from mtls_echo_tls.diagnosis.failure import TLSFailure

if TYPE_CHECKING:
    from mtls_echo.demo.rotation.load import Drill
    from mtls_echo.demo.rotation.printer import Narrator

# How long the certificate lives that expires before the reader's eyes: long enough for the
# service to start and the renewal to be read, on a slow machine too.
SHORT_LIFE = "8s"

# The directory's name, from where the commands are run.
PKI = "pki"


@dataclass(frozen=True)
class Stage:
    """What an occasion has to act with.

    Attributes:
        drill: The service and its clients.
        path: The PKI directory.
        narrator: Tells what happens.
        surprises: What did not happen as announced.
    """

    drill: Drill
    path: Path
    narrator: Narrator
    surprises: list[str]

    async def run(self, *arguments: str) -> None:
        """Run one of the program's commands, show what it prints, and let both ends read it."""
        await run(self.path, self.narrator, self.surprises, *arguments)
        self.narrator.read(*await self.drill.reload(), self.drill.generations)

    async def copy(self) -> Intruder:
        """Somebody copies the client's certificate and key, and enters with it while he can."""
        directory = Directory(self.path)
        intruder = Intruder(directory.credential("client"), directory.trust("servers"))
        visits = await trio.to_thread.run_sync(intruder.prepare, self.drill.port)
        if not all(visit.admitted for visit in visits):
            self.surprises.append("the copy was not let in before the change")
        return intruder

    async def try_to_enter(self, intruder: Intruder, alert: str) -> None:
        """The one with the copy tries everything, and must fail."""
        visits = await trio.to_thread.run_sync(
            lambda: list(intruder.try_everything(self.drill.port))
        )
        self.surprises.extend(surprises(visits, alert))
        self.narrator.visits(visits)


@dataclass(frozen=True)
class Occasion:
    """One of the three.

    Attributes:
        title: What has happened.
        story: What is done about it, and what is to be seen.
        play: Does it.
    """

    title: str
    story: str
    play: Callable[[Stage], Awaitable[None]]


def surprises(visits: Sequence[Visit], alert: str) -> list[str]:
    """What did not go as announced for somebody who must not get in.

    Args:
        visits: All that he tried.
        alert: What a handshake with the certificate must be refused with. A session that is
            resumed has no certificate to refuse; then it must be denied.
    """
    found = [] if any(visit.ticket for visit in visits) else ["there was no ticket to try"]
    for visit in visits:
        how = "ticket" if visit.ticket else "certificate"
        if visit.admitted:
            found.append(f"the {how} was still good for entering ({visit.version.name})")
        elif visit.alert != alert and not (visit.ticket and visit.denial):
            found.append(f"the {how} got: {visit.answer}, and not alert {alert}")
    return found


async def run(path: Path, narrator: Narrator, surprises: list[str], *arguments: str) -> None:
    """Run ``mtls-echo`` beside the PKI directory, and show what it prints."""
    with narrator.busy(f"mtls-echo {' '.join(arguments)}"):
        done = await trio.run_process(
            [sys.executable, "-m", "mtls_echo", *arguments],
            cwd=path.parent,
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
    narrator.command(" ".join(arguments), (done.stdout + done.stderr).decode())
    if done.returncode:
        surprises.append(f"mtls-echo {' '.join(arguments)}: exit status {done.returncode}")


async def _expired(stage: Stage) -> None:
    old = Directory(stage.path).credential("client").certificate
    intruder = await stage.copy()
    await stage.run("pki", "renew", PKI, "client", "--same-key", "--lifetime", "30d")
    with stage.narrator.busy("waiting until the old certificate has expired"):
        left = old.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
        # The second that notAfter names is the last one of validity (RFC 5280 §4.1.2.5).
        await trio.sleep(max(left.total_seconds(), 0) + 1.1)
    stage.narrator.tell("Somebody has kept the old one, and tries it now:")
    await stage.try_to_enter(intruder, "certificate_expired")


async def _leaked(stage: Stage) -> None:
    thief = await stage.copy()
    await stage.run("pki", "renew", PKI, "client", "--new-key")
    await stage.run("pki", "revoke", PKI, "client", "--reason", "keyCompromise")
    stage.narrator.tell("The thief tries what he copied:")
    await stage.try_to_enter(thief, "certificate_revoked")


async def _new_authority(stage: Stage) -> None:
    present = Directory(stage.path).trust("servers")
    await stage.run("pki", "rollover", PKI, "introduce")
    left_over = await stage.copy()
    await stage.run("pki", "rollover", PKI, "switch")
    await stage.run("pki", "renew", PKI, "--all", "--same-key")
    stage.narrator.tell("A client that has not heard of the new authority yet:")
    await _meet_half_way(stage, Trust(present.anchors))
    await stage.run("pki", "rollover", PKI, "retire")
    stage.narrator.tell("Somebody has kept a certificate of the old authority's:")
    await stage.try_to_enter(left_over, "unknown_ca")


async def _meet_half_way(stage: Stage, trust: Trust) -> None:
    """A peer that still believes the old authority alone: the cross-signed one is for him."""
    context = client_context(trust, Directory(stage.path).credential("client"))
    try:
        async with await connect("localhost", stage.drill.port, context) as session:
            await session.echo(b"do we know each other\n")
    except TLSFailure as failure:
        stage.surprises.append(f"who believes the old authority only: {failure.report.summary}")
        stage.narrator.found("trusts the old authority only", failure.report.summary, good=False)
    else:
        stage.narrator.found("trusts the old authority only", "let in", good=True)


OCCASIONS = (
    Occasion(
        "The certificate expires",
        f"The client's certificate lives for {SHORT_LIFE} only. It is renewed before it has"
        " expired, with the same key: nothing is wrong with that. Nothing needs to be restarted.",
        _expired,
    ),
    Occasion(
        "The private key has leaked",
        "A thief has copied the client's key and certificate. A new certificate for the same key"
        " would not help: the thief has that key. So the client gets a new key first, and when it"
        " uses it, what was made for the old one is revoked.",
        _leaked,
    ),
    Occasion(
        "The authority is replaced",
        "Nobody can change all peers in one moment. So both sides first learn to trust the new"
        " authority beside the old one; then the new one issues, cross-signed by the old one for"
        " those who have not learnt yet; and when everything is renewed, the old one is retired.",
        _new_authority,
    ),
)
