"""A server process that reloads at SIGHUP, and a crowd of clients that reload by themselves.

Half of the clients are of each version of TLS, and a few of them offer the session that they were
given a moment before, which our own client never does. Whatever goes wrong for any of them is
counted; what changes meanwhile is not in here (`benchmarks.rotation`).
"""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import trio

from mtls_echo.demo.rotation.attacker import VERSIONS
from mtls_echo_client.context import client_context
from mtls_echo_client.session import connect
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_tls.alerts import alert_name, alert_of_reason
from mtls_echo_tls.diagnosis.failure import TLSFailure
from mtls_echo_tls.material.load import Material, client_material
from mtls_echo_tls.material.reloader import Reload, Reloader

_SERVE = "from mtls_echo.commands.serve import serve; serve()"

# How often both ends look at their files, in seconds.
INTERVAL = 0.02

# Of this many clients one comes twice in a row, and offers the session of the first time.
_RESUMING = 5

_EXAMPLES = 10


@dataclass
class Tally:
    """What was counted; the middle part must be nought."""

    sessions: int = 0
    resumed: int = 0
    generations: int = 0
    renewals: int = 0
    revocations: int = 0
    lists: int = 0
    rollovers: int = 0
    attempts: int = 0

    failed: int = 0
    lost: int = 0
    admitted: int = 0
    otherwise: int = 0
    not_ok: int = 0

    resident_early: int = 0
    resident_late: int = 0
    examples: list[str] = field(default_factory=list[str])

    @property
    def wrong(self) -> int:
        """All that should not have happened."""
        return self.failed + self.lost + self.admitted + self.otherwise + self.not_ok

    def note(self, example: object) -> None:
        """Keep the first few things that went wrong."""
        if len(self.examples) < _EXAMPLES:
            self.examples.append(str(example))


class ServerProcess:
    """``mtls-echo serve``, and its reload events.

    Args:
        pki: The directory.
        tally: Counts reloads that were not ok.
        tickets: Whether it issues session tickets.
        options: Further ones of the command.
        tell: Called with every event.
    """

    def __init__(
        self,
        pki: Path,
        tally: Tally,
        *options: str,
        tickets: bool,
        tell: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self.port = 0
        self.pid = 0
        self._tally = tally
        self._command = [
            *(sys.executable, "-c", _SERVE, "--pki", str(pki)),
            *("--listen", "127.0.0.1:0", "--log-format", "json"),
            *("--reload-interval", str(INTERVAL)),
            *("--session-tickets", "on" if tickets else "off"),
            *options,
        ]
        self._tell = tell
        self._reloads: list[datetime] = []  # when they were reported, the last few
        self._said = trio.lowlevel.ParkingLot()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled."""
        process = await trio.lowlevel.open_process(self._command, stderr=subprocess.PIPE)
        self.pid = process.pid
        try:
            await self._listen_to(process, task_status)
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()

    async def has_read(self) -> None:
        """Wait until what is in its files now is in use.

        A reload that it reports after this moment may have begun before. The one after that has
        not.
        """
        now = datetime.now(UTC)
        for number in (1, 2):
            os.kill(self.pid, signal.SIGHUP)
            while len([said for said in self._reloads if said > now]) < number:
                await self._said.park()

    def descriptors(self) -> int:
        """How many are open (Linux)."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def resident(self) -> int:
        """KiB of resident memory (Linux)."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        return 0

    async def _listen_to(self, process: trio.Process, task_status: trio.TaskStatus[None]) -> None:
        """Read its events, so that it is never kept from writing one."""
        assert process.stderr is not None
        rest = b""
        while data := await process.stderr.receive_some():
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                event = json.loads(line)
                if self._tell is not None:
                    self._tell(event)
                if event["event"] == "listening":
                    self.port = event["port"]
                    task_status.started()
                elif event["event"] == "reload":
                    self._note(event)
        raise AssertionError(f"the server has ended: {rest.decode()}")

    def _note(self, event: dict[str, object]) -> None:
        self._tally.generations = int(str(event["generation"]))
        self._reloads = [*self._reloads[-8:], datetime.fromisoformat(str(event["time"]))]
        self._said.unpark_all()
        if not event["ok"]:
            self._tally.not_ok += 1
            self._tally.note(event["error"])


class Crowd:
    """Clients that come and go, and read their files as often as the server does.

    Args:
        server: Where to.
        pki: The directory.
        tally: What became of them.
        clients: How many connect at the same time.
    """

    def __init__(self, server: ServerProcess, pki: Path, tally: Tally, clients: int) -> None:
        self._server = server
        self._tally = tally
        load = partial(client_material, pki=pki, create=False)
        self._reloaders = {
            (version, build): Reloader(
                load, partial(build, version), interval=INTERVAL, tell=self._note
            )
            for version in VERSIONS
            for build in (_context, _resuming_context)
        }
        self._rounds = [0] * clients
        self._round_over = trio.lowlevel.ParkingLot()

    async def run(self) -> None:
        """Come and go until cancelled."""
        async with trio.open_nursery() as nursery:
            for reloader in self._reloaders.values():
                nursery.start_soon(reloader.run)
            for number in range(len(self._rounds)):
                nursery.start_soon(self._come_and_go, number)

    async def has_read(self) -> None:
        """Wait until what is in their files now is in use."""
        for reloader in self._reloaders.values():
            await reloader.check()

    async def has_come_again(self) -> None:
        """Wait until what was begun before has ended."""
        # The present round began before now, the next one does not.
        due = [number + 1 for number in self._rounds]
        while any(done < wanted for done, wanted in zip(self._rounds, due, strict=True)):
            await self._round_over.park()

    def verdicts(self, impostor: Credential) -> list[str | None]:
        """The alerts that a server with this credential gets from them; None: it is trusted."""
        return [_alert(reloader.current, impostor) for reloader in self._reloaders.values()]

    def _note(self, result: Reload) -> None:
        if not result.ok:
            self._tally.not_ok += 1
            self._tally.note(result)

    async def _come_and_go(self, number: int) -> None:
        resuming = number % _RESUMING == 0
        # In turn: of those that resume, too, half are of each version.
        version = VERSIONS[(number // _RESUMING + number) % len(VERSIONS)]
        reloader = self._reloaders[version, _resuming_context if resuming else _context]
        data = os.urandom(1 + number * 100)
        while True:
            if resuming:
                await self._visit_twice(reloader.current, data)
            else:
                await self._visit(reloader.current, data)
            self._rounds[number] += 1
            self._round_over.unpark_all()

    async def _visit(self, context: ssl.SSLContext, data: bytes) -> None:
        session = None
        try:
            async with await connect(
                "127.0.0.1", self._server.port, context, timeout=30
            ) as session:
                await session.echo(data)
        except TLSFailure as failure:
            # A client of TLS 1.3 is refused after its own handshake.
            if session is None or failure.evidence.stage != "established":
                self._tally.failed += 1
            else:
                self._tally.lost += 1
            self._tally.note(failure.report.summary)
        else:
            self._tally.sessions += 1

    async def _visit_twice(self, context: ssl.SSLContext, data: bytes) -> None:
        session = None
        for _ in range(2):
            try:
                session, resumed = await trio.to_thread.run_sync(
                    _resume, self._server.port, context, session, data
                )
            except OSError as error:
                self._tally.failed += 1
                self._tally.note(f"a client that offers a session: {error}")
                return
            self._tally.resumed += resumed
            self._tally.sessions += 1


def _context(version: ssl.TLSVersion, material: Material) -> ssl.SSLContext:
    assert material.trust is not None
    return client_context(
        material.trust, material.credential, minimum_version=version, maximum_version=version
    )


def _resuming_context(version: ssl.TLSVersion, material: Material) -> ssl.SSLContext:
    """The same by the standard library's means: our own context accepts no tickets."""
    assert material.trust is not None
    assert material.credential is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = context.maximum_version = version
    material.trust.load_into(context)
    material.credential.load_into(context)
    return context


def _resume(
    port: int, context: ssl.SSLContext, session: ssl.SSLSession | None, data: bytes
) -> tuple[ssl.SSLSession | None, bool]:
    """Have something echoed by the standard library's means; blocking.

    Returns:
        The session to offer the next time, and whether the one that was offered was taken.

    Raises:
        OSError: What went wrong.
    """
    with (
        socket.create_connection(("127.0.0.1", port), timeout=30) as tcp,
        context.wrap_socket(tcp, server_hostname="127.0.0.1", session=session) as tls,
    ):
        tls.sendall(data)
        echoed = b""
        while len(echoed) < len(data) and (piece := tls.recv(len(data))):
            echoed += piece
        if echoed != data:
            raise ConnectionError(f"sent {len(data)} bytes, and {len(echoed)} came back")
        return tls.session, bool(tls.session_reused)


def _alert(client: ssl.SSLContext, impostor: Credential) -> str | None:
    """The alert with which a client refuses a server; None if it trusts it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    impostor.load_into(context)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        client.wrap_bio(back, there, server_hostname="localhost"),
        context.wrap_bio(there, back, server_side=True),
    )
    for end in ends * 3:
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLError as error:
            if end is ends[0]:
                continue  # its alert is on the way
            code = alert_of_reason(error.reason)
            return f"{error}" if code is None else alert_name(code)
    return None
