"""What is lost while everything changes as fast as the disk allows: nothing, or this says what.

    .venv/bin/python -m benchmarks.rotation [--seconds 60] [--clients 50] [--no-tickets] …

A server process and a crowd of clients that connect, echo and leave, again and again, half of them
in each version of TLS, a few of them with the session that they were given the last time. What
they all use is replaced meanwhile, by what `mtls-echo pki` does itself: one administrator renews
the server's and the clients' certificates, with the same key and with a new one, and hardly takes
a breath; another takes the occasions in turn:

    a client's key leaked   renew --same-key, --new-key, revoke
    the server's key        renew --new-key, revoke
    lists                   crl
    a new authority         introduce, switch, renew --all, retire

Each time there is somebody who has what was valid a moment before: the certificate, the one that
was made with the same key after it, and the sessions of both, in both versions of TLS. No sooner
does the server say that it has read its files than he tries all of them; or, with a server's key,
the clients do that meet him. Counted is what must be nought:

    failed       handshakes that should have succeeded
    lost         echoes that did not come back, or came back altered
    admitted     whoever was let in, or believed, after that
    otherwise    whoever was turned away, but not with the alert that names the reason
    not ok       reloads that the server or a client could not make sense of

and the server's resident memory, which must not grow with the number of generations.

The administrators wait only for what a careful one waits for, before a key or an authority is
taken out of use: that both ends have read what replaces it (of the server that is its ``reload``
event, asked for with SIGHUP), and that the connections have ended that were begun before. Between
all other steps nobody waits for anything.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import multiprocessing
import os
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import trio
from cryptography import x509

from mtls_echo.intruder import VERSIONS, Intruder
from mtls_echo_client import client_context, connect
from mtls_echo_pki import Credential, Directory
from mtls_echo_pki.rollover import Step, take
from mtls_echo_tls import TLSFailure
from mtls_echo_tls.alerts import alert_name, alert_of_reason
from mtls_echo_tls.material import Material, client_material
from mtls_echo_tls.reload import Reload, Reloader

_SERVE = "from mtls_echo_server.command import serve; serve()"

# How often both ends look at their files, in seconds.
INTERVAL = 0.02

# After so many rounds of renewals there is none for a second: with another generation every tenth
# of one nobody would ever come twice within the same, and no session would be resumed.
_BREATH = 25

# Of this many clients one comes twice in a row, and offers the session of the first time.
_RESUMING = 5

# Seconds between two looks at the server's memory, and how many make an average.
_WEIGHING = 0.25
_WEIGHED = 8

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
    """``mtls-echo serve``, and what it says of its reloads.

    Args:
        pki: The directory.
        tally: Told of reloads that were not ok.
        tickets: Whether it issues session tickets.
    """

    def __init__(self, pki: Path, tally: Tally, *, tickets: bool) -> None:
        self.port = 0
        self.pid = 0
        self._tally = tally
        self._command = [
            *(sys.executable, "-c", _SERVE, "--pki", str(pki)),
            *("--listen", "127.0.0.1:0", "--log-format", "json"),
            *("--reload-interval", str(INTERVAL)),
            *("--session-tickets", "on" if tickets else "off"),
        ]
        self._reloads: list[datetime] = []  # when it said so, the last few
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
        """Wait until it uses what its files say now.

        A reload that it tells of after this moment may have begun before. The one after that has
        not.
        """
        now = datetime.now(UTC)
        for number in (1, 2):
            os.kill(self.pid, signal.SIGHUP)
            while len([said for said in self._reloads if said > now]) < number:
                await self._said.park()

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
        """Wait until it uses what its files say now."""
        for reloader in self._reloaders.values():
            await reloader.check()

    async def has_come_again(self) -> None:
        """Wait until what was begun before has ended."""
        # The present round began before now, the next one does not.
        due = [number + 1 for number in self._rounds]
        while any(done < wanted for done, wanted in zip(self._rounds, due, strict=True)):
            await self._round_over.park()

    def verdicts(self, impostor: Credential) -> list[str | None]:
        """The alerts that a server with this credential gets from them; None: it is believed."""
        return [_alert(reloader.current, impostor) for reloader in self._reloaders.values()]

    def _note(self, told: Reload) -> None:
        if not told.ok:
            self._tally.not_ok += 1
            self._tally.note(told)

    async def _come_and_go(self, number: int) -> None:
        resuming = number % _RESUMING == 0
        # In turn: of those who resume, too, half are of each version.
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
                self._tally.note(f"one who offers a session: {error}")
                return
            self._tally.resumed += resumed
            self._tally.sessions += 1


class Administration:
    """Everything that is replaced, in one directory.

    Args:
        directory: With the credentials ``server`` and ``client``.
        server: Reads it.
        crowd: Reads it.
        tally: What was done, and who got in afterwards.
    """

    def __init__(
        self, directory: Directory, server: ServerProcess, crowd: Crowd, tally: Tally
    ) -> None:
        self._directory = directory
        # Each is a process, as a command would be: that they exclude each other is put to the
        # test as well.
        self._hands = ProcessPoolExecutor(2, multiprocessing.get_context("spawn"))
        self._server = server
        self._crowd = crowd
        self._tally = tally
        self._server_key = trio.Lock()

    async def renew_all_the_time(self) -> None:
        """What the first administrator does."""
        for number in itertools.count():
            # Of a key that has been replaced the owner may not make more: see _server_leaked.
            async with self._server_key:
                await self._renew("server", rekey=bool(number % 2))
            await self._renew("client", rekey=False)
            if number % _BREATH == _BREATH - 1:
                await trio.sleep(1)

    @property
    def occasions(self) -> Sequence[Callable[[], Awaitable[None]]]:
        """What the second one does in turn."""
        return (self._client_leaked, self._lists, self._server_leaked, self._new_authority)

    async def _client_leaked(self) -> None:
        thieves = [await self._copy()]
        await self._renew("client", rekey=False)
        await self._server.has_read()
        thieves.append(await self._copy())
        await self._renew("client", rekey=True)
        await self._everybody_uses_it()
        await self._revoke("client")
        await self._server.has_read()
        for thief in thieves:
            await self._try_everything(thief, "certificate_revoked")

    async def _server_leaked(self) -> None:
        async with self._server_key:
            stolen = self._directory.credential("server")
            await self._renew("server", rekey=True)
            await self._everybody_uses_it()
            await self._revoke("server")
        await self._crowd.has_read()
        self._judge(self._crowd.verdicts(stolen), "certificate_revoked")

    async def _lists(self) -> None:
        await self._do(_publish_lists)
        self._tally.lists += 1

    async def _new_authority(self) -> None:
        await self._do(_take, Step.INTRODUCE)
        await self._everybody_uses_it()
        impostor = self._directory.credential("server")
        left_over = await self._copy()
        await self._do(_take, Step.SWITCH)
        await self._renew("server", rekey=False)
        await self._renew("client", rekey=False)
        await self._everybody_uses_it()
        await self._do(_take, Step.RETIRE)
        self._tally.rollovers += 1
        await self._server.has_read()
        await self._try_everything(left_over, "unknown_ca")
        await self._crowd.has_read()
        self._judge(self._crowd.verdicts(impostor), "unknown_ca")

    async def _renew(self, name: str, *, rekey: bool) -> None:
        await self._do(_renew, name, rekey)
        self._tally.renewals += 1

    async def _revoke(self, name: str) -> None:
        await self._do(_revoke, name)
        self._tally.revocations += 1

    async def _do(self, change: Callable[..., None], *arguments: object) -> None:
        done = self._hands.submit(change, self._directory.path, *arguments)
        await trio.to_thread.run_sync(done.result)

    async def _everybody_uses_it(self) -> None:
        await self._server.has_read()
        await self._crowd.has_read()
        await self._crowd.has_come_again()

    # --- who has what was valid before -----------------------------------------------------------

    async def _copy(self) -> Intruder:
        """Somebody copies the client's credential, and enters with it while he can."""
        copy = Intruder(self._directory.credential("client"), self._directory.trust("servers"))
        for visit in await trio.to_thread.run_sync(copy.prepare, self._server.port):
            if not visit.admitted:
                self._tally.failed += 1
                self._tally.note(f"somebody was refused too early: {visit.answer}")
        return copy

    async def _try_everything(self, intruder: Intruder, alert: str) -> None:
        """He tries it in both versions, with his certificate and with the sessions he kept."""
        visits = await trio.to_thread.run_sync(
            lambda: list(intruder.try_everything(self._server.port))
        )
        assert len(visits) == 2 * len(VERSIONS), "there was no session to try"
        self._judge(
            [None if visit.admitted else visit.answer for visit in visits], f"alert {alert}"
        )

    def _judge(self, answers: Sequence[str | None], due: str) -> None:
        for answer in answers:
            self._tally.attempts += 1
            if answer is None:
                self._tally.admitted += 1
                self._tally.note(f"was let in, in place of {due}")
            elif answer != due:
                self._tally.otherwise += 1
                self._tally.note(f"{answer}, in place of {due}")


class Soak:
    """One run.

    Args:
        directory: A fresh one.
        clients: How many connect at the same time.
        seconds: For how long at the most.
        occasions: After how many it ends; None for no end.
        tickets: Whether the server issues session tickets.
    """

    def __init__(
        self,
        directory: Directory,
        *,
        clients: int = 50,
        seconds: float = math.inf,
        occasions: int | None = None,
        tickets: bool = True,
    ) -> None:
        self.tally = Tally()
        self._server = ServerProcess(directory.path, self.tally, tickets=tickets)
        self._crowd = Crowd(self._server, directory.path, self.tally, clients)
        self._administration = Administration(directory, self._server, self._crowd, self.tally)
        self._seconds = seconds
        self._occasions = occasions
        self._weights: list[int] = []

    async def run(self) -> Tally:
        """Rotate and connect until it is over."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._server.run)
            with trio.move_on_after(self._seconds):
                async with trio.open_nursery() as inner:
                    inner.start_soon(self._weigh)
                    inner.start_soon(self._crowd.run)
                    inner.start_soon(self._administration.renew_all_the_time)
                    await self._rotate()
                    inner.cancel_scope.cancel()
            nursery.cancel_scope.cancel()
        self._compare()
        return self.tally

    async def _rotate(self) -> None:
        occasions = itertools.cycle(self._administration.occasions)
        for _ in itertools.count() if self._occasions is None else range(self._occasions):
            await next(occasions)()

    async def _weigh(self) -> None:
        while True:
            await trio.sleep(_WEIGHING)
            self._weights.append(self._server.resident())

    def _compare(self) -> None:
        """Early is after a quarter of the time: by then everything has been done once."""
        if len(self._weights) >= 4 * _WEIGHED:
            quarter = len(self._weights) // 4
            self.tally.resident_early = sum(self._weights[quarter:][:_WEIGHED]) // _WEIGHED
            self.tally.resident_late = sum(self._weights[-_WEIGHED:]) // _WEIGHED


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


def _renew(path: Path, name: str, rekey: bool) -> None:
    Directory(path).renew(name, rekey=rekey)


def _revoke(path: Path, name: str) -> None:
    Directory(path).revoke(name, reason=x509.ReasonFlags.key_compromise)


def _publish_lists(path: Path) -> None:
    Directory(path).publish_crls()


def _take(path: Path, step: Step) -> None:
    take(Directory(path), step)


def _alert(client: ssl.SSLContext, impostor: Credential) -> str | None:
    """The alert with which a client refuses a server; None if it believes it."""
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


def main() -> None:
    """Run it and print the figures."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--seconds", type=float, default=60.0)
    options.add_argument("--occasions", type=int, help="end after so many")
    options.add_argument("--clients", type=int, default=50)
    options.add_argument("--no-tickets", dest="tickets", action="store_false")
    options.add_argument("--folder", help="where to make the directory  [default: in memory]")
    options.add_argument("--json", type=Path)
    memory = "/dev/shm"  # noqa: S108  a folder of its own is made in it
    options.set_defaults(folder=memory if os.path.isdir(memory) else None)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        soak = Soak(
            Directory.create(Path(folder) / "pki"),
            clients=chosen.clients,
            seconds=chosen.seconds,
            occasions=chosen.occasions,
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
