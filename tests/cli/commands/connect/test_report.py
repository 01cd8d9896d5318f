"""The report of `mtls-echo connect`, repeated connections, and OpenSSL as the peer."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mtls_echo_pki.directory.directory import Directory
from mtls_echo_tls.denial import denial_line
from tests.cli.commands.connect.world import report_of, versions
from tests.cli.commands.connect.world import world as world
from tests.support.clients import (
    PROGRAM,
    World,
    close_at_once,
    command,
    echo,
    run,
    say_nothing,
    saying,
    serving,
)
from tests.support.ports import refusing_port
from tests.support.timing import TIMEOUT

# --- the report, repetition, the directory -------------------------------------------------------


@versions
def test_the_report_of_a_success_says_what_was_agreed(world: World, version: str) -> None:
    with serving(echo, world.server_context(version)) as port:
        report = report_of(run(f":{port}", "hello", "--json", *world.files))

    assert report["outcome"] == "echoed"
    assert report["stage"] == "established"
    assert report["causes"] == []
    assert report["tls"]["version"] == f"TLSv{version}"
    assert report["own"]["fingerprint"] == world.alice.fingerprint
    assert report["peer"]["fingerprint"] == world.server.fingerprint
    assert len(report["client_random"]) == 64


def test_repeated_connections_are_counted_and_the_last_failure_decides(world: World) -> None:
    calls: list[int] = []

    def moody(connection: socket.socket, context: Any) -> None:
        calls.append(len(calls))
        behaviour = {1: saying(denial_line("no")), 2: close_at_once}.get(calls[-1], echo)
        behaviour(connection, context)

    with serving(moody, world.server_context()) as port:
        done = run(f":{port}", "hello", "--repeat", "0", "--count", "4", *world.files)
        calls.clear()
        reported = run(f":{port}", "--repeat", "0", "--count", "4", "--json", *world.files)

    assert done.returncode == reported.returncode == 6
    assert done.stdout == b"hello\nhello\n"
    outcomes = [json.loads(line)["outcome"] for line in reported.stdout.splitlines()]
    assert outcomes == ["echoed", "denied", "failed", "echoed"]


def test_the_first_run_creates_the_directory_it_shares_with_the_server(tmp_path: Path) -> None:
    done = run(f":{refusing_port()}", "hello", pki=tmp_path / "pki")
    again = run(f":{refusing_port()}", "hello", pki=tmp_path / "pki")
    unknown = run(f":{refusing_port()}", "hello", "--as", "absent", pki=tmp_path / "pki")

    assert done.returncode == again.returncode == 3
    assert f"made test certificates in {tmp_path / 'pki'}" in done.stderr.decode()
    assert b"made" not in again.stderr
    assert Directory(tmp_path / "pki").names() == ["client", "server"]
    assert unknown.returncode == 2
    assert b"absent" in unknown.stderr


def test_ctrl_c_while_a_server_is_silent_is_clean_and_quick(world: World) -> None:
    arrived = threading.Event()

    def arrive(connection: socket.socket, context: Any) -> None:
        arrived.set()
        say_nothing(connection, context)

    with (
        serving(arrive, world.server_context()) as port,
        subprocess.Popen(
            command(f":{port}", "hello", "--timeout", "600", *world.files),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process,
    ):
        assert arrived.wait(TIMEOUT)
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=TIMEOUT)

    assert (process.returncode, output, errors) == (130, b"", b"")


def test_help_is_printed_without_loading_what_it_does_not_need() -> None:
    program = (
        "import sys\n"
        "try:\n    "
        + PROGRAM.replace("; ", "\n    ")
        + "\nfinally:\n    print(*sys.modules, file=sys.stderr)"
    )
    done = run("--help", program=program)

    loaded = set(done.stderr.decode().split())
    assert done.returncode == 0
    assert not loaded & {"trio", "ssl", "cryptography", "rich", "msgspec"}
    for status in ("0  echoed", "9  authenticated", "130  interrupted"):
        assert status in done.stdout.decode()


# --- real peers ----------------------------------------------------------------------------------


@contextmanager
def s_server(world: World, version: str, *options: str) -> Iterator[int]:
    """`openssl s_server -rev`: sends each line back reversed; yields its port."""
    arguments = [
        "openssl", "s_server", "-accept", "127.0.0.1:0", "-rev",
        "-tls1_2" if version == "1.2" else "-tls1_3",
        "-cert", str(world.folder / "server.crt"), "-key", str(world.folder / "server.key"),
        "-CAfile", str(world.folder / "clients.crt"), *options,
    ]  # fmt: skip
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            assert process.stdout
            for line in process.stdout:
                if line.startswith(b"ACCEPT"):
                    yield int(line.rsplit(b":", 1)[1])
                    break
        finally:
            process.kill()


@versions
def test_openssl_s_server_accepts_us_and_a_palindrome_is_its_own_echo(
    world: World, version: str
) -> None:
    with s_server(world, version, "-Verify", "2", "-verify_return_error") as port:
        done = run(f"127.0.0.1:{port}", "level", *world.files)
        reversed_line = run(f"127.0.0.1:{port}", "hello", *world.files)

    assert (done.returncode, done.stdout) == (0, b"level\n")
    assert reversed_line.returncode == 6


@versions
def test_openssl_s_server_refuses_us_and_we_say_why(world: World, version: str) -> None:
    with s_server(world, version, "-Verify", "2", "-verify_return_error") as port:
        nothing = run(f"127.0.0.1:{port}", "level", "--json", *world.trusting)
        untrusted = run(
            f"127.0.0.1:{port}", "level", "--json", *world.trusting, *world.presenting("untrusted")
        )

    assert nothing.returncode == untrusted.returncode == 5
    assert report_of(nothing)["causes"] == ["no-client-certificate"]
    assert report_of(nothing)["alert"]["code"] == (40 if version == "1.2" else 116)
    assert report_of(untrusted)["alert"]["name"] == "unknown_ca"


def test_the_interpreter_under_test_is_the_one_that_runs_the_command() -> None:
    assert command()[0] == sys.executable
