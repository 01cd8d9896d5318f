"""`mtls-echo endpoints` as a process: what is printed, and what it ends with."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shlex
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mtls_echo.commands.endpoints.command import endpoints as endpoints_command
from mtls_echo_pki.directory.directory import Directory
from tests.support.clients import echo_plainly, free_port, say_nothing, serving
from tests.support.command_line import COMMAND, Serving, environment, run
from tests.support.command_line import serving as echo_server
from tests.support.pki import unprivileged
from tests.support.timing import TIMEOUT

DOCS = Path(__file__).parents[4] / "docs"

NO_TLS: Any = None  # what the plain servers of `client_helpers` make of a context: nothing


class World:
    """Two PKIs, a server under each, and a folder for configurations."""

    def __init__(self, folder: Path, one: Serving, two: Serving) -> None:
        self.folder = folder
        self.one, self.two = one, two

    def write(self, *groups: str, name: str = "endpoints.yaml") -> str:
        path = self.folder / name
        path.write_text("".join(groups), "utf-8")
        return str(path)

    def targets(self, *ports: int) -> None:
        written = self.folder / "targets.json.new"
        written.write_text(json.dumps([{"targets": [f"127.0.0.1:{port}" for port in ports]}]))
        written.rename(self.folder / "targets.json")


def group(
    *ports: int, pki: str | None = "one", mode: str = "", files: str = "", client: bool = True
) -> str:
    """A group in the form proposed for Thanos."""
    lines = [f"- endpoints: {json.dumps([f'127.0.0.1:{port}' for port in ports])}"]
    if pki is not None:
        lines += ["  tls_config:", f"    ca_file: {pki}/trust/servers/ca.crt"]
        if client:
            lines += [
                f"    cert_file: {pki}/client/tls.crt",
                f"    key_file: {pki}/client/tls.key",
            ]
        lines += ["    server_name: localhost"]
    if files:
        lines += ["  endpoints_sd_files:", f"    - files: [{files}]"]
    lines += [f'  mode: "{mode}"']
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    for name in ("one", "two"):
        Directory.create(folder / name)
    with echo_server(pki=folder / "one") as one, echo_server(pki=folder / "two") as two:
        yield World(folder, one, two)


def endpoints(file: str, *options: str, **more: Any) -> subprocess.CompletedProcess[str]:
    ran = run("endpoints", "--endpoint.config-file", file, *options, **more)
    assert "Traceback" not in ran.stderr, ran.stderr
    return ran


# --- one round -----------------------------------------------------------------------------------


def test_each_group_is_connected_to_with_its_own_settings(world: World) -> None:
    file = world.write(group(world.one.port, mode="strict"), group(world.two.port, pki="two"))
    ran = endpoints(file)

    assert (ran.returncode, ran.stderr) == (0, "")
    assert "2 endpoints: 2 up; 2 admitted" in ran.stdout
    assert "strict" in ran.stdout
    assert "\x1b" not in ran.stdout
    assert max(map(len, ran.stdout.splitlines())) <= 80


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        pytest.param(["untrusted", "good"], 0, id="an untrusted server beside a good one"),
        pytest.param(["untrusted"], 4, id="an untrusted server alone"),
        pytest.param(["strict untrusted", "good"], 4, id="a strict untrusted server"),
        pytest.param(["no certificate"], 5, id="the server refuses us"),
        pytest.param(["absent", "untrusted"], 3, id="the first one, when none is admitted"),
        pytest.param(["untrusted", "strict absent", "good"], 3, id="the strict one before"),
        pytest.param(["silent"], 7, id="a server that says nothing"),
        pytest.param(["plain server"], 8, id="no TLS on that port"),
    ],
)
def test_the_exit_status_is_that_of_the_endpoint_that_matters(
    world: World, groups: list[str], expected: int
) -> None:
    with serving(say_nothing, NO_TLS) as silent, serving(echo_plainly, NO_TLS) as plain:
        places: dict[str, str] = {
            "good": group(world.one.port),
            "untrusted": group(world.two.port),
            "strict untrusted": group(world.two.port, mode="strict"),
            "no certificate": group(world.one.port, client=False),
            "absent": group(free_port()),
            "strict absent": group(free_port(), mode="strict"),
            "silent": group(silent),
            "plain server": group(plain),
        }
        file = world.write(*(places[each] for each in groups))
        ran = endpoints(file, "--timeout", "1" if "silent" in groups else "20")

    assert ran.returncode == expected, ran.stdout
    assert ran.stdout.count("hint: ") == len([g for g in groups if g != "good"])


def test_an_endpoint_that_failed_is_not_admitted_and_is_explained(world: World) -> None:
    ran = endpoints(world.write(group(world.one.port, world.two.port)))

    assert ran.returncode == 0
    [failed] = [each for each in ran.stdout.splitlines() if "unknown-authority" in each]
    assert failed.split()[:3] == [f"127.0.0.1:{world.two.port}", "down", "no"]
    assert "we refused the server" in ran.stdout
    assert "unknown_ca (48)" in ran.stdout


def test_json_is_one_object_with_the_same_verdict(world: World) -> None:
    ran = endpoints(world.write(group(world.one.port, world.two.port, mode="strict")), "--json")

    told = json.loads(ran.stdout)
    assert ran.stdout.count("\n") == 1
    assert ran.returncode == told["exit_status"] == 4
    assert [each["state"] for each in told["endpoints"]] == ["up", "down"]
    assert [each["exit_status"] for each in told["endpoints"]] == [0, 4]
    assert [each["admitted"] for each in told["endpoints"]] == [True, True]
    assert told["endpoints"][1]["report"]["causes"][0] == "unknown-authority"


def test_the_configuration_can_be_given_inline(world: World) -> None:
    inline = group(world.one.port).replace("one/", f"{world.folder}/one/")
    ran = run("endpoints", "--endpoint.config", inline)

    assert (ran.returncode, ran.stderr) == (0, "")
    assert "1 endpoint: 1 up; 1 admitted" in ran.stdout


def test_plaintext_must_be_allowed_and_is_shown_as_such(world: World) -> None:
    with serving(echo_plainly, NO_TLS) as port:
        file = world.write(group(port, pki=None))
        refused, allowed = endpoints(file), endpoints(file, "--allow-plaintext")

    assert (refused.returncode, refused.stdout) == (2, "")
    assert "plaintext" in refused.stderr
    assert allowed.returncode == 0
    assert "plain" in allowed.stdout


def test_discovered_endpoints_are_tried_and_a_bad_file_is_a_problem(world: World) -> None:
    world.targets(world.one.port)
    (world.folder / "bad.json").write_text("{")
    file = world.write(group(files="targets.json, bad.json"))
    ran = endpoints(file)

    assert ran.returncode == 0
    assert "1 endpoint: 1 up; 1 admitted" in ran.stdout
    assert "problem: " in ran.stdout
    assert "bad.json" in ran.stdout


def test_nothing_to_connect_to_is_no_success(world: World) -> None:
    world.targets()
    ran = endpoints(world.write(group(files="targets.json")))

    assert ran.returncode == 2
    assert "no endpoints" in ran.stdout


# --- the plan ------------------------------------------------------------------------------------


def test_check_prints_the_plan_and_connects_to_nothing(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        port = listener.getsockname()[1]
        file = world.write(group(port, mode="strict"), group(1, pki="two"))
        ran = endpoints(file, "--check")
        told = endpoints(file, "--check", "--json")
        with pytest.raises(BlockingIOError):
            listener.accept()

    assert (ran.returncode, ran.stderr) == (0, "")
    [row] = [each for each in ran.stdout.splitlines() if f"127.0.0.1:{port}" in each]
    assert row.split()[1:] == ["[0]", "[0].tls_config", "localhost", "strict"]
    plan = json.loads(told.stdout)
    assert list(plan) == ["endpoints", "problems"]
    assert [each["strict"] for each in plan["endpoints"]] == [True, False]
    assert plan["endpoints"][1]["tls_config"]["origin"] == "[1].tls_config"


def test_check_fails_when_a_file_of_targets_does(world: World) -> None:
    (world.folder / "bad.json").write_text("{")
    ran = endpoints(world.write(group(world.one.port, files="bad.json")), "--check")

    assert ran.returncode == 2
    assert "problem: " in ran.stdout


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "give either --endpoint.config-file or --endpoint.config"),
        (["--endpoint.config-file", "x", "--endpoint.config", "y"], "not both"),
        (["--endpoint.config-file", "x", "--check", "--watch"], "exclude each other"),
        (["--endpoint.config-file", "x", "--interval", "1"], "no effect without --watch"),
        (["--endpoint.config-file", "x", "--unhealthy-timeout", "1"], "no effect without --watch"),
        (["--endpoint.config-file", "x", "--check", "--timeout", "1"], "without a connection"),
        (["--endpoint.config-file", "x", "--watch", "--interval", "0"], "0.0 is not in the range"),
        (["--endpoint.config-file", "x", "--timeout", "inf"], "not a finite number"),
        (["--endpoint.config-file", "/nonexistent.yaml"], "/nonexistent.yaml"),
        (["--endpoint.config", "- nonsense: 1"], "[0]"),
        (["--endpoint.config", ""], "--endpoint.config"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_precise_line_and_exit_2(arguments: list[str], complaint: str) -> None:
    ran = run("endpoints", *arguments)

    assert (ran.returncode, ran.stdout) == (2, "")
    assert "Traceback" not in ran.stderr
    assert ran.stderr.count("mtls-echo: error: ") == 1
    [error] = [each for each in ran.stderr.splitlines() if "error: " in each]
    assert complaint in error


def test_the_help_says_what_it_ends_with() -> None:
    ran = run("endpoints", "--help")

    assert ran.returncode == 0
    for words in ("exit status:", "--endpoint.config-file FILE", "  9  authenticated", "strict"):
        assert words in ran.stdout


# --- watching ------------------------------------------------------------------------------------


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
    down = free_port()
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
    file = world.write(group(free_port(), world.one.port))
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
    world.write(group(free_port()))
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


@pytest.mark.parametrize("option", ["--check", "--watch", "--json", "--timeout=5"])
def test_without_standard_output_there_is_one_error(world: World, option: str) -> None:
    file = world.write(group(world.one.port))
    command = shlex.join([*COMMAND, "endpoints", "--endpoint.config-file", file, option])
    ran = subprocess.run(
        ["sh", "-c", f"{command} >&-"],
        stderr=subprocess.PIPE,
        text=True,
        timeout=TIMEOUT,
        env=environment(),
    )

    assert (ran.returncode, ran.stderr) == (2, "mtls-echo: error: standard output is closed\n")


def test_whether_the_configuration_may_be_read_is_found_out_by_reading_it(tmp_path: Path) -> None:
    """It is said in our words then, and with the exit status of an unusable file."""
    path = tmp_path / "endpoints.yaml"
    path.touch(0)
    for parent in (tmp_path, *tmp_path.parents[:2]):
        parent.chmod(parent.stat().st_mode | 0o111)
    with unprivileged():
        asked = endpoints_command.make_context("endpoints", ["--endpoint.config-file", str(path)])

    assert asked.params["file"] == path


def test_the_program_of_the_documentation_follows_its_configuration(world: World) -> None:
    program = DOCS / "examples" / "endpoints.py"
    assert f"```python\n{program.read_text('utf-8')}```" in (DOCS / "endpoints.md").read_text(
        "utf-8"
    )
    assert len(program.read_text("utf-8").splitlines()) < 30
    world.targets(world.one.port)
    file = world.write(group(files="targets.json"))
    with subprocess.Popen(
        [sys.executable, program, file], stdout=subprocess.PIPE, text=True, env=environment()
    ) as process:
        watchdog = threading.Timer(TIMEOUT, process.kill)
        watchdog.start()
        try:
            assert process.stdout is not None
            said = [process.stdout.readline() for _ in range(2)]
            world.targets()
            said.append(process.stdout.readline())
        finally:
            process.kill()
            watchdog.cancel()

    assert said == ["usable:\n", f"usable: 127.0.0.1:{world.one.port}\n", "usable:\n"]


def test_ctrl_c_in_a_round_that_takes_long_is_clean(world: World) -> None:
    accepted = threading.Event()

    def say_that_it_came(connection: socket.socket, context: Any) -> None:
        accepted.set()
        say_nothing(connection, context)

    with serving(say_that_it_came, NO_TLS) as port:
        file = world.write(group(port))
        process = subprocess.Popen(
            [*COMMAND, "endpoints", "--endpoint.config-file", file, "--timeout", "600"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        try:
            assert accepted.wait(TIMEOUT)
            process.send_signal(signal.SIGINT)
            shown, said = process.communicate(timeout=TIMEOUT)
        finally:
            process.kill()

    assert (process.returncode, shown, said) == (130, "", "\n")


def test_a_round_that_takes_long_says_how_far_it_is_on_a_terminal(world: World) -> None:
    shown_how_far = threading.Event()

    def close_at_last(connection: socket.socket, _: Any) -> None:
        shown_how_far.wait(TIMEOUT)

    with serving(close_at_last, NO_TLS) as port:
        file = world.write(group(port, world.one.port))
        ours, theirs = pty.openpty()
        with subprocess.Popen(
            [*COMMAND, "endpoints", "--endpoint.config-file", file, "--timeout", "600"],
            stdout=subprocess.PIPE,
            stderr=theirs,
            env=environment(TERM="xterm"),
        ) as process:
            os.close(theirs)
            said = b""
            with contextlib.suppress(OSError):  # EIO: the other end is closed
                while data := os.read(ours, 65_536):
                    said += data
                    if b"1/2" in said:
                        shown_how_far.set()
            shown = process.communicate(timeout=TIMEOUT)[0]
        os.close(ours)

    assert b"1/2" in said
    assert b"2 endpoints: 1 up, 1 down" in shown
    assert process.returncode == 0
