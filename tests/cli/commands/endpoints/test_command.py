"""`mtls-echo endpoints` as a process: what one round prints, and what it ends with."""

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
from pathlib import Path
from typing import Any

import pytest

from mtls_echo.commands.endpoints.command import endpoints as endpoints_command
from tests.cli.commands.endpoints.world import World, endpoints, group
from tests.cli.commands.endpoints.world import world as world
from tests.support.clients import echo_plainly, say_nothing, serving
from tests.support.command_line import COMMAND, environment, run
from tests.support.pki import unprivileged
from tests.support.ports import refusing_port
from tests.support.timing import TIMEOUT

DOCS = Path(__file__).parents[4] / "docs"

NO_TLS: Any = None  # what the plain servers of `client_helpers` make of a context: nothing


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
            "absent": group(refusing_port()),
            "strict absent": group(refusing_port(), mode="strict"),
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


def test_nothing_to_connect_to_is_not_a_success(world: World) -> None:
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
        (["--check"], "give either --endpoint.config-file or --endpoint.config"),
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

    error, hint = ran.stderr.splitlines()
    assert (ran.returncode, error) == (2, "mtls-echo: error: standard output is closed")
    assert hint == "mtls-echo: hint: redirect it to a file that can be written: > FILE"


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


def test_quiet_prints_the_table_only_where_something_is_not_well(world: World) -> None:
    well = world.write(group(world.one.port), name="well.yaml")
    ill = world.write(group(refusing_port()), name="ill.yaml")

    done = endpoints(well, "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = endpoints(ill, "-q")
    assert done.returncode == 3
    assert "down" in done.stdout
