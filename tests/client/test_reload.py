"""`mtls-echo connect --repeat` lives through every change of its files, and tells of it."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.certificates.trust import Trust
from mtls_echo_pki.directory.directory import Directory
from mtls_echo_pki.files.atomic_writer import publish
from tests.support.clients import World, command, run, serving, transforming
from tests.support.mounts import by_rename, in_place, mount, secret
from tests.support.timing import TIMEOUT


@pytest.fixture
def world(tmp_path: Path) -> World:
    (tmp_path / "world").mkdir()
    return World.create(tmp_path / "world")


class Repeating:
    """A client that connects again and again, its reports in a file, what it says to be read."""

    def __init__(self, process: subprocess.Popen[str], reports: Path) -> None:
        self._process = process
        self._reports = reports
        self.echoes = threading.Semaphore(0)
        self.said: list[str] = []

    def says(self, what: str) -> str:
        """The next line about something; whatever else it says before counts too."""
        assert self._process.stderr is not None
        while line := self._process.stderr.readline():
            self.said.append(line)
            if what in line:
                return line
        raise AssertionError(f"it ended without {what}; it said {self.said}")

    def echoed(self, times: int) -> None:
        for _ in range(times):
            assert self.echoes.acquire(timeout=TIMEOUT)

    def stop(self) -> list[dict[str, Any]]:
        """Its reports, when it has ended."""
        self._process.send_signal(signal.SIGINT)
        assert self._process.stderr is not None
        self.said += self._process.stderr.readlines()
        assert self._process.wait(TIMEOUT) == 130
        return [json.loads(line) for line in self._reports.read_text().splitlines()]


@contextmanager
def repeating(world: World, folder: Path, trust: Trust, *options: str) -> Iterator[Repeating]:
    context = world.server_context(trust=world.clients.trust | trust)
    (folder / "reports").touch()
    here: list[Repeating] = []

    def note(data: bytes) -> bytes:
        here[0].echoes.release()
        return data

    with (
        (folder / "reports").open("w") as reports,
        serving(transforming(note), context) as port,
        subprocess.Popen(
            command(f":{port}", "--repeat", "0.02", "--json", *options),
            stdout=reports,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        watchdog = threading.Timer(TIMEOUT, process.kill)
        watchdog.start()
        here.append(Repeating(process, folder / "reports"))
        try:
            yield here[0]
        finally:
            process.kill()
            watchdog.cancel()


Write = Callable[[Path, Credential, Trust], None]


def _mounted(folder: Path, credential: Credential, trust: Trust) -> None:
    # cert-manager's Secret and trust-manager's ConfigMap are two volumes.
    mount(folder / "tls", secret(credential))
    mount(folder / "trust", {"ca.crt": trust.pem})


def _published(folder: Path, credential: Credential, trust: Trust) -> None:
    publish(folder / "tls", secret(credential), {})
    publish(folder / "trust", {"ca.crt": trust.pem}, {})


def _plain(write: Callable[[Path, bytes], None]) -> Write:
    def write_all(folder: Path, credential: Credential, trust: Trust) -> None:
        for name in ("tls", "trust"):
            (folder / name).mkdir(exist_ok=True)
        for name, contents in secret(credential).items():
            write(folder / "tls" / name, contents)
        write(folder / "trust" / "ca.crt", trust.pem)

    return write_all


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(_mounted, id="mounted"),
        pytest.param(_published, id="published"),
        pytest.param(_plain(in_place), id="in place"),
        pytest.param(_plain(by_rename), id="by rename"),
    ],
)
def test_it_keeps_what_is_good_says_so_once_and_takes_what_is_mended(
    world: World, tmp_path: Path, write: Write
) -> None:
    trust = world.servers.trust
    write(tmp_path, world.alice, trust)
    tls, bundle = tmp_path / "tls", tmp_path / "trust" / "ca.crt"
    files = ("--cert", str(tls / "tls.crt"), "--key", str(tls / "tls.key"), "--ca", str(bundle))
    renewed = world.clients.issue(Request.client("alice.test"))
    with repeating(world, tmp_path, trust, *files) as here:
        here.echoed(2)
        in_place(bundle, trust.pem[:300])
        # A look between truncating and writing finds it empty, and says so first.
        line = here.says(f"{bundle}: is cut off")
        assert "not reloaded" in line
        assert "generation 1 stays in use" in line
        assert here.says("hint: ")
        here.echoed(5)
        in_place(bundle, trust.pem)
        # And so it does here: not every line with "reloaded" is this one.
        assert "generation 1 stays in use" in here.says("again what they were")
        write(tmp_path, renewed, trust)
        line = here.says("generation 2")
        assert "new certificate and key: generation 2" in line
        while here.echoes.acquire(blocking=False):
            pass
        here.echoed(3)
        reports = here.stop()

    assert {report["outcome"] for report in reports[:-1]} == {"echoed"}
    presented = [report["own"]["fingerprint"] for report in reports if report["own"]]
    assert list(dict.fromkeys(presented)) == [world.alice.fingerprint, renewed.fingerprint]
    # Between two plain files it may have seen a pair that did not match; never more than that.
    assert len([line for line in here.said if "is cut off" in line]) == 1


def test_a_directory_that_goes_is_waited_for_and_not_made_anew(
    world: World, tmp_path: Path
) -> None:
    directory = Directory.create(tmp_path / "pki")
    publish(directory.path / "trust" / "servers", {"ca.crt": world.servers.trust.pem}, {})
    trust = directory.trust("clients")
    with repeating(world, tmp_path, trust, "--pki", str(directory.path)) as here:
        here.echoed(1)
        directory.path.rename(tmp_path / "elsewhere")
        assert f"{directory.path}: does not exist" in here.says("not reloaded")
        here.echoed(3)
        assert not directory.path.exists()
        (tmp_path / "elsewhere").rename(directory.path)
        here.says("again what they were")
        reports = here.stop()
    assert {report["outcome"] for report in reports[:-1]} == {"echoed"}


def test_files_that_do_not_change_cost_one_context_and_no_word(world: World) -> None:
    program = (
        "import mtls_echo.commands.connect_io as dialogue\n"
        "build = dialogue.client_context\n"
        "def counted(*given, **options):\n"
        "    print('built')\n"
        "    return build(*given, **options)\n"
        "dialogue.client_context = counted\n"
        "from mtls_echo.commands.connect import connect\n"
        "connect()"
    )
    with serving(transforming(bytes), world.server_context()) as port:
        done = run(
            *(f":{port}", "hello", "--repeat", "0", "--count", "5"),
            *world.files,
            program=program,
        )
    assert done.returncode == 0
    assert done.stdout.count(b"built") == 1
    assert done.stdout.count(b"hello") == 5
    assert b"reloaded" not in done.stderr
