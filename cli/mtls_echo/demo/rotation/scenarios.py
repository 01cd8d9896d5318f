"""The three reasons to replace certificates, each played on a service under load.

A certificate expires, a key leaks, a CA is replaced. In each scenario an attacker keeps a copy of
what was valid before, sessions included, and tries to connect when the replacement is done. A
scenario succeeds when no client of the service has failed, and the copy is refused in every way.

The replacements are made with the program's own commands, run as a user runs them.
"""

from __future__ import annotations

import datetime
import math
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from mtls_echo.demo.rotation.attacker import Attacker, Attempt
from mtls_echo_client.context import client_context
from mtls_echo_client.session import connect
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_pki.directory.directory import Directory
from mtls_echo_tls.diagnosis.failure import TLSFailure

if TYPE_CHECKING:
    from mtls_echo.demo.rotation.load import LoadedService
    from mtls_echo.demo.rotation.notes import Notes

# The directory's name as the commands are given it.
PKI = "pki"


@dataclass(frozen=True)
class ScenarioContext:
    """What a scenario works with; ``path`` is the PKI directory."""

    service: LoadedService
    path: Path
    notes: Notes

    async def run(self, *arguments: str, then: str = "") -> None:
        """Run one of the program's commands, note its output, and reload both ends."""
        await run(self.path, self.notes, *arguments)
        with self.notes.busy("both ends read their files"):
            server, clients = await self.service.reload()
        generations = self.service.generations
        ends = [f"the server (generation {generations[0]})"] if server else []
        ends += [f"the clients (generation {generations[1]})"] if clients else []
        reloaded = f"Reloaded by {' and '.join(ends)}." if ends else ""
        if reloaded or then:
            self.notes.paragraph(" ".join(filter(None, (reloaded, then))))

    async def copy_credential(self) -> Attacker:
        """Copy the client's certificate and key, and connect with them while they are valid."""
        directory = Directory(self.path)
        attacker = Attacker(directory.credential("client"), directory.trust("servers"))
        attempts = await trio.to_thread.run_sync(attacker.prepare, self.service.port)
        if not all(attempt.admitted for attempt in attempts):
            self.notes.mismatch("the copy was refused before the change")
        return attacker

    async def attack(self, attacker: Attacker, alert: str) -> None:
        """Try everything with the copy; all of it must be refused."""
        with self.notes.busy("the attacker tries the copy"):
            attempts = await trio.to_thread.run_sync(
                lambda: list(attacker.try_everything(self.service.port))
            )
        for text in mismatches(attempts, alert):
            self.notes.mismatch(text)
        self.notes.attempts(attempts)


@dataclass(frozen=True)
class Scenario:
    """A reason to replace certificates, what is done about it, and the doing."""

    title: str
    text: str
    play: Callable[[ScenarioContext], Awaitable[None]]


def mismatches(attempts: Sequence[Attempt], alert: str) -> list[str]:
    """List what was not refused as announced.

    A handshake with the certificate must be refused with the alert. A resumed session has no
    certificate to refuse: access is denied instead.
    """
    found = [] if any(each.ticket for each in attempts) else ["there was no ticket to try"]
    for attempt in attempts:
        how = "ticket" if attempt.ticket else "certificate"
        if attempt.admitted:
            found.append(f"the {how} was still accepted ({attempt.version.name})")
        elif attempt.alert != alert and not (attempt.ticket and attempt.denial):
            found.append(f"the {how} got: {attempt.answer}, not alert {alert}")
    return found


async def run(path: Path, notes: Notes, *arguments: str) -> bool:
    """Run ``mtls-echo`` in the folder of the PKI directory, and note its output.

    Returns whether it succeeded.
    """
    line = " ".join(arguments)
    with notes.busy(f"mtls-echo {line}"):
        done = await trio.run_process(
            [sys.executable, "-m", "mtls_echo", *arguments],
            cwd=path.parent,
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
    notes.command(line, (done.stdout + done.stderr).decode())
    if done.returncode:
        notes.mismatch(f"mtls-echo {line}: exit status {done.returncode}")
    return done.returncode == 0


async def _expired(context: ScenarioContext) -> None:
    old = Directory(context.path).credential("client").certificate
    attacker = await context.copy_credential()
    await context.run("pki", "renew", PKI, "client", "--same-key", "--lifetime", "30d")
    with context.notes.busy("waiting until the old certificate has expired"):
        left = old.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
        # The second that notAfter names is the last one of validity (RFC 5280 §4.1.2.5).
        await trio.sleep(max(left.total_seconds(), 0) + 1.1)
    context.notes.paragraph("An attacker who has kept the old certificate tries it now:")
    await context.attack(attacker, "certificate_expired")


async def _leaked(context: ScenarioContext) -> None:
    attacker = await context.copy_credential()
    await context.run("pki", "renew", PKI, "client", "--new-key")
    context.notes.section("the private key has leaked: it is revoked")
    await context.run(
        *("pki", "revoke", PKI, "client", "--reason", "keyCompromise"),
        then="The attacker tries the copy:",
    )
    await context.attack(attacker, "certificate_revoked")


async def _new_ca(context: ScenarioContext) -> None:
    present = Directory(context.path).trust("servers")
    await context.run("pki", "rollover", PKI, "introduce")
    attacker = await context.copy_credential()
    context.notes.section("the CA is replaced: the new one issues")
    await context.run("pki", "rollover", PKI, "switch")
    await context.run("pki", "renew", PKI, "--all", "--same-key")
    await _connect_with_old_trust(context, Trust(present.anchors))
    context.notes.section("the CA is replaced: the old one is retired")
    await context.run(
        *("pki", "rollover", PKI, "retire"),
        then="An attacker who has kept a certificate of the old CA:",
    )
    await context.attack(attacker, "unknown_ca")


async def _connect_with_old_trust(context: ScenarioContext, trust: Trust) -> None:
    """Connect a client that trusts only the old CA: the cross-signed certificate is for it."""
    tls = client_context(trust, Directory(context.path).credential("client"))
    who = "one that trusts only the old CA"
    try:
        async with await connect("localhost", context.service.port, tls) as session:
            await session.echo(b"hello\n")
    except TLSFailure as failure:
        context.notes.mismatch(f"a client of the old CA: {failure.report.summary}")
        context.notes.result(who, failure.report.summary, accepted=False)
    else:
        context.notes.result(who, "accepted", accepted=True)


def short_lifetime(command: float) -> str:
    """How long the certificate lasts that expires during the demonstration.

    Long enough to start the service and read the renewal, where a command takes ``command`` s.
    """
    return f"{max(8, math.ceil(12 * command))}s"


SCENARIOS = (
    Scenario(
        "the certificate expires",
        "The client's certificate is valid for a few seconds only. It is renewed before it"
        " expires, with the same key, since the key is not compromised. Nothing is restarted.",
        _expired,
    ),
    Scenario(
        "the private key has leaked",
        "An attacker has copied the client's key and certificate. A new certificate for the same"
        " key would not help, since the attacker has that key. So the client gets a new key first,"
        " and once it uses that, the certificates of the old key are revoked.",
        _leaked,
    ),
    Scenario(
        "the CA is replaced: both are trusted",
        "Not all peers can change in one moment. So both sides first trust the new CA in addition"
        " to the old one. Then the new CA issues; the old one cross-signs it, for peers that do"
        " not trust it yet. When every certificate is renewed, the old CA is retired.",
        _new_ca,
    ),
)
