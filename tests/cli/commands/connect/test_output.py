"""`mtls-echo connect` between standard input and standard output: the echo, byte for byte."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from tests.cli.commands.connect.world import LINES, versions
from tests.cli.commands.connect.world import world as world
from tests.support.clients import (
    MEASURED,
    PROGRAM,
    World,
    command,
    echo,
    run,
    serving,
    stalling,
    transforming,
)
from tests.support.timing import CLOCKED, HOUR, TELLING, TIMEOUT


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
    assert b"error: standard input cannot be read: bad file descriptor" in done.stderr
