"""`mtls-echo endpoints --watch` as a process: what it shows, and how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cli.commands.endpoints.world import World, group
from tests.cli.commands.endpoints.world import world as world
from tests.support.command_line import COMMAND, environment
from tests.support.ports import refusing_port
from tests.support.timing import TIMEOUT


class Watch:
    """A running `mtls-echo endpoints --watch --json`, and its lines as they come."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []
        self._arrived = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for text in self.process.stdout:
            if not text.endswith("\n"):
                break  # cut off when the process was killed
            with self._arrived:
                self.lines.append(json.loads(text))
                self._arrived.notify_all()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join(TIMEOUT)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def wait_for(self, *, since: int = 0, **fields: object) -> int:
        """Wait for a line with these fields; the number of lines up to it."""

        def place() -> int:
            for number, told in enumerate(self.lines[since:], since + 1):
                if all(told.get(name) == value for name, value in fields.items()):
                    return number
            return 0

        with self._arrived:
            assert self._arrived.wait_for(place, TIMEOUT), self.lines
            return place()

    def end(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(TIMEOUT)


@contextlib.contextmanager
def watching(
    file: str, *, interval: str = "1", command: tuple[str, ...] = COMMAND
) -> Iterator[Watch]:
    options = ("--watch", "--json", "--interval", interval)
    process = subprocess.Popen(
        [*command, "endpoints", "--endpoint.config-file", file, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    watch = Watch(process)
    try:
        yield watch
    finally:
        watch.close()
        assert process.stderr is not None
        said = process.stderr.read()
        process.stderr.close()
    assert said == ""


def test_watching_follows_targets_settings_and_servers_and_ends_with_their_status(
    world: World,
) -> None:
    first, second = f"127.0.0.1:{world.one.port}", f"127.0.0.1:{world.two.port}"
    world.targets(world.one.port)
    file = world.write(group(files="targets.json"), name="watched.yaml")
    with watching(file) as watch:
        seen = watch.wait_for(event="endpoint", address=first, state="up")

        world.targets(world.one.port, world.two.port)
        seen = watch.wait_for(since=seen, event="endpoint", address=second, state="down")

        # The other authority, in the configuration itself: the untrusted server is trusted now.
        world.write(group(files="targets.json", pki="two"), name="watched.yaml")
        watch.wait_for(since=seen, event="endpoint", address=first, state="down")
        seen = watch.wait_for(since=seen, event="endpoint", address=second, state="up")

        world.targets(world.one.port)
        watch.wait_for(since=seen, event="removed", address=second)
        assert watch.end() == 4


def test_a_broken_configuration_is_a_problem_and_the_last_good_one_stays(world: World) -> None:
    file = world.write(group(world.one.port), name="watched.yaml")
    with watching(file) as watch:
        watch.wait_for(event="endpoint", state="up")
        world.write("- nonsense: 1\n", name="watched.yaml")
        seen = watch.wait_for(event="problem", where=file)
        world.write(group(world.one.port), name="watched.yaml")
        watch.wait_for(since=seen, event="resolved", where=file)
        assert [each["state"] for each in watch.lines if each["event"] == "endpoint"] == [
            *("connecting", "up"),
        ]
        assert watch.end() == 0


# Looks at files every hour.
SELDOM = """
from mtls_echo.__main__ import main
import mtls_echo.commands.endpoints.command as command
command._FILE_INTERVAL = 3600.0
main()
"""


def test_sighup_reads_everything_at_once(world: World) -> None:
    ours, theirs = world.folder / "trusted.crt", "{}/trust/servers/ca.crt"
    ours.write_bytes((world.folder / theirs.format("one")).read_bytes())
    world.targets(world.one.port)
    written = group(files="targets.json").replace("one/trust/servers/ca.crt", "trusted.crt")
    file = world.write(written, name="watched.yaml")
    seldom = (sys.executable, "-c", SELDOM)
    with watching(file, interval="3600", command=seldom) as watch:
        seen = watch.wait_for(event="endpoint", state="up")

        world.targets(world.one.port, world.two.port)
        watch.process.send_signal(signal.SIGHUP)
        second = f"127.0.0.1:{world.two.port}"
        seen = watch.wait_for(since=seen, event="endpoint", address=second, state="down")

        ours.write_bytes((world.folder / theirs.format("two")).read_bytes())
        watch.process.send_signal(signal.SIGHUP)
        # It is trusted now; and itself does not trust us.
        watch.wait_for(since=seen, event="endpoint", address=second, exit_status=5)

        world.write(group(world.two.port, pki="two"), name="watched.yaml")
        watch.process.send_signal(signal.SIGHUP)
        watch.wait_for(since=seen, event="endpoint", address=second, state="up")
        assert watch.end(signal.SIGTERM) == 0


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_watching_ends_cleanly_and_a_strict_one_that_is_down_decides(
    world: World, ending: int
) -> None:
    down = refusing_port()
    file = world.write(group(down, mode="strict"), group(world.two.port, pki="two"))
    with watching(file) as watch:
        watch.wait_for(event="endpoint", state="up")
        watch.wait_for(event="endpoint", state="down", strict=True)
        assert watch.end(ending) == 3


def test_without_a_terminal_each_change_is_one_line_of_text(world: World) -> None:
    file = world.write(group(world.one.port))
    process = subprocess.Popen(
        [*COMMAND, "endpoints", "--endpoint.config-file", file, "--watch"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline(), process.stdout.readline()]
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(TIMEOUT) == 0
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()

    assert lines[0].endswith(f" 127.0.0.1:{world.one.port} ([0]) connecting, not admitted\n")
    assert " up: TLS 1.3, localhost, 127.0.0.1, ::1, certificate until " in lines[1]
    assert rest == ""


def test_a_reader_that_has_enough_ends_it_quietly(world: World) -> None:
    file = world.write(group(refusing_port(), world.one.port))
    process = subprocess.Popen(
        [*COMMAND, "endpoints", "--endpoint.config-file", file, "--watch", "--interval", "0.1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    # Something must happen for it to notice.
    world.write(group(refusing_port()))
    status = process.wait(TIMEOUT)
    said = process.stderr.read()
    process.stderr.close()

    assert (status, said) == (141, "")


@pytest.mark.parametrize("colour", [True, False], ids=["colour", "NO_COLOR"])
def test_a_terminal_gets_a_table_that_is_drawn_in_place(world: World, colour: bool) -> None:
    file = world.write(group(world.one.port))
    plain = environment(TERM="xterm", NO_COLOR="1")
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, "endpoints", "--endpoint.config-file", file, "--watch"],
        stdout=theirs,
        stderr=subprocess.PIPE,
        env=environment(TERM="xterm") if colour else plain,
    ) as process:
        os.close(theirs)
        watchdog = threading.Timer(TIMEOUT, process.kill)
        watchdog.start()
        shown = b""
        while b"1 endpoint: 1 up; 1 admitted" not in shown:
            shown += os.read(ours, 65_536)
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(OSError):  # EIO: the other end is closed
            while data := os.read(ours, 65_536):
                shown += data
        watchdog.cancel()
        assert process.wait(TIMEOUT) == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""
    os.close(ours)

    assert b"localhost +2" in shown
    assert (b"\x1b[32mup" in shown) is colour
    assert b"\x1b[?1049h" not in shown, "what was on the screen stays"
    assert shown.rfind(b"\x1b[?25h") > shown.rfind(b"\x1b[?25l"), "the cursor is shown again"


def test_watching_ends_with_its_terminal(world: World) -> None:
    """The kernel's SIGHUP is not enough: it is a request to read everything again."""
    file = world.write(group(world.one.port))
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, "endpoints", "--endpoint.config-file", file, "--watch", "--interval", "0.5"],
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.PIPE,
        start_new_session=True,
        env=environment(TERM="xterm"),
    ) as process:
        os.close(theirs)
        try:
            shown = b""
            while b"1 up" not in shown:
                shown += os.read(ours, 65_536)
            os.close(ours)
            process.wait(TIMEOUT)
            assert process.stderr is not None
            assert b"Traceback" not in process.stderr.read()
        finally:
            process.kill()
