"""A supervisor, with workers that do not serve: what it writes, what it replaces, how it stops.

Each runs in a process without threads, as it must; its workers are scripts.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from mtls_echo_server.connection import Limits
from mtls_echo_server.workers.supervisor import _Seat
from tests.support.timing import TIMEOUT

SCRIPT = """
import os, signal, sys
from mtls_echo_server import events
from mtls_echo_server.log import EventLog
from mtls_echo_server.workers.messages import Ended, Ready, Reloaded, Stopping
from mtls_echo_server.workers.process import WorkerError
from mtls_echo_server.workers.supervisor import Supervisor

supervisor_pid = os.getpid()

def log_of(link):
    return log.of_worker(link.number, open(link.log, "w", encoding="utf-8"))

def stop():
    os.kill(supervisor_pid, signal.SIGTERM)

def wait_for_stop(link):
    link.commands.setblocking(True)
    assert link.commands.recv(1) == b"s"

{work}

log = EventLog({format!r})
finished = Supervisor({workers}, work, [], log, grace_period={grace}).run()
assert "trio" not in sys.modules and "cryptography" not in sys.modules
sys.exit(0 if finished else 1)
"""


def supervise(
    work: str, *, workers: int = 1, form: str = "json", grace: float = 30
) -> tuple[int, str]:
    """Run it to its end; the exit status, and what it wrote."""
    done = subprocess.run(
        [
            *(sys.executable, "-c"),
            SCRIPT.format(work=work, workers=workers, format=form, grace=grace),
        ],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    return done.returncode, done.stderr


def parsed(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_long_events_of_all_workers_are_whole_lines_and_none_is_lost_uncounted() -> None:
    # Longer than what a pipe takes at once, and then longer than all that it holds.
    status, text = supervise(
        """
import mtls_echo_server.log_file
mtls_echo_server.log_file.LAST_WAIT = 250.0  # however slowly they are read

def work(link, reload_first):
    mine = log_of(link)
    for number in range(60):
        mine(events.Event("long", "", {"number": number, "list": ["x" * 500] * 60}))
        if number % 20 == 0:
            mine(events.Event("long", "", {"list": [["y" * 500] * 60] * 4}))
    mine.finish()
    link.tell(Ready())
    if link.number == 3:
        stop()
    wait_for_stop(link)
    link.tell(Stopping(0))
    link.tell(Ended(0, 0))
""",
        workers=3,
    )
    written = parsed(text)  # every line is one event
    lost = sum(each["count"] for each in written if each["event"] == "suppressed")
    # The supervisor's own may be lost too: three began to work, and it stopped.
    assert sum(each["event"] != "suppressed" for each in written) + lost == 3 * 63 + 5
    assert {each["worker"] for each in written if each["event"] == "long"} == {1, 2, 3}
    for worker in (1, 2, 3):
        numbers = [e["number"] for e in written if e.get("worker") == worker and "number" in e]
        assert numbers == sorted(numbers)
    assert written[-1] | {"event": "stopped", "drained": 0} == written[-1]
    assert status == 0


def test_lines_of_one_event_stay_together_and_an_unfinished_one_is_left_out() -> None:
    status, text = supervise(
        """
def work(link, reload_first):
    mine = log_of(link)
    mine(events.warning("whole"))
    link.tell(Ready())
    os.write(link.log, b"half an ev")
    if link.number == 1:
        stop()
    wait_for_stop(link)
    link.tell(Stopping(2))
    os.kill(os.getpid(), signal.SIGKILL)
""",
        workers=2,
        form="text",
    )
    lines = [line.partition(" ")[2] for line in text.splitlines()]
    assert sorted(line for line in lines if "whole" in line) == [
        f"worker {number}: warning: whole" for number in (1, 2)
    ]
    assert "half" not in text
    assert lines[-1] == "stopped, 0 connections finished, 4 aborted"
    assert sum("ended by signal 9" in line for line in lines) == 2
    assert status == 1


def test_a_worker_that_cannot_serve_says_why_and_is_tried_again_after_a_pause() -> None:
    status, text = supervise(
        """
def work(link, reload_first):
    if not reload_first:
        link.tell(Reloaded(True, 2))
        raise WorkerError("the files are not in order")
    link.tell(Ready())
    stop()
    wait_for_stop(link)
    link.tell(Stopping(1))
    link.tell(Ended(1, 0))
"""
    )
    events = parsed(text)
    assert [each["event"] for each in events] == [
        *("worker-ended", "worker-started", "stopping", "stopped")
    ]
    assert (
        events[0]
        | {
            "exit_status": 1,
            "signal": None,
            "reason": "the files are not in order",
            "restart_in": 0.0,
        }
        == events[0]
    )
    assert events[2]["connections"] == events[3]["drained"] == 1
    assert status == 0


def test_while_the_files_are_not_in_order_a_worker_that_lags_behind_is_not_started() -> None:
    _, text = supervise(
        """
def work(link, reload_first):
    mine = log_of(link)
    if link.number == 2 and not reload_first:
        wait_for_reload(link)
        os.kill(os.getpid(), signal.SIGKILL)
    link.tell(Ready())
    if link.number == 1:
        link.tell(Reloaded(True, 2))
        link.tell(Reloaded(False, 2))
        os.kill(supervisor_pid, signal.SIGHUP)  # and worker 2 ends
        wait_for_reload(link)
        for number in range(3):
            mine(events.warning("still alone"))
        link.tell(Reloaded(True, 3))
    else:
        mine(events.warning("reads the files first" if reload_first else ""))
        stop()
    wait_for_stop(link)
    link.tell(Stopping(0))
    link.tell(Ended(0, 0))

def wait_for_reload(link):
    link.commands.setblocking(True)
    assert link.commands.recv(1) == b"r"
""",
        workers=2,
    )
    messages = [each["message"] for each in parsed(text) if each["event"] == "warning"]
    assert messages == ["still alone"] * 3 + ["reads the files first"]


def test_a_worker_that_hangs_is_killed_after_the_grace_period() -> None:
    status, text = supervise(
        """
import mtls_echo_server.workers.supervisor as module
module._MARGIN = 0.0

def work(link, reload_first):
    link.tell(Ready())
    stop()
    wait_for_stop(link)
    link.tell(Stopping(3))
    signal.pause()
""",
        grace=0.1,
    )
    events = parsed(text)
    assert [each["event"] for each in events] == [
        *("worker-started", "stopping", "worker-ended", "stopped")
    ]
    assert (events[2]["signal"], events[2]["restart_in"]) == (9, None)
    assert (events[3]["aborted"], status) == (3, 1)


def test_a_bug_in_a_worker_is_reported_with_its_traceback() -> None:
    status, text = supervise(
        """
def work(link, reload_first):
    stop()
    wait_for_stop(link)
    1 / 0
"""
    )
    assert status == 1  # its connections were never counted
    (ended,) = (each for each in parsed(text) if each["event"] == "worker-ended")
    assert ended["reason"].startswith("ZeroDivisionError: division by zero\nTraceback")


def test_pauses_double_while_workers_die_young() -> None:
    seat = _Seat(1)
    pauses = [seat.pause(now=1.0) for _ in range(12)]
    assert pauses[:4] == pytest.approx([0.0, 0.1, 0.2, 0.4])
    assert pauses[-1] == 10.0
    assert seat.pause(now=1000.0) == 0.0  # that one had lived
    assert seat.pause(now=1.0) == 0.0


def test_limits_are_shared_so_that_all_workers_together_keep_them() -> None:
    limits = Limits(max_connections=7, max_handshakes=5, max_handshakes_per_network=1)
    shares = [limits.share(number, 3) for number in (1, 2, 3)]
    assert [share.max_connections for share in shares] == [3, 2, 2]
    assert [share.max_handshakes for share in shares] == [2, 2, 1]
    assert [share.max_handshakes_per_network for share in shares] == [1, 1, 1]
    assert Limits(max_connections=7).share(1, 3).max_pending == 64
    assert limits.share(1, 1) == limits
