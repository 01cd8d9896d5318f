"""A log that takes nothing more stops no server, is bounded, and says later what was lost."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from mtls_echo_server import events
from mtls_echo_server.log import EventLog
from mtls_echo_server.log_file import MOST_HELD, LogFile

PIPE = 64 * 1024


class Pipe:
    """A pipe, and the text file that writes to it."""

    def __init__(self) -> None:
        self.reading, writing = os.pipe()
        os.set_blocking(self.reading, False)
        self.file: IO[str] = open(writing, "w", encoding="utf-8")  # noqa: SIM115

    def read(self) -> bytes:
        """Everything that is there."""
        found = b""
        while True:
            try:
                piece = os.read(self.reading, PIPE)
            except BlockingIOError:
                return found
            if not piece:
                return found
            found += piece


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    os.close(made.reading)
    made.file.close()


def warning(number: int) -> events.Event:
    return events.warning(f"{number} " + "x" * 2_000)


def numbers(lines: list[dict[str, Any]]) -> list[int]:
    return [int(line["message"].split()[0]) for line in lines if line["event"] == "warning"]


def test_a_reader_that_stops_costs_neither_time_nor_memory_and_learns_what_it_missed(
    pipe: Pipe,
) -> None:
    log = EventLog("json", pipe.file)
    for number in range(2_000):
        log(warning(number))

    text = b""
    while piece := pipe.read():
        text += piece
        log.flush()
    log(warning(5_000))
    text += pipe.read()

    assert MOST_HELD < len(text) < MOST_HELD + 2 * PIPE
    lines = [json.loads(line) for line in text.splitlines()]
    *kept, last = numbers(lines)
    assert kept == list(range(len(kept)))
    assert last == 5_000
    [lost] = [line for line in lines if line["event"] == "suppressed"]
    assert (lost["of"], lost["count"]) == ("log", 2_000 - len(kept))
    assert lines.index(lost) == len(kept)


@pytest.mark.parametrize("room", [0, 1, 700])
def test_a_terminal_that_is_stopped_is_not_waited_for(room: int) -> None:
    reading, writing = os.openpty()
    os.set_blocking(reading, False)
    with open(writing, "w", encoding="utf-8") as file:
        before = os.listdir("/proc/self/fd")  # Linux
        log = LogFile(file)
        for number in range(1_000):
            log.write(f"{number:0999}\n")
            if number == 100:
                _read_of(reading, room)
        text = b""
        while log.is_behind and not log.catch_up():
            text += _read_of(reading, PIPE)
        text += _read_of(reading, 2 * PIPE)
        assert os.listdir("/proc/self/fd") == before
        lost, _ = log.take_lost()
    os.close(reading)
    assert lost > 500
    assert text.splitlines()[-1] == b"%0999d" % (1_000 - lost - 1)


def _read_of(fd: int, most: int) -> bytes:
    found = b""
    with contextlib.suppress(BlockingIOError):
        while len(found) < most:
            found += os.read(fd, most - len(found))
    return found


def test_the_last_events_are_waited_for_a_little_and_not_for_ever(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mtls_echo_server.log_file.LAST_WAIT", 0.05)
    log = EventLog("text", pipe.file)
    for number in range(100):
        log(warning(number))
    before = time.monotonic()
    log(events.stopped(0, 0))
    assert time.monotonic() - before >= 0.05
    assert b"stopped" not in pipe.read()


def test_half_a_line_on_a_full_disk_is_finished_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, room = os.write, [30]

    def limited(fd: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        data = data[: room[0]]
        room[0] -= len(data)
        return write(fd, data)

    monkeypatch.setattr("os.write", limited)
    with (tmp_path / "log").open("w") as file:
        log = LogFile(file)
        for number in range(10_000):
            log.write(f"{number:059}\n")
        held = MOST_HELD // 60
        assert log.is_behind
        assert (tmp_path / "log").stat().st_size == 30
        room[0] = 10_000_000
        assert log.catch_up()
        assert log.take_lost()[0] == 10_000 - held
        log.write("more\n")
    *lines, last = (tmp_path / "log").read_text().splitlines()
    assert [int(line) for line in lines] == list(range(held))
    assert last == "more"


def test_a_file_that_is_always_full_is_no_reason_to_stop() -> None:
    with open("/dev/full", "w") as file:  # Linux
        log = EventLog("text", file)
        for number in range(1_000):
            log(warning(number))
        log(events.stopped(0, 0))


def test_a_reader_that_is_gone_is_forgotten(pipe: Pipe) -> None:
    log = LogFile(pipe.file)
    os.dup2(os.open(os.devnull, os.O_RDONLY), pipe.reading)
    log.write("this is not read\n")
    assert not log.is_behind


def test_json_is_in_the_encoding_of_the_file_too(tmp_path: Path) -> None:
    event = events.warning('ü€"')
    for encoding in ("utf-8", "latin-1", "utf-16-le"):
        with open(tmp_path / encoding, "w", encoding=encoding) as file:
            EventLog("json", file)(event)
        written = (tmp_path / encoding).read_bytes().decode(encoding)
        assert written.endswith("\n")
        if encoding != "latin-1":  # which has no euro sign
            assert json.loads(written)["message"] == 'ü€"'
