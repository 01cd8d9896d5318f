"""The demonstration announces what will happen, and says so when it does not."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mtls_echo.demo.scenes import SCENES
from tests.interop.foreign_peers import need
from tests.support.command_line import COMMAND, environment, run, serving
from tests.support.timing import TIMEOUT


@pytest.fixture(scope="module")
def shown() -> str:
    ran = run("demo")

    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    return ran.stdout


def test_every_scene_happens_as_announced_in_both_versions(shown: str) -> None:
    assert shown.count("as announced:") == 2 * len(SCENES)
    assert "not as announced" not in shown
    assert f"{2 * len(SCENES)} connections, all as announced" in shown


def test_each_side_says_what_it_saw(shown: str) -> None:
    assert shown.count("what the client saw") == shown.count("what the server saw") == 12
    for alert in (
        "handshake_failure (40)",
        "certificate_required (116)",
        "unknown_ca (48)",
        "certificate_expired (45)",
        "bad_certificate (42)",
    ):
        assert alert in shown


def test_the_diagrams_show_what_is_encrypted_and_who_refuses_where(shown: str) -> None:
    tls12, tls13 = shown.split("TLS 1.3", maxsplit=1)

    # In TLS 1.2 everybody on the path can read the client's certificate; in 1.3 none of them can.
    assert re.search(r"── Certificate of alice", tls12)
    assert re.search(r"══ Certificate of alice", tls13)
    assert not re.search(r"── Certificate of alice", tls13)
    assert shown.count("the client refuses: wrong-name") == 2
    assert shown.count("the server refuses: expired") == 2


def test_it_fits_a_terminal_of_the_usual_width(shown: str) -> None:
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize(("tls", "other"), [("1.2", "1.3"), ("1.3", "1.2")])
def test_one_version_can_be_chosen(tls: str, other: str) -> None:
    ran = run("demo", "--tls", tls)

    assert ran.returncode == 0
    assert f" TLS {tls} " in ran.stdout
    assert f" TLS {other} " not in ran.stdout
    assert f"{len(SCENES)} connections" in ran.stdout


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("cause='revoked'", "does not name revoked"),
        ("alerts=('unknown_ca', 'unknown_ca')", "not unknown_ca"),
        ("rejected_by='client'", "refused, by server"),
        ("rejected_by=None, cause=None, alerts=None", "refused, by server"),
    ],
)
def test_a_deviation_from_the_announced_result_is_reported_and_exits_1(
    change: str, complaint: str
) -> None:
    program = (
        "from dataclasses import replace\n"
        "from mtls_echo import __main__\n"
        "from mtls_echo.demo import scenes\n"
        f"scenes.SCENES = (replace(scenes.SCENES[3], {change}),)\n"
        "__main__.main(['demo', '--tls', '1.3'])\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=TIMEOUT
    )

    assert ran.returncode == 1
    assert "not as announced" in ran.stdout
    assert "mtls-echo: error: not everything happened as announced" in ran.stderr
    assert complaint in ran.stderr


def test_colour_is_for_terminals_only(shown: str) -> None:
    assert "\x1b[" not in shown

    in_terminal = _run_in_terminal("demo", "--tls", "1.3")

    assert "\x1b[" in in_terminal
    assert "as announced" in in_terminal


def test_a_terminal_without_line_drawing_gets_ascii() -> None:
    ran = run("demo", "--tls", "1.3", PYTHONIOENCODING="ascii")

    assert ran.returncode == 0
    assert "| == Certificate of alice" in ran.stdout
    assert ran.stdout.isascii()


def test_a_reader_that_leaves_early_ends_it_quietly() -> None:
    demo = subprocess.Popen(
        [*COMMAND, "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()
    )
    assert demo.stdout is not None
    assert demo.stderr is not None
    with demo, demo.stdout, demo.stderr:
        demo.stdout.readline()
        demo.stdout.close()
        complaints = demo.stderr.read()

    assert complaints == b""
    assert demo.returncode == 128 + 13


def test_the_commands_it_ends_with_work_when_pasted(tmp_path: Path, shown: str) -> None:
    """Pasted into a shell, with this test's port and directory in place of the default."""
    pki = tmp_path / "pki"
    pasted = re.findall(r"(?m)^  (\S(?:.*\\\n)*.*)$", shown.partition("Now try it yourself.")[2])
    commands = [command for command in pasted if "localhost:8443" in command]
    assert len(commands) == 4
    directory = re.search(r"-CAfile (\S+)/trust/servers/ca.crt", shown)
    assert directory is not None

    for program in ("openssl", "curl"):
        assert any(program in command for command in commands)
        need(program)

    outputs: dict[str, subprocess.CompletedProcess[str]] = {}
    with serving(pki=pki) as server:
        for command in commands:
            here = command.replace("8443", str(server.port)).replace(directory[1], str(pki))
            outputs[command] = subprocess.run(
                ["bash", "-c", here],
                capture_output=True,
                text=True,
                timeout=TIMEOUT,
                env=environment(pki),
            )

    for command, ran in outputs.items():
        if "--no-cert" in command:
            assert ran.returncode == 5, ran.stderr
            assert "certificate_required (116)" in ran.stderr
        else:
            assert ran.stdout.strip() == "hello", (command, ran)
            assert ran.returncode == 0, (command, ran)


def test_it_names_the_demonstrations_that_are_left(shown: str) -> None:
    offered = re.findall(r"demo (--\w+)$", shown, re.MULTILINE)

    assert offered == ["--rotation", "--attacks", "--endpoints"]
    for option in offered:
        assert option in run("demo", "--help").stdout


def test_its_help_counts_the_clients_that_refuse_the_server(shown: str) -> None:
    refusing = [scene for scene in SCENES if scene.rejected_by == "client"]
    counted = {2: "two that refuse the server"}[len(refusing)]

    assert counted in " ".join(run("demo", "--help").stdout.split())


def test_it_runs_in_a_directory_that_has_been_deleted() -> None:
    ran = subprocess.run(
        ["sh", "-c", 'cd "$(mktemp -d)" && rmdir "$PWD" && exec "$@"', "sh", *COMMAND, "demo"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        env=environment(),
    )

    assert (ran.returncode, ran.stderr) == (0, "")
    # A long path to the program breaks the command's line.
    assert "localhost:8443 hello" in re.sub(r"\s*\\\n\s*", " ", ran.stdout)


def test_it_runs_for_a_user_without_a_home() -> None:
    program = (
        "from pathlib import Path\n"
        "from mtls_echo.__main__ import main\n"
        "def nowhere(): raise RuntimeError('Could not determine home directory.')\n"
        "Path.home = nowhere\n"
        "main(['demo', '--tls', '1.3'])\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=TIMEOUT
    )

    assert (ran.returncode, ran.stderr) == (0, "")


def _run_in_terminal(*arguments: str) -> str:
    master, slave = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment(TERM="xterm-256color"),
    ) as process:
        os.close(slave)
        written = b""
        while True:
            try:
                chunk = os.read(master, 65536)
            except OSError:
                break  # the last writer has closed the terminal
            written += chunk
        assert process.wait(TIMEOUT) == 0
    os.close(master)
    return written.decode()


# --- many servers --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def toured() -> str:
    ran = run("demo", "--endpoints")

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stderr == ""
    return ran.stdout


def test_many_servers_come_and_go_as_announced(toured: str) -> None:
    assert toured.count("as announced:") == 6
    assert "not as announced" not in toured
    assert "all as announced" in toured
    assert max(map(len, toured.splitlines())) <= 80


def test_the_tour_shows_the_configuration_and_what_becomes_of_each_endpoint(toured: str) -> None:
    _, first, stopped, again, edited, replaced, put_back = re.split(r"─ \d\. ", toured)

    assert "tls_config:" in toured
    assert "mode: strict" in toured
    assert "4 endpoints: 3 up, 1 down; 3 admitted" in first
    assert "unknown-authority" in first
    assert "no-connection" in stopped
    assert "4 endpoints: 3 up, 1 down; 3 admitted" in again
    assert "3 endpoints: 3 up; 3 admitted" in edited
    assert "3 endpoints: 1 up, 2 down; 3 admitted" in replaced
    assert "3 endpoints: 3 up; 3 admitted" in put_back


def test_what_is_kept_can_be_connected_to_from_a_second_terminal(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    with subprocess.Popen(
        [*COMMAND, "demo", "--endpoints", "--keep", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if "--watch" in line:
                    break
            ran = run("endpoints", "--endpoint.config-file", str(folder / "endpoints.yaml"))
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=TIMEOUT)
        finally:
            process.kill()

    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "3 endpoints: 3 up; 3 admitted" in ran.stdout
    assert process.returncode == 130


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--endpoints", "--tls", "1.3"], "exclude each other"),
        (["--keep", "x"], "no effect without --endpoints"),
        (["--endpoints", "--keep", str(Path(__file__).parent)], "is not empty"),
        (["--endpoints", "--keep", __file__], "test_demo.py: "),
    ],
)
def test_options_of_the_tour_that_make_no_sense_are_refused(
    arguments: list[str], complaint: str
) -> None:
    ran = run("demo", *arguments)

    assert ran.returncode == 2
    assert complaint in ran.stderr
    assert "Traceback" not in ran.stderr
