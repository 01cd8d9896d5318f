"""What is lost while certificates change as fast as the disk allows: nothing, or this says what.

    .venv/bin/python -m benchmarks.rotation [--seconds 20] [--clients 50] [--tickets] …

A server process and a crowd of clients that connect, echo and leave, again and again, on both TLS
versions, while what they all use is replaced: the server's certificate, the clients', the
revocation lists of both authorities. Beside the crowd there is always somebody who was revoked a
moment ago: no sooner does the server say that it uses the list than he knocks, with a full
handshake and with the sessions that he kept. Counted is what must be nought:

    failed       handshakes that should have succeeded
    lost         echoes that did not come back, or came back altered
    admitted     connections of a revoked client, by handshake or by resumption
    not ok       reloads that the server could not make sense of

and the server's resident memory early and late, which must not grow with the number of
generations. `Rotation.steps` is what is done in turn; another kind of change is one more of them.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import math
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

import trio
from cryptography.hazmat.primitives.serialization import Encoding

from mtls_echo_client import client_context, connect
from mtls_echo_pki import Credential, Directory, client, server
from mtls_echo_pki.publication import publish
from mtls_echo_tls import TLSFailure
from mtls_echo_tls.material import Material, client_material
from mtls_echo_tls.reload import Reloader

_SERVE = "from mtls_echo_server.command import serve; serve()"

# How often both ends look at their files, in seconds.
INTERVAL = 0.02

_VERSIONS = (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3)
_EXAMPLES = 5


@dataclass
class Tally:
    """What was counted; the middle part must be nought."""

    sessions: int = 0
    generations: int = 0
    steps: int = 0
    attempts: int = 0

    failed: int = 0
    lost: int = 0
    admitted: int = 0
    not_ok: int = 0

    resident_early: int = 0
    resident_late: int = 0
    examples: list[str] = field(default_factory=list[str])

    @property
    def wrong(self) -> int:
        """All that should not have happened."""
        return self.failed + self.lost + self.admitted + self.not_ok

    def note(self, example: object) -> None:
        """Keep the first few things that went wrong."""
        if len(self.examples) < _EXAMPLES:
            self.examples.append(str(example))


class Rotation:
    """Everything that is replaced, as an administrator would, in one directory.

    Args:
        directory: Belongs to the rotation from now on.
    """

    def __init__(self, directory: Directory) -> None:
        self.path = directory.path
        self._servers = directory.authority("servers")
        self._clients = directory.authority("clients")
        self._publish_lists()

    def renew_server(self) -> None:
        """Publish another certificate and key for the server."""
        self._publish("server", self._servers.issue(server("localhost", "127.0.0.1")))

    def renew_client(self) -> None:
        """Publish another certificate and key for the crowd."""
        self._publish("client", self._clients.issue(client("client.test")))

    def hire(self) -> Credential:
        """Issue a certificate to somebody who is about to be revoked."""
        return self._clients.issue(client("leaver.test"))

    def fire(self, leaver: Credential) -> None:
        """Revoke it, and publish the lists."""
        self._clients.revoke(leaver)
        self._publish_lists()

    def steps(self) -> tuple[Callable[[], None], ...]:
        """What is done in turn, again and again."""
        return (self.renew_server, self.renew_client)

    def _publish(self, name: str, credential: Credential) -> None:
        files = {"tls.crt": credential.certificate_pem, "tls.key": credential.key_pem}
        publish(self.path / name, files, {"tls.crt": 0o644})

    def _publish_lists(self) -> None:
        for role, authority in (("servers", self._servers), ("clients", self._clients)):
            files = {
                "ca.crt": authority.trust.pem,
                "crl.pem": authority.crl().public_bytes(Encoding.PEM),
            }
            publish(self.path / "trust" / role, files, dict.fromkeys(files, 0o644))


class Soak:
    """One run.

    Args:
        directory: A fresh one.
        clients: How many connect at the same time.
        seconds: For how long at the most.
        steps: How many changes, after which it ends; None for no end.
        leavers: How many people are revoked before it may end.
        tickets: Whether the server issues session tickets.
    """

    def __init__(
        self,
        directory: Directory,
        *,
        clients: int = 50,
        seconds: float = math.inf,
        steps: int | None = None,
        leavers: int = 0,
        tickets: bool = False,
    ) -> None:
        self.tally = Tally()
        self._rotation = Rotation(directory)
        self._directory = directory
        self._clients = clients
        self._seconds = seconds
        self._steps = steps
        self._left = trio.Event()
        self._leavers = leavers
        self._tickets = "on" if tickets else "off"
        self._port = 0
        self._pid = 0
        self._listed = trio.Event()  # the server uses other lists
        self._listening = trio.Event()

    async def run(self) -> Tally:
        """Rotate and connect until it is over."""
        command = [
            *(sys.executable, "-c", _SERVE, "--pki", str(self._directory.path)),
            *("--listen", "127.0.0.1:0", "--log-format", "json"),
            *("--reload-interval", str(INTERVAL), "--session-tickets", self._tickets),
        ]
        process = await trio.lowlevel.open_process(command, stderr=subprocess.PIPE)
        self._pid = process.pid
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen_to, process)
                await self._listening.wait()
                await self._all()
                nursery.cancel_scope.cancel()
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
        return self.tally

    async def _all(self) -> None:
        load = partial(client_material, pki=self._directory.path, create=False)
        reloader = Reloader(load, _context, interval=INTERVAL)
        with trio.move_on_after(self._seconds):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(reloader.run)
                for number in range(self._clients):
                    nursery.start_soon(self._come_and_go, reloader, number)
                nursery.start_soon(self._part_with_people)
                await self._rotate()
                await self._left.wait()
                nursery.cancel_scope.cancel()
        self.tally.resident_late = _resident(self._pid)

    async def _listen_to(self, process: trio.Process) -> None:
        """Read the server's events, so that it is never kept from writing one."""
        assert process.stderr is not None
        rest = b""
        while data := await process.stderr.receive_some():
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                event = json.loads(line)
                if event["event"] == "listening":
                    self._port = event["port"]
                    self._listening.set()
                elif event["event"] == "reload":
                    self._note_reload(event)

    def _note_reload(self, event: dict[str, object]) -> None:
        self.tally.generations = int(str(event["generation"]))
        if not event["ok"]:
            self.tally.not_ok += 1
            self.tally.note(event["error"])
        elif "revocation lists" in str(event["changed"]):
            listed, self._listed = self._listed, trio.Event()
            listed.set()

    # --- what changes ----------------------------------------------------------------------------

    async def _rotate(self) -> None:
        steps = itertools.cycle(self._rotation.steps())
        for number in itertools.count() if self._steps is None else range(self._steps):
            await trio.to_thread.run_sync(next(steps))
            self.tally.steps += 1
            if number == 50 or not self.tally.resident_early:
                self.tally.resident_early = _resident(self._pid)

    async def _part_with_people(self) -> None:
        for number in itertools.count():
            if number == self._leavers and self._steps is not None:
                self._left.set()
                return
            leaver = self._rotation.hire()
            visitors = [_Visitor(self._directory, leaver, version) for version in _VERSIONS]
            for visitor in visitors:
                # The clients' side of the lists may be newer by now; the server's is not at issue.
                if not await trio.to_thread.run_sync(visitor.visit, self._port):
                    self.tally.failed += 1
                    self.tally.note("somebody was refused before being revoked")
            listed = self._listed
            await trio.to_thread.run_sync(self._rotation.fire, leaver)
            await listed.wait()
            self.tally.steps += 1
            for visitor in visitors:
                for resuming in (True, False):
                    self.tally.attempts += 1
                    if await trio.to_thread.run_sync(visitor.visit, self._port, resuming):
                        self.tally.admitted += 1
                        self.tally.note(f"admitted after revocation, resuming: {resuming}")
            # Lists of one authority follow each other by a second at least, but for a reserve.
            await trio.sleep(0.5)

    # --- who connects ----------------------------------------------------------------------------

    async def _come_and_go(self, reloader: Reloader, number: int) -> None:
        while True:
            await self._visit(reloader, number)

    async def _visit(self, reloader: Reloader, number: int) -> None:
        data = os.urandom(1 + number * 100)
        session = None
        try:
            async with await connect(
                "127.0.0.1", self._port, reloader.current, server_name="localhost", timeout=30
            ) as session:
                await session.echo(data)
        except TLSFailure as failure:
            # A client of TLS 1.3 is refused after its own handshake.
            if session is None or failure.evidence.stage != "established":
                self.tally.failed += 1
            else:
                self.tally.lost += 1
            self.tally.note(failure.report.summary)
        else:
            self.tally.sessions += 1


class _Visitor:
    """A client by the standard library's means that keeps its sessions."""

    def __init__(
        self, directory: Directory, credential: Credential, version: ssl.TLSVersion
    ) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.minimum_version = self._context.maximum_version = version
        directory.trust("servers").load_into(self._context)
        credential.load_into(self._context)
        self._session: ssl.SSLSession | None = None

    def visit(self, port: int, resuming: bool = False) -> bool:
        """Whether an echo came back."""
        session = self._session if resuming else None
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", port), timeout=30) as tcp,
            self._context.wrap_socket(tcp, server_hostname="localhost", session=session) as tls,
        ):
            tls.sendall(b"hello")
            echoed = tls.recv(1000) == b"hello"
            self._session = tls.session
            return echoed
        return False


def _context(material: Material) -> ssl.SSLContext:
    assert material.trust is not None
    return client_context(material.trust, material.credential)


def _resident(pid: int) -> int:
    """KiB of resident memory (Linux)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def main() -> None:
    """Run it and print the figures."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--seconds", type=float, default=20.0)
    options.add_argument("--steps", type=int, help="end after so many changes")
    options.add_argument("--clients", type=int, default=50)
    options.add_argument("--leavers", type=int, default=0, help="not before so many were revoked")
    options.add_argument("--tickets", action="store_true")
    options.add_argument("--json", type=Path)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(
            Directory.create(Path(folder) / "pki"),
            clients=chosen.clients,
            seconds=chosen.seconds,
            steps=chosen.steps,
            leavers=chosen.leavers,
            tickets=chosen.tickets,
        )
        started = time.monotonic()
        tally = trio.run(soak.run)
        seconds = time.monotonic() - started
    print(
        f"{seconds:.1f} s, {chosen.clients} clients, tickets {'on' if chosen.tickets else 'off'}"
    )
    for name, value in asdict(tally).items():
        if name != "examples":
            print(f"  {name.replace('_', ' '):15} {value}")
    for example in tally.examples:
        print(f"  ! {example}")
    if chosen.json:
        chosen.json.write_text(json.dumps({"seconds": seconds, **asdict(tally)}, indent=1))
    sys.exit(1 if tally.wrong else 0)


if __name__ == "__main__":
    main()
