"""The chapter about endpoints: what is shown of each change, and servers that are left running."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio

from mtls_echo.demo.blocks import Section
from mtls_echo.demo.endpoints import run as chapter
from mtls_echo.demo.endpoints.run import play
from mtls_echo_client.endpoints.monitor.status import Status
from tests.support.command_line import COMMAND, environment, run
from tests.support.lesson import is_in_the_page, misfits, words
from tests.support.timing import TIMEOUT

Played = list[Section]


@pytest.fixture(scope="module")
def played(told: list[str]) -> Played:
    return trio.run(play, told.append)


def test_the_page_of_the_lesson_is_up_to_date(played: Played) -> None:
    assert is_in_the_page("endpoints", played), "`make docs` writes docs/lesson.md anew"


def test_many_servers_come_and_go_as_announced(played: Played, told: list[str]) -> None:
    assert len(played) == 2 + 6
    assert [section.mismatches for section in played if section.mismatches] == []
    assert [text.partition(":")[0] for text in told] == [section.title for section in played[2:]]


def test_the_configuration_and_the_target_file_are_shown(played: Played) -> None:
    configuration, targets = (words([section]) for section in played[:2])

    assert "tls_config:" in configuration
    assert "mode: strict" in configuration
    assert re.search(r'\[\{"targets": \["127\.0\.0\.1:\d+", "127\.0\.0\.1:\d+"\],', targets)


def test_what_becomes_of_each_endpoint_is_shown(played: Played) -> None:
    first, stopped, again, edited, replaced, put_back = (words([each]) for each in played[2:])

    assert "4 endpoints: 3 up, 1 down; 3 admitted" in first
    assert "unknown-authority" in first
    assert "4 endpoints: 2 up, 2 down; 3 admitted" in stopped
    assert "no-connection" in stopped
    assert "4 endpoints: 3 up, 1 down; 3 admitted" in again
    assert "3 endpoints: 3 up; 3 admitted" in edited
    assert "3 endpoints: 1 up, 2 down; 3 admitted" in replaced
    assert "3 endpoints: 3 up; 3 admitted" in put_back


def test_a_reason_is_given_where_it_is_new(played: Played) -> None:
    first, stopped, again, edited, replaced, put_back = (words([each]) for each in played[2:])

    for text in (first, replaced):
        assert "we refused the server" in text
        assert "hint: " in text
    assert "there is no TCP connection" in stopped
    assert "we refused the server" not in stopped
    for text in (again, edited, put_back):
        assert "hint: " not in text


def test_it_fits_terminals(played: Played) -> None:
    assert misfits(played) == []


@pytest.mark.real_time
async def test_what_the_table_does_not_show_in_time_is_a_mismatch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def nothing(statuses: Sequence[Status]) -> list[tuple[str, str, str]]:
        del statuses
        return []

    monkeypatch.setattr(chapter, "_TIMEOUT", 0)
    monkeypatch.setattr(chapter, "_found", nothing)

    sections = await play(list[str]().append)

    assert "every endpoint is tried: the table does not show it" in sections[2].mismatches
    assert all(section.mismatches for section in sections[2:])


# --- servers that are left running ---------------------------------------------------------------


def test_what_is_kept_can_be_connected_to_from_a_second_terminal(tmp_path: Path) -> None:
    folder = tmp_path / "many"
    with subprocess.Popen(
        [*COMMAND, "demo", "--chapter", "endpoints", "--keep", str(folder)],
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
        (["--keep", "x"], "no effect without --chapter endpoints"),
        (["--chapter", "endpoints", "--keep", str(Path(__file__).parent)], "is not empty"),
        (["--chapter", "endpoints", "--keep", __file__], "test_endpoints_chapter.py: "),
    ],
)
def test_options_that_make_no_sense_are_refused(arguments: list[str], complaint: str) -> None:
    ran = run("demo", *arguments)

    assert ran.returncode == 2
    assert complaint in ran.stderr
    assert "Traceback" not in ran.stderr
