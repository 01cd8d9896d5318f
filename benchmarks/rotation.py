"""Measure what is lost while certificates, keys and CAs change as fast as the disk allows.

    .venv/bin/python -m benchmarks.rotation [--seconds 60] [--clients 50] [--no-tickets] …

A server process and a crowd of clients that connect, echo and leave, again and again, half of them
in each version of TLS, a few of them with the session that they were given the last time. What
they all use is replaced meanwhile, by what `mtls-echo pki` does itself: one administrator renews
the server's and the clients' certificates, with the same key and with a new one, almost without
a pause; another repeats the scenarios in turn:

    a client's key leaked   renew --same-key, --new-key, revoke
    the server's key        renew --new-key, revoke
    CRLs                    crl
    a new CA                introduce, switch, renew --all, retire

Each time an attacker has what was valid a moment before: the certificate, the one that was made
with the same key after it, and the sessions of both, in both versions of TLS. As soon as the
server reports that it has read its files, the attacker tries all of them; or, with a server's key,
the clients connect to the attacker. Counted is what must be zero:

    failed       handshakes that should have succeeded
    lost         echoes that did not come back, or came back altered
    admitted     attempts that were accepted after that
    otherwise    attempts that were refused, but not with the alert that names the reason
    not ok       reloads that failed in the server or a client

and the server's resident memory, which must not grow with the number of generations.

The administrators wait only where a careful one waits, before a key or a CA is taken out of use:
until both ends have read what replaces it (the server's ``reload`` event, asked for with SIGHUP),
and until the connections that were begun before have ended. Between all other steps there is no
wait.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path

import trio
from cryptography import x509

from benchmarks.crowd import Crowd, ServerProcess, Tally
from mtls_echo.demo.rotation.attacker import VERSIONS, Attacker
from mtls_echo_pki.directory.directory import Directory
from mtls_echo_pki.directory.rollover import Step, take

# After so many rounds of renewals there is none for a second: with another generation every tenth
# of one no client would ever come twice within the same, and no session would be resumed.
_BREATH = 25

# Seconds between two looks at the server's memory, and how many make an average.
_WEIGHING = 0.25
_WEIGHED = 8


class Administration:
    """Everything that is replaced, in one directory.

    Args:
        directory: With the credentials ``server`` and ``client``.
        server: Reads it.
        crowd: Reads it.
        tally: What was done, and what was admitted afterwards.
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

    async def renew_all_the_time(self, pause: float = 0.0) -> None:
        """What the first administrator does, with so many seconds in between."""
        for number in itertools.count():
            # Of a key that has been replaced the owner may not make more: see _server_leaked.
            async with self._server_key:
                await self._renew("server", rekey=bool(number % 2))
            await self._renew("client", rekey=False)
            await trio.sleep(pause)
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
        await self._in_use_at_both_ends()
        await self._revoke("client")
        await self._server.has_read()
        for thief in thieves:
            await self._try_everything(thief, "certificate_revoked")

    async def _server_leaked(self) -> None:
        async with self._server_key:
            stolen = self._directory.credential("server")
            await self._renew("server", rekey=True)
            await self._in_use_at_both_ends()
            await self._revoke("server")
        await self._crowd.has_read()
        self._count(self._crowd.verdicts(stolen), "certificate_revoked")

    async def _lists(self) -> None:
        await self._do(_publish_lists)
        self._tally.lists += 1

    async def _new_authority(self) -> None:
        await self._do(_take, Step.INTRODUCE)
        await self._in_use_at_both_ends()
        impostor = self._directory.credential("server")
        left_over = await self._copy()
        await self._do(_take, Step.SWITCH)
        await self._renew("server", rekey=False)
        await self._renew("client", rekey=False)
        await self._in_use_at_both_ends()
        await self._do(_take, Step.RETIRE)
        self._tally.rollovers += 1
        await self._server.has_read()
        await self._try_everything(left_over, "unknown_ca")
        await self._crowd.has_read()
        self._count(self._crowd.verdicts(impostor), "unknown_ca")

    async def _renew(self, name: str, *, rekey: bool) -> None:
        await self._do(_renew, name, rekey)
        self._tally.renewals += 1

    async def _revoke(self, name: str) -> None:
        await self._do(_revoke, name)
        self._tally.revocations += 1

    async def _do(self, change: Callable[..., None], *arguments: object) -> None:
        done = self._hands.submit(change, self._directory.path, *arguments)
        await trio.to_thread.run_sync(done.result)

    async def _in_use_at_both_ends(self) -> None:
        await self._server.has_read()
        await self._crowd.has_read()
        await self._crowd.has_come_again()

    # --- the attacker ----------------------------------------------------------------------------

    async def _copy(self) -> Attacker:
        """Copy the client's credential, and connect with it while it is valid."""
        copy = Attacker(self._directory.credential("client"), self._directory.trust("servers"))
        for attempt in await trio.to_thread.run_sync(copy.prepare, self._server.port):
            if not attempt.admitted:
                self._tally.failed += 1
                self._tally.note(f"the copy was refused too early: {attempt.answer}")
        return copy

    async def _try_everything(self, attacker: Attacker, alert: str) -> None:
        """Try both versions, with the certificate and with the sessions that were kept."""
        visits = await trio.to_thread.run_sync(
            lambda: list(attacker.try_everything(self._server.port))
        )
        assert len(visits) == 2 * len(VERSIONS), "there was no session to try"
        self._count(
            [None if attempt.admitted else attempt.answer for attempt in visits], f"alert {alert}"
        )

    def _count(self, answers: Sequence[str | None], due: str) -> None:
        for answer in answers:
            self._tally.attempts += 1
            if answer is None:
                self._tally.admitted += 1
                self._tally.note(f"admitted, in place of {due}")
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


def _renew(path: Path, name: str, rekey: bool) -> None:
    Directory(path).renew(name, rekey=rekey)


def _revoke(path: Path, name: str) -> None:
    Directory(path).revoke(name, reason=x509.ReasonFlags.key_compromise)


def _publish_lists(path: Path) -> None:
    Directory(path).publish_crls()


def _take(path: Path, step: Step) -> None:
    take(Directory(path), step)


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
