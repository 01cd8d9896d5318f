"""Judge a client: run it once per exhibit and version, and see what the server saw.

Every run has a server of its own, for one exhibit on a port of its own, so that it does not matter
which names a client can resolve, how often it tries, or what it does at once: whoever came to that
port was this run.

``good`` comes first, in each version of TLS. Where that does not work nothing is judged: a client
that refuses everything refuses what it must, too.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from mtls_echo.gallery.collection import GOOD
from mtls_echo.gallery.score import Row, Score, Verdict
from mtls_echo.gallery.server import LOCAL, Gallery, Place
from mtls_echo.gallery.world import World
from mtls_echo_tls.address import Address

if TYPE_CHECKING:
    from mtls_echo.gallery.clients import Client
    from mtls_echo.gallery.exhibit import Exhibit
    from mtls_echo_pki.flaws.flaw import TLSVersion

# Seconds that a silent server stays silent, and that a command may take.
HOLD, TIME = 1.5, 20.0

# What a client says is kept up to here, in bytes.
_MOST_SAID = 64 * 1024

# On standard input of every command, for clients that send what they are given.
_REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

Progress = Callable[[int, int], None]


class BuildError(Exception):
    """A client that could not be built."""


@dataclass(frozen=True)
class Ran:
    """How a command ended: its exit status, or None when its time was over; what it said."""

    status: int | None
    said: str


async def judge(
    client: Client,
    exhibits: Sequence[Exhibit],
    *,
    tls: TLSVersion | None = None,
    timeout: float = TIME,  # noqa: ASYNC109  of the command, which is killed
    jobs: int | None = None,
    progress: Progress | None = None,
) -> Score:
    """Run a client against exhibits, each in its versions of TLS.

    Args:
        client: What is run.
        exhibits: Those to be judged; ``good`` is added.
        tls: The only version to judge in.
        timeout: Seconds for one run.
        jobs: Runs at once; None: as many as there are processors.
        progress: Called with how many runs are over, and of how many.

    Raises:
        BuildError: The client has to be built, and cannot be.
        OSError: It cannot be run.
    """
    with tempfile.TemporaryDirectory(prefix="mtls-echo-gallery-") as folder:
        judging = _Judging(client, Path(folder), timeout)
        await judging.build()
        baseline = [
            await judging.row(GOOD, version) for version in GOOD.versions if tls in (None, version)
        ]
        works = {row.version for row in baseline if row.verdict == "works"}
        score = Score(client.name, client.read_version(), baseline)
        if not works:
            return score
        runs: list[tuple[Exhibit, TLSVersion]] = [
            (exhibit, version)
            for exhibit in exhibits
            if exhibit is not GOOD
            for version in exhibit.versions
            if tls in (None, version)
        ]
        rows: dict[tuple[str, TLSVersion], Row] = {}
        limit = trio.CapacityLimiter(jobs or os.cpu_count() or 1)

        async def run(exhibit: Exhibit, version: TLSVersion) -> None:
            async with limit:
                rows[exhibit.slug, version] = (
                    await judging.row(exhibit, version)
                    if version in works
                    else Row(exhibit, version, "not tested", f"good fails in TLS {version}")
                )
            if progress is not None:
                progress(len(rows), len(runs))

        async with trio.open_nursery() as nursery:
            for each in runs:
                nursery.start_soon(run, *each)
        score.rows += (rows[exhibit.slug, version] for exhibit, version in runs)
        return score


class _Judging:
    def __init__(self, client: Client, folder: Path, timeout: float) -> None:
        self._client = client
        self._folder = folder
        self._timeout = timeout
        self._gallery = Gallery(World(), hold=HOLD)

    async def build(self) -> None:
        if not self._client.build:
            return
        words = [word.replace("{dir}", str(self._folder)) for word in self._client.build]
        built = await trio.run_process(
            words, check=False, capture_stdout=True, capture_stderr=True
        )
        if built.returncode:
            raise BuildError(built.stderr.decode(errors="replace").strip())

    async def row(self, exhibit: Exhibit, version: TLSVersion) -> Row:
        """Run the client against one exhibit, and judge it."""
        command = self._client.command
        if exhibit.group == "revocation":
            command = self._client.with_crl
            if not command:
                return Row(exhibit, version, "not tested", "the client is given no CRL")
        if exhibit.needs_client_certificate and not self._client.takes("cert"):
            return Row(exhibit, version, "not tested", "the client is given no certificate")
        async with self._gallery.alone(exhibit, version) as place:
            words = list(self._words(command, exhibit, version, place.port))
            ran = await _run(words, self._timeout)
            with trio.move_on_after(self._timeout):
                await place.wait_empty()
        return _judged(exhibit, version, ran, place)

    def _words(
        self, command: Sequence[str], exhibit: Exhibit, version: TLSVersion, port: int
    ) -> Iterator[str]:
        """The words of a command, with the files that they name."""
        world = self._gallery.world
        given = world.given(exhibit, *LOCAL)
        contents = {
            "ca": given.trust.pem,
            "crl": given.trust.crl_pem,
            "cert": world.client.certificate_pem,
            "key": world.client.key_pem,
        }
        values = {
            "url": f"https://{Address(given.reference, port)}/",
            "host": given.reference,
            "port": str(port),
            "dir": str(self._folder),
        }
        for name, content in contents.items():
            if any("{" + name + "}" in word for word in command):
                file = self._folder / f"{exhibit.slug}-{version}.{name}.pem"
                file.touch(mode=0o600)
                file.write_bytes(content)
                values[name] = str(file)
        instead = dict(self._client.for_address) if given.by_address else {}
        for word in command:
            word = instead.get(word, word)
            for name, value in values.items():
                word = word.replace("{" + name + "}", value)
            yield word


async def _run(words: Sequence[str], limit: float) -> Ran:
    """Run a command, and end it and its children when its time is over."""
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as request:
        request.write(_REQUEST)
        request.seek(0)
        process = await trio.lowlevel.open_process(
            words, stdin=request, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
        )
        with trio.move_on_after(limit):
            try:
                await process.wait()
            except BaseException:
                _kill(process)
                raise
        if process.returncode is None:
            _kill(process)
            with trio.CancelScope(shield=True):
                await process.wait()
            status = None
        else:
            status = process.returncode
        said.seek(0)
        return Ran(status, said.read(_MOST_SAID).decode(errors="replace"))


def _kill(process: trio.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _judged(exhibit: Exhibit, version: TLSVersion, ran: Ran, place: Place) -> Row:
    received = sum(visit.received for visit in place.visits)
    established = any(visit.established for visit in place.visits)
    reports = [visit.report for visit in place.visits]
    refusals = [each for each in reports if each is not None and each.rejected_by == "client"]
    alert = next((each.alert.name for each in refusals if each.alert is not None), None)
    cause = next((each.causes[0] for each in refusals if each.causes), None)
    verdict, why = _verdict(exhibit, ran, bool(place.visits), established, bool(received))
    return Row(exhibit, version, verdict, why, alert, cause, ran.status, _last_line(ran.said))


def _verdict(
    exhibit: Exhibit, ran: Ran, came: bool, established: bool, sent: bool
) -> tuple[Verdict, str]:
    """What a client did, by what the server saw of it and by its exit status."""
    succeeded = ran.status == 0
    if exhibit.must == "work":
        return ("works" if succeeded and established else "fails"), ""
    if not came:
        return "not tested", "it did not connect"
    if exhibit.must == "fail":
        if ran.status is None:
            return "not tested", "it came to no end"
        return ("accepted" if succeeded else "refused"), ""
    if sent or (succeeded and established):
        return ("accepted" if succeeded or ran.status is None else "accepted late"), ""
    if ran.status is None:
        return "not tested", "it came to no end"
    return "refused", ""


def _last_line(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else ""
