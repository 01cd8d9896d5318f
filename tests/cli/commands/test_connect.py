"""Can a script rely on the command: its standard output, its exit status, its report?"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mtls_echo_pki.directory.directory import Directory
from mtls_echo_tls.denial import denial_line
from tests.support.clients import (
    MEASURED,
    PROGRAM,
    VERSIONS,
    Behaviour,
    World,
    close_at_once,
    command,
    echo,
    echo_plainly,
    free_port,
    refuse_and_reset,
    reset_at_once,
    run,
    say_nothing,
    saying,
    serving,
    speaking_plainly,
    stalling,
    transforming,
    truncate,
)
from tests.support.timing import CLOCKED, HOUR, TELLING, TIMEOUT

versions = pytest.mark.parametrize("version", list(VERSIONS))

LINES = b"".join(b"%d\n" % number for number in range(1, 100_001))  # seq 100000


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World.create(tmp_path_factory.mktemp("world"))


def report_of(done: subprocess.CompletedProcess[bytes]) -> dict[str, Any]:
    """The one report on standard output."""
    assert done.stdout.count(b"\n") == 1
    report: dict[str, Any] = json.loads(done.stdout)
    return report


# --- what comes out ------------------------------------------------------------------------------


@versions
def test_a_message_is_echoed_as_a_line(world: World, version: str) -> None:
    with serving(echo, world.server_context(version)) as port:
        done = run(f"localhost:{port}", "hello", *world.files)

    assert (done.returncode, done.stdout) == (0, b"hello\n")
    assert done.stderr.decode() == (
        f"mtls-echo: connected to localhost:{port} as alice.test;"
        f" it proved to be localhost (TLSv{version})\n"
    )


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"a\nb\n", id="lines"),
        pytest.param(b"a\nb", id="no newline at the end"),
        pytest.param(bytes(range(256)), id="every byte"),
        pytest.param(b"\n", id="an empty line"),
        pytest.param(b"x" * 1_000_000, id="one long line"),
    ],
)
@pytest.mark.parametrize("arguments", [(), ("-",)], ids=["no message", "-"])
def test_standard_input_comes_back_as_it_is(
    world: World, data: bytes, arguments: tuple[str, ...]
) -> None:
    with serving(echo, world.server_context()) as port:
        done = run(f"localhost:{port}", *arguments, *world.files, input=data)

    assert (done.returncode, done.stdout) == (0, data)


def test_a_file_is_as_good_as_a_pipe(world: World, tmp_path: Path) -> None:
    (tmp_path / "lines").write_bytes(LINES)
    with (
        serving(echo, world.server_context()) as port,
        (tmp_path / "lines").open("rb") as lines,
        (tmp_path / "echo").open("wb") as output,
    ):
        subprocess.run(
            command(f"localhost:{port}", *world.files),
            stdin=lines,
            stdout=output,
            stderr=subprocess.DEVNULL,
            timeout=TIMEOUT,
            check=True,
        )

    assert (tmp_path / "echo").read_bytes() == LINES


def test_empty_messages_and_messages_of_any_bytes_are_lines_too(world: World) -> None:
    with serving(echo, world.server_context()) as port:
        assert run(f"localhost:{port}", "", *world.files).stdout == b"\n"
        assert run(f"localhost:{port}", "grüß", *world.files).stdout == "grüß\n".encode()
        raw = os.fsdecode(b"\xff\xfe")
        assert run(f"localhost:{port}", raw, *world.files).stdout == b"\xff\xfe\n"


@versions
@pytest.mark.parametrize("closed", [False, True], ids=["empty", "closed"])
def test_without_input_the_connection_is_proved_all_the_same(
    world: World, version: str, closed: bool
) -> None:
    heard: list[bytes] = []

    def note(data: bytes) -> bytes:
        heard.append(data)
        return data

    with serving(transforming(note), world.server_context(version)) as port:
        if closed:
            arguments = ["sh", "-c", 'exec "$@" <&-', "sh", *command(f":{port}", *world.files)]
            done = subprocess.run(arguments, capture_output=True, timeout=TIMEOUT, check=False)
        else:
            done = run(f":{port}", *world.files)
        refused = run(f":{port}", *world.trusting)

    assert (done.returncode, done.stdout, heard) == (0, b"", [b"\n"])
    assert b"connected" in done.stderr
    assert (refused.returncode, refused.stdout) == (5, b"")


def test_a_hundred_thousand_lines_and_64_mib_take_no_more_memory_than_one_line(
    world: World,
) -> None:
    peaks: list[int] = []
    with serving(echo, world.server_context()) as port:
        for data in (b"x\n", LINES, b"0123456789abcde\n" * (1 << 22)):
            done = run(f"localhost:{port}", *world.files, input=data, program=MEASURED)
            assert done.returncode == 0
            assert done.stdout == data
            peaks.append(int(done.stderr.split()[-1]))

    # A window, a piece for either end and their copies; not the input.
    assert max(peaks) - peaks[0] < 8 * 1024


def test_a_server_that_stops_reading_half_way_is_a_timeout_with_half_the_output(
    world: World,
) -> None:
    over = threading.Event()

    def go_on() -> None:
        process.send_signal(signal.SIGUSR2)

    with (
        serving(stalling(200_000, over, go_on), world.server_context()) as port,
        subprocess.Popen(
            command(f":{port}", "--timeout", "1", *world.files, program=CLOCKED + PROGRAM),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process,
    ):
        output, _ = process.communicate(LINES * 20, timeout=TIMEOUT)
        over.set()

    assert process.returncode == 7
    assert len(output) >= 200_000
    assert (LINES * 20).startswith(output)


def test_a_reader_that_pauses_longer_than_the_timeout_loses_nothing(world: World) -> None:
    # Whatever is written to standard output is taken an hour later.
    pausing = """
write = os.write

def write_an_hour_later(descriptor, data):
    if descriptor == 1:
        hour()
    return write(descriptor, data)

os.write = write_an_hour_later
"""
    program = TELLING + pausing + PROGRAM
    with serving(echo, world.server_context()) as port:
        done = run(f":{port}", *world.files, input=LINES * 2, program=program)

    assert (done.returncode, done.stdout == LINES * 2) == (0, True)
    assert done.stderr.count(HOUR) > 1


def test_an_output_whose_reader_has_gone_ends_the_command_quietly(world: World) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with serving(echo, world.server_context()) as port:
        done = subprocess.run(
            command(f":{port}", "hello", *world.files),
            stdout=writer,
            stderr=subprocess.PIPE,
            timeout=TIMEOUT,
            check=False,
        )
    os.close(writer)

    assert done.returncode == 141
    assert done.stderr.count(b"\n") == 1  # "connected", which was true


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("redirection", [">/dev/full", ">&-"])
@pytest.mark.parametrize("option", [(), ("--json",)], ids=["text", "json"])
def test_an_output_that_cannot_be_written_is_an_error(
    world: World, redirection: str, option: tuple[str, ...]
) -> None:
    with serving(echo, world.server_context()) as port:
        shell = ["sh", "-c", f'exec "$@" {redirection}', "sh"]
        done = subprocess.run(
            shell + command(f":{port}", "hello", *option, *world.files),
            stderr=subprocess.PIPE,
            timeout=TIMEOUT,
            check=False,
        )

    assert done.returncode == 2
    assert b"error: standard output" in done.stderr
    assert b"Traceback" not in done.stderr


def test_an_input_that_cannot_be_read_is_an_error(world: World, tmp_path: Path) -> None:
    write_only = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    with serving(echo, world.server_context()) as port:
        done = subprocess.run(
            command(f":{port}", *world.files),
            stdin=write_only,
            capture_output=True,
            timeout=TIMEOUT,
            check=False,
        )
    os.close(write_only)

    assert (done.returncode, done.stdout) == (2, b"")
    assert b"error: standard input cannot be read: Bad file descriptor" in done.stderr


# --- exit status ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("version", "json_too"),
    [("1.2", True), ("1.3", True), ("1.3", False)],
    ids=["1.2-json", "1.3-json", "1.3-text"],
)
@pytest.mark.parametrize(
    ("behaviour", "options", "status", "outcome", "cause"),
    [
        pytest.param(echo, ["--server-name", "a.test"], 4, "refused", "wrong-name", id="name"),
        pytest.param(echo, ["--no-cert"], 5, "refused", "no-client-certificate", id="no cert"),
        pytest.param(echo, ["untrusted"], 5, "refused", "unknown-authority", id="untrusted"),
        pytest.param(close_at_once, [], 6, "failed", "closed-without-alert", id="closes"),
        pytest.param(reset_at_once, [], 6, "failed", "reset", id="resets"),
        pytest.param(truncate, [], 6, "failed", "truncated", id="truncates"),
        pytest.param(transforming(bytes.upper), [], 6, "failed", "altered-echo", id="alters"),
        pytest.param(say_nothing, ["--timeout", "0.4"], 7, "failed", "timeout", id="no hello"),
        pytest.param(
            saying(close=False), ["--timeout", "0.4"], 7, "failed", "timeout", id="no echo"
        ),
        pytest.param(
            speaking_plainly(b"HTTP/1.1 400 Bad Request\r\n\r\n"), [], 8, "failed",
            "plaintext-peer", id="HTTP",
        ),
        pytest.param(
            speaking_plainly(b"SSH-2.0-OpenSSH_9.6\r\n"), [], 8, "failed", "plaintext-peer",
            id="SSH",
        ),
        pytest.param(echo_plainly, [], 8, "failed", "plaintext-peer", id="plaintext echo"),
        pytest.param(echo, ["--tls"], 8, "refused", "no-common-version", id="other version"),
        pytest.param(
            saying(denial_line("no")), [], 9, "denied", "not-authorised", id="not authorised"
        ),
    ],
)  # fmt: skip
def test_each_failure_has_its_exit_status_and_its_report(
    world: World,
    version: str,
    json_too: bool,
    behaviour: Behaviour,
    options: list[str],
    status: int,
    outcome: str,
    cause: str,
) -> None:
    match options:
        case ["--no-cert"]:
            arguments = [*world.trusting, "--no-cert"]
        case ["untrusted"]:
            arguments = [*world.trusting, *world.presenting("untrusted")]
        case ["--tls"]:
            arguments = [*world.files, "--tls", "1.2" if version == "1.3" else "1.3"]
        case _:
            arguments = [*world.files, *options]

    with serving(behaviour, world.server_context(version)) as port:
        done = run(f":{port}", "hello", *arguments, *(["--json"] if json_too else []))

    assert done.returncode == status
    if json_too:
        report = report_of(done)
        assert (report["outcome"], report["causes"][0]) == (outcome, cause)
        assert done.stderr == b""
    else:
        assert b"hello" not in done.stdout
        lines = done.stderr.decode().splitlines()
        assert sum(line.startswith("mtls-echo: error: ") for line in lines) == 1
        assert sum(line.startswith("mtls-echo: hint: ") for line in lines) == 1
        if cause != "truncated":  # half of it came back, and that was said
            assert "connected" not in done.stderr.decode()


@versions
def test_a_refusal_followed_by_a_reset_is_never_a_success(world: World, version: str) -> None:
    with serving(refuse_and_reset, world.server_context(version)) as port:
        done = run(f":{port}", *world.trusting, input=LINES * 10)

    # Whether the alert survived the reset is the server's doing.
    assert done.returncode in {5, 6}
    assert done.stdout == b""
    assert b"connected" not in done.stderr


def test_no_connection_is_3_and_names_the_address(world: World) -> None:
    port = free_port()
    done = run(f"127.0.0.1:{port}", "hello", *world.files)
    reported = run(f"127.0.0.1:{port}", "hello", "--json", *world.files)

    assert (done.returncode, done.stdout) == (3, b"")
    assert f"127.0.0.1:{port}: connection refused" in done.stderr.decode()
    assert "mtls-echo serve" in done.stderr.decode()
    assert reported.returncode == 3
    assert report_of(reported)["stage"] == "connect"


def test_a_message_in_the_place_of_the_host_is_recognised(world: World) -> None:
    done = run("hello.invalid", *world.files)

    assert done.returncode == 3
    assert "mtls-echo connect localhost:8443 hello.invalid" in done.stderr.decode()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["https://localhost:8443"], "is a URL"),
        (["8443"], "is a number"),
        (["localhost:0"], "from 1 to 65535"),
        (["--server-name", "a b"], "--server-name"),
        (["--alpn", ""], "protocol name"),
        (["--timeout", "0"], "--timeout"),
        (["--timeout", "nan"], "finite"),
        (["--repeat", "-1"], "--repeat"),
        (["--repeat", "inf"], "finite"),
        (["--count", "0"], "--count"),
        (["--tls", "1.1"], "--tls"),
        (["localhost", "-", "--count", "2"], "only once"),
        (["--as", "client", "--no-cert"], "exclude each other"),
        (["--as", "client", "--ca", "x"], "exclude each other"),
        (["--cert", "x"], "--ca is missing"),
        (["--ca", "x", "--cert", "x"], "--key is missing"),
        (["--ca", "x", "--key", "x"], "--cert is missing"),
        (["--ca", "x", "--pki", "x"], "exclude each other"),
        (["--ca", "/nonexistent.crt"], "/nonexistent.crt"),
        (["a", "b", "c"], "unexpected extra argument"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_on_the_command_line_is_2(arguments: list[str], told: str) -> None:
    done = run(*arguments)

    assert (done.returncode, done.stdout) == (2, b"")
    assert told in done.stderr.decode()


def test_unusable_files_are_2_with_the_file_and_a_report(world: World, tmp_path: Path) -> None:
    (tmp_path / "empty.crt").touch()
    arguments = ["localhost:1", "hello", "--ca", str(tmp_path / "empty.crt")]

    done = run(*arguments)
    reported = run(*arguments, "--json")

    assert done.returncode == reported.returncode == 2
    assert str(tmp_path / "empty.crt") in done.stderr.decode()
    assert str(tmp_path / "empty.crt") in report_of(reported)["summary"]


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (["rsa-pss", "-pkeyopt", "rsa_keygen_bits:2048"], "such as RSA-PSS"),
        (["rsa:1024"], "at least 2048 bits"),
    ],
    ids=["rsa-pss", "rsa:1024"],
)
def test_a_key_that_openssl_does_not_take_is_blamed_for_what_it_is(
    tmp_path: Path, kind: list[str], told: str
) -> None:
    cert, key = str(tmp_path / "me.crt"), str(tmp_path / "me.key")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", *kind, "-nodes", "-subj", "/CN=me"),
            *("-out", cert, "-keyout", key),
        ],
        check=True,
        capture_output=True,
    )
    done = run("localhost:1", "hello", "--ca", cert, "--cert", cert, "--key", key)

    assert done.returncode == 2
    assert told in done.stderr.decode()


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
    done = run(f":{free_port()}", "hello", pki=tmp_path / "pki")
    again = run(f":{free_port()}", "hello", pki=tmp_path / "pki")
    unknown = run(f":{free_port()}", "hello", "--as", "absent", pki=tmp_path / "pki")

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
