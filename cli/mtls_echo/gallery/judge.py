"""Judge a client: run it once per exhibit and version, and see what the server saw.

Every run has a server of its own, for one exhibit on a port of its own, so that it does not matter
which names a client can resolve, how often it tries, or what it does at once: what came to that
port was this run.

``good`` comes first, in each version of TLS. Where that does not work nothing is judged: a client
that refuses everything refuses what it must, too. For the same reason every faulty certification
path has a control, the same path without the fault, over an intermediate say, or with CRLs.
"""

from __future__ import annotations

import os
import re
import signal
import tempfile
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import trio

from mtls_echo.gallery.clients import takes
from mtls_echo.gallery.collection import GOOD
from mtls_echo.gallery.running import Ran, run_command
from mtls_echo.gallery.score import Judgement, Score, Verdict
from mtls_echo.gallery.server import LOCAL, Gallery, Place
from mtls_echo.gallery.world import World
from mtls_echo_tls.address import Address

if TYPE_CHECKING:
    from mtls_echo.gallery.clients import ClientCommand
    from mtls_echo.gallery.exhibit import Exhibit
    from mtls_echo_pki.flaws.flaw import TLSVersion

# Seconds that a silent server stays silent, that a command may take, and its compiler.
HOLD, TIME, _BUILD = 1.5, 20.0, 300.0

Progress: TypeAlias = Callable[[int, int], None]
Run: TypeAlias = "tuple[Exhibit, TLSVersion]"

# Runs a command, for so many seconds at most.
Runner: TypeAlias = Callable[[Sequence[str], float], Awaitable[Ran]]


class BuildError(Exception):
    """A client that could not be built."""


async def judge(
    client: ClientCommand,
    exhibits: Iterable[Exhibit],
    *,
    tls: TLSVersion | None = None,
    timeout: float = TIME,  # noqa: ASYNC109  of the command, which is killed
    progress: Progress | None = None,
    run: Runner | None = None,
) -> Score:
    """Run a client against exhibits, each in its versions of TLS.

    Args:
        client: What is run.
        exhibits: Those to be judged; ``good`` is added.
        tls: The only version to judge in.
        timeout: Seconds for one run.
        progress: Called with how many runs are over, and of how many.
        run: What runs a command, if not `run_command`.

    Raises:
        ExceptionGroup: With an `OSError`, since the client cannot be run, or a `BuildError`.
    """
    with tempfile.TemporaryDirectory(prefix="mtls-echo-gallery-") as folder:
        judging = _Judging(client, Path(folder), timeout, run or run_command)
        await judging.build()
        good = await judging.rows(list(_runs([GOOD], tls)))
        judging.working = {row.version for row in good if row.verdict == "works"}
        judging.sends = any(row.sent for row in good)
        score = Score(client.name, client.read_version(), good)
        if judging.working:
            runs = list(_runs([each for each in exhibits if each is not GOOD], tls))
            controls: dict[tuple[str, TLSVersion], Run] = {
                (each.control.slug, version): (each.control, version)
                for each, version in runs
                if each.flaw is not None
            }
            judging.unsound = {
                (row.exhibit.slug, row.version)
                for row in await judging.rows(list(controls.values()))
                if row.verdict != "works"
            }
            score.rows += await judging.rows(runs, progress)
        return score


def _runs(exhibits: Iterable[Exhibit], tls: TLSVersion | None) -> Iterator[Run]:
    for exhibit in exhibits:
        for version in exhibit.versions:
            if tls in (None, version):
                yield exhibit, version


class _Judging:
    """A client, its files, and what is known of it by now.

    Attributes:
        working: The versions in which ``good`` works; None before that is known.
        sends: Whether it sends application data to ``good``.
        unsound: The controls that fail.
    """

    def __init__(self, client: ClientCommand, folder: Path, limit: float, run: Runner) -> None:
        self._client = client
        self._folder = folder
        self._limit = limit
        self._run = run
        self._gallery = Gallery(World(), hold=HOLD)
        self._jobs = trio.CapacityLimiter(os.cpu_count() or 1)
        self.working: set[TLSVersion] | None = None
        self.sends = True
        self.unsound: set[tuple[str, TLSVersion]] = set()

    async def build(self) -> None:
        if not self._client.build:
            return
        words = [word.replace("{dir}", str(self._folder)) for word in self._client.build]
        built = await self._run(words, _BUILD)
        if built.status != 0:
            raise ExceptionGroup("", [BuildError(built.said.strip() or "it takes too long")])

    async def rows(self, runs: Sequence[Run], progress: Progress | None = None) -> list[Judgement]:
        """Judge the client in some runs, several at once."""
        rows: dict[Run, Judgement] = {}

        async def run(exhibit: Exhibit, version: TLSVersion) -> None:
            async with self._jobs:
                why = self.why_not(exhibit, version)
                rows[exhibit, version] = (
                    await self._row(exhibit, version)
                    if why is None
                    else Judgement(exhibit, version, "not tested", why)
                )
            if progress is not None:
                progress(len(rows), len(runs))

        async with trio.open_nursery() as nursery:
            for each in runs:
                nursery.start_soon(run, *each)
        return [rows[each] for each in runs]

    def why_not(self, exhibit: Exhibit, version: TLSVersion) -> str | None:
        """Why an exhibit would say nothing about the client."""
        if self.working is not None and version not in self.working:
            return f"good fails in TLS {version}"
        if not self._command(exhibit):
            return "the client is given no CRL"
        if exhibit.needs_client_certificate and not takes(self._client.command, "cert"):
            return "the client is given no certificate"
        return None

    def _command(self, exhibit: Exhibit) -> tuple[str, ...]:
        is_checked = exhibit.group == "revocation"
        return self._client.with_crl if is_checked else self._client.command

    async def _row(self, exhibit: Exhibit, version: TLSVersion) -> Judgement:
        async with self._gallery.alone(exhibit, version) as place:
            words = self._words(exhibit, version, place.port)
            ran = await self._run(list(words), self._limit)
        verdict, why = self._verdict(exhibit, ran, place)
        is_unsound = exhibit.flaw is not None and (exhibit.control.slug, version) in self.unsound
        if verdict == "refused" and is_unsound:
            # What was accepted is proved all the same.
            verdict, why = "not tested", "it fails without the fault, too"
        return Judgement(
            exhibit,
            version,
            verdict,
            why,
            sent=place.received,
            alert=place.alert,
            cause=place.cause,
            status=ran.status,
            said=ran.error,
        )

    def _words(self, exhibit: Exhibit, version: TLSVersion, port: int) -> Iterator[str]:
        """The words of a command, with the files that they name."""
        world, command = self._gallery.world, self._command(exhibit)
        given = world.given(exhibit, *LOCAL)
        files = {
            "ca": given.trust.pem,
            "crl": given.trust.crl_pem,
            "trust": given.trust.pem + given.trust.crl_pem,
            "cert": world.client.certificate_pem,
            "key": world.client.key_pem,
        }
        values = {
            "url": f"https://{Address(given.reference, port)}/",
            "host": given.reference,
            "port": str(port),
            "dir": str(self._folder),
        }
        for name, content in files.items():
            if takes(command, name):
                file = self._folder / f"{exhibit.slug}-{version}-{name}.pem"
                file.touch(mode=0o600)
                file.write_bytes(content)
                values[name] = str(file)
        usual, instead = self._client.by_address
        for word in command:
            text = instead if exhibit.by_address and word == usual else word
            # In one go: what was put in is not looked at again.
            yield re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], found[0]), text)

    def _verdict(self, exhibit: Exhibit, ran: Ran, place: Place) -> tuple[Verdict, str]:
        """What the client did, by what the server saw of it and by its exit status."""
        succeeded, status = ran.status == 0, ran.status
        ended = "it came to no end" if status is None else ""
        if status is not None and status < 0:
            ended = f"it was ended by {signal.Signals(-status).name}"
        if not place.came:
            ended = "it did not connect"
        if exhibit.must == "work":
            return ("works" if succeeded and place.established else "fails"), ended
        # What may come where there is no TLS is a request in the clear.
        sent = place.received > 0 and not (exhibit.must == "fail" and place.established)
        # A client that sends nothing to good, either, says by its exit status what it makes of it.
        claims = succeeded and (
            place.came if exhibit.must == "fail" else place.established and not self.sends
        )
        if claims or (sent and (succeeded or status is None)):
            return "accepted", ""
        if sent:
            return "accepted late", ""
        return ("not tested", ended) if ended else ("refused", "")
