"""Serve good, bad and hostile clients for a while, while everything rotates.

    make soak [SECONDS=300]        .venv/bin/python -m benchmarks.soak [--seconds 300] …

One server process, and all at the same time:

    good       clients that connect, echo and leave, again and again, in both versions, and read
               renewed files as the server does; and one more each tenth of a second, whose time
               is taken
    bad        clients without a certificate, with one of another CA, and without TLS
    hostile    clients that leave, reset, fall silent or say something else in every state of a
               handshake, from three networks; never read; ask for new keys without end; and once
               in a while hundreds that fall silent together
    rotation   renewals of both ends' certificates, a leaked client's and a leaked server's key,
               CRLs, a new CA (`benchmarks.rotation`)

What must be zero is "lost": good clients that were not served or whose echo was not theirs, former
credentials that were admitted, reloads that failed. When all clients have left, the server must
have the descriptors that it began with, and its memory at the end must not be more than `DRIFT`
above that after a quarter of the time. Otherwise the exit status is 1.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import ssl
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from benchmarks.crowd import Crowd, ServerProcess, Tally
from benchmarks.hostile.by_hand import GARBAGE, STATES, ByHand, key_updates
from benchmarks.rotation import Administration
from mtls_echo.demo.rotation.attacker import VERSIONS
from mtls_echo_client.context import client_context
from mtls_echo_client.session import connect
from mtls_echo_pki.certificates.authority import Authority
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.directory.directory import Directory
from mtls_echo_tls.diagnosis.failure import TLSFailure

# MiB by which the server may have grown from a quarter of the time to the end.
DRIFT = 16

# The server's, in seconds; after it and a linger of 3 s nothing of an unfinished one is left.
_HANDSHAKE = 5
_AT_MOST_LEFT = _HANDSHAKE + 5

_GOOD, _HOSTILE, _BAD = 8, 4, 2
_FLOOD = 300
_NETWORKS = ("127.0.1.1", "127.0.2.1", "127.0.3.1")

# Rotation is paced, or it would be all that two cores do.
_PAUSE = 2.0


@dataclass
class Result:
    """What was counted."""

    seconds: float = 0.0
    served: int = 0
    lost: int = 0
    milliseconds: list[float] = field(default_factory=list[float])
    bad: int = 0
    hostile: Counter[str] = field(default_factory=Counter[str])
    causes: Counter[str] = field(default_factory=Counter[str])
    resident: list[int] = field(default_factory=list[int])
    descriptors_before: int = 0
    descriptors_most: int = 0
    descriptors_after: int = 0

    @property
    def drift(self) -> float:
        """MiB by which the server grew, from after a quarter of the time to the end."""
        quarter = len(self.resident) // 4
        few = max(quarter // 2, 1)
        early, late = self.resident[quarter:][:few], self.resident[-few:]
        return (sum(late) / len(late) - sum(early) / len(early)) / 1024

    @property
    def good(self) -> bool:
        """Whether all is as it must be."""
        kept = self.descriptors_after - self.descriptors_before
        return self.lost == 0 and kept <= 0 and self.drift <= DRIFT

    def note(self, event: dict[str, Any]) -> None:
        """Count what the server says of a connection."""
        if event["event"] == "connection" and event["outcome"] != "echoed":
            self.causes[(event["causes"] or [event["ended"]])[0]] += 1
        elif event["event"] == "suppressed" and event["of"] == "connection":
            like = event["like"]
            self.causes[like[-1] or "crowded"] += event["count"]
        elif event["event"] == "error":
            self.lost += 1


class Soak:
    """One run, in a fresh directory."""

    def __init__(self, directory: Directory, seconds: float, numbers: random.Random) -> None:
        self.tally = Tally()
        self.result = Result()
        self._seconds = seconds
        self._numbers = numbers
        self._directory = directory
        self._server = ServerProcess(
            directory.path,
            self.tally,
            *("--handshake-timeout", str(_HANDSHAKE), "--idle-timeout", "20"),
            tickets=False,
            tell=self.result.note,
        )
        self._crowd = Crowd(self._server, directory.path, self.tally, _GOOD)
        self._administration = Administration(directory, self._server, self._crowd, self.tally)
        untrusted = Authority.root("another CA").issue(Request.client("client.test"))
        self._bad = (untrusted, None)
        self._anonymous = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # A bad client is to be refused by the server, not to refuse it for a CA that has changed.
        self._anonymous.check_hostname = False
        self._anonymous.verify_mode = ssl.CERT_NONE

    async def run(self) -> Result:
        """All of it."""
        result, start = self.result, trio.current_time()
        async with trio.open_nursery() as nursery:
            await nursery.start(self._server.run)
            await self._visit()  # the first one finds everything in place
            result.descriptors_before = self._server.descriptors()
            with trio.move_on_after(self._seconds):
                async with trio.open_nursery() as inner:
                    inner.start_soon(self._weigh)
                    inner.start_soon(self._crowd.run)
                    inner.start_soon(self._rotate)
                    inner.start_soon(self._administration.renew_all_the_time, _PAUSE)
                    inner.start_soon(self._take_time)
                    inner.start_soon(self._floods)
                    inner.start_soon(self._never_read)
                    inner.start_soon(self._ask_for_keys)
                    for _ in range(_BAD):
                        inner.start_soon(self._misbehave)
                    for _ in range(_HOSTILE):
                        inner.start_soon(self._attack)
            result.seconds = trio.current_time() - start
            for _ in range(_AT_MOST_LEFT * 10):
                await trio.sleep(0.1)
                if self._server.descriptors() <= result.descriptors_before:
                    break
            result.descriptors_after = self._server.descriptors()
            nursery.cancel_scope.cancel()
        result.served += self.tally.sessions
        result.lost += self.tally.wrong
        return result

    # --- good ------------------------------------------------------------------------------------

    async def _take_time(self) -> None:
        while True:
            await trio.sleep(0.1)
            start = trio.current_time()
            if await self._visit():
                self.result.milliseconds.append((trio.current_time() - start) * 1000)

    async def _visit(self) -> bool:
        context = self._context(VERSIONS[1])
        try:
            async with await connect(
                "127.0.0.1", self._server.port, context, timeout=30
            ) as session:
                await session.echo(b"hello")
        except TLSFailure as failure:
            self.result.lost += 1
            self.tally.note(f"the client whose time is taken: {failure.report.summary}")
            return False
        self.result.served += 1
        return True

    async def _rotate(self) -> None:
        for occasion in itertools.cycle(self._administration.occasions):
            await occasion()
            await trio.sleep(_PAUSE)

    async def _weigh(self) -> None:
        while True:
            await trio.sleep(0.5)
            self.result.resident.append(self._server.resident())
            most = max(self.result.descriptors_most, self._server.descriptors())
            self.result.descriptors_most = most

    # --- bad -------------------------------------------------------------------------------------

    async def _misbehave(self) -> None:
        for credential in itertools.cycle([*self._bad, "plaintext"]):
            await trio.sleep(0.05)
            client = await ByHand.connect(self._server.port, self._anonymous, _NETWORKS[0])
            if credential == "plaintext":
                await client.send(b"EHLO localhost\r\n")
            else:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                # As above: what counts is that the server refuses this client.
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
                if credential is not None and not isinstance(credential, str):
                    credential.load_into(context)
                client = ByHand(client.stream, context)
                await self._reach(client, "flight")
            await client.leave()
            self.result.bad += 1

    # --- hostile ---------------------------------------------------------------------------------

    async def _attack(self) -> None:
        numbers = self._numbers
        while True:
            await trio.sleep(numbers.random() / 10)
            state = numbers.choice(STATES)
            context = self._context(numbers.choice(VERSIONS))
            client = await ByHand.connect(self._server.port, context, numbers.choice(_NETWORKS))
            await self._reach(client, state)
            what = numbers.choice(["leaves", "resets", "falls silent", "says something else"])
            self.result.hostile[f"{what}"] += 1
            if what == "resets":
                client.reset()
                continue
            if what == "says something else":
                await client.send(numbers.choice([*GARBAGE.values()]))
            elif what == "falls silent":
                with trio.move_on_after(numbers.random() * 2 * _HANDSHAKE):
                    await self._wait_for_end(client)
            with trio.move_on_after(_HANDSHAKE):
                await client.leave()
            await trio.aclose_forcefully(client.stream)

    async def _floods(self) -> None:
        while True:
            context = self._context(VERSIONS[1])
            flood: list[ByHand] = []
            for number in range(_FLOOD):
                client = await ByHand.connect(self._server.port, context, _NETWORKS[number % 3])
                await self._reach(client, ("connected", "half a hello", "hello")[number // 3 % 3])
                flood.append(client)
                self.result.hostile["falls silent in a flood"] += 1
            for client in flood:
                await self._wait_for_end(client)
                await trio.aclose_forcefully(client.stream)
            await trio.sleep(2)

    async def _never_read(self) -> None:
        while True:
            client = await self._authenticated(self._context(VERSIONS[1]))
            self.result.hostile["never reads"] += 1
            try:
                while True:
                    await client.stream.send_all(client.encrypted(bytes(16_384)))
            except trio.BrokenResourceError:
                await trio.aclose_forcefully(client.stream)

    async def _ask_for_keys(self) -> None:
        while True:
            context = self._context(VERSIONS[1])
            update = key_updates(context)
            client = await self._authenticated(context)
            self.result.hostile["asks for keys without end"] += 1
            for number in range(2_000):
                await client.send(update(number % 2 == 0))
                await trio.lowlevel.checkpoint()
            client.reset()
            await trio.sleep(1)

    def _context(self, version: ssl.TLSVersion) -> ssl.SSLContext:
        return client_context(
            self._directory.trust("servers"),
            self._directory.credential("client"),
            minimum_version=version,
            maximum_version=version,
        )

    async def _authenticated(self, context: ssl.SSLContext) -> ByHand:
        client = await ByHand.connect(self._server.port, context, _NETWORKS[1])
        await self._reach(client, "flight")
        await client.complete()
        return client

    async def _reach(self, client: ByHand, state: str) -> None:
        """As far as the server lets it."""
        try:
            await client.reach(state)
        except (ssl.SSLError, trio.BrokenResourceError):
            return

    async def _wait_for_end(self, client: ByHand) -> None:
        try:
            while await client.stream.receive_some():
                pass
        except trio.BrokenResourceError:
            return


def _print(result: Result, tally: Tally) -> None:
    times = sorted(result.milliseconds) or [0.0]
    rows: list[tuple[str, object]] = [
        ("seconds", f"{result.seconds:.0f}"),
        ("served", result.served),
        ("lost", result.lost),
        ("a good client, median ms", f"{times[len(times) // 2]:.1f}"),
        ("  99 of 100", f"{times[len(times) * 99 // 100]:.1f}"),
        ("  slowest", f"{times[-1]:.1f}"),
        ("reloads", tally.generations),
        ("renewals, rollovers", f"{tally.renewals}, {tally.rollovers}"),
        ("former credentials tried", tally.attempts),
        ("bad clients", result.bad),
        *((f"hostile: {what}", count) for what, count in sorted(result.hostile.items())),
        *((f"ended: {cause}", count) for cause, count in result.causes.most_common()),
        ("resident MiB, most", f"{max(result.resident) / 1024:.0f}"),
        (f"  drift (at most {DRIFT})", f"{result.drift:+.1f}"),
        ("descriptors before", result.descriptors_before),
        ("  most", result.descriptors_most),
        ("  after", result.descriptors_after),
    ]
    for name, value in rows:
        print(f"  {name:34} {value}")
    for example in tally.examples:
        print(f"  ! {example}")


def main() -> None:
    """Run it and print the figures."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--seconds", type=float, default=300.0)
    options.add_argument("--seed", type=int, default=0, help="of what hostile clients do")
    options.add_argument("--json", type=Path)
    chosen = options.parse_args()
    memory = "/dev/shm"  # noqa: S108  a folder of its own is made in it
    with tempfile.TemporaryDirectory(dir=memory if os.path.isdir(memory) else None) as folder:
        numbers = random.Random(chosen.seed)
        soak = Soak(Directory.create(Path(folder) / "pki"), chosen.seconds, numbers)
        result = trio.run(soak.run)
    _print(result, soak.tally)
    if chosen.json:
        figures = {**vars(result), "drift": result.drift, "milliseconds": None, "resident": None}
        chosen.json.write_text(json.dumps(figures, indent=1))
    sys.exit(0 if result.good else 1)


if __name__ == "__main__":
    main()
