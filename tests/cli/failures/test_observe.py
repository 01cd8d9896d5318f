"""`mtls-echo observe`: what is shown, when it pauses, and what its exit status means."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
from click.testing import CliRunner

from mtls_echo.failures.observe import observe as command
from mtls_echo.failures.registry import FAILURE_CASES, find
from tests.support.command_line import run, run_in_terminal
from tests.support.timing import TIMEOUT


@pytest.fixture(scope="module")
def shown() -> str:
    ran = run("observe", "crl-missing")

    assert ran.returncode == 0, ran.stderr
    assert ran.stderr == ""
    return ran.stdout


def test_a_cause_is_observed_in_all_its_forms_roles_and_versions(shown: str) -> None:
    ran = run("observe", "not-an-authority", "--tls", "1.3")
    forms = {each.slug for each in FAILURE_CASES if each.cause == "not-an-authority"}

    assert shown.count("as announced: crl-missing, unknown_ca") == 4
    assert forms > {"not-an-authority"}
    assert ran.stdout.count("as announced: not-an-authority") == 2


def test_both_ends_draw_it_tell_it_and_are_joined(shown: str) -> None:
    assert shown.count("as the client recorded it:") == 4
    assert shown.count("as the server recorded it:") == 4
    assert shown.count("what the client saw") == shown.count("what the server saw") == 4
    assert shown.count("both together: the server refused the client") == 2
    assert shown.count("both together: the client refused the server") == 2
    assert "alert unknown_ca" in shown


def test_it_ends_with_the_table_and_the_score(shown: str) -> None:
    assert "crl-missing  1.2  sure, 1 of 8  sure, 1 of 8  unknown_ca" in shown
    # In TLS 1.3 the server's alert is protected: no on-path attacker wrote it.
    assert "crl-missing  1.3  sure, 1 of 7  sure, 1 of 8  unknown_ca" in shown
    assert shown.splitlines()[-1] == "both together: sure in 4 of 4, wrong in none"


def test_all_but_the_table_fits_80_columns(shown: str) -> None:
    story, _ = shown.split("alert on the wire")

    assert max(map(len, story.splitlines())) <= 80


def test_one_end_that_speaks_no_tls_tells_nothing() -> None:
    ran = run("observe", "plaintext-peer", "--tls", "1.3")

    assert ran.returncode == 0
    assert "as the server recorded it" not in ran.stdout
    assert "does not speak TLS" in ran.stdout
    assert "both together:" not in ran.stdout.partition("alert on the wire")[0]


def test_json_is_one_object_per_observation_with_both_reports_and_the_account() -> None:
    ran = run("observe", "key-not-owned", "--json")
    objects = [json.loads(line) for line in ran.stdout.splitlines()]

    assert ran.returncode == 0
    assert [(each["whose"], each["tls"]) for each in objects] == [
        (each.whose, version) for each in find("key-not-owned") for version in each.expected
    ]
    for each in objects:
        assert each["client"]["side"] == "client"
        assert each["server"]["side"] == "server"
        assert each["account"]["client_random"] == each["client"]["client_random"]
        assert each["alert"] == "decrypt_error"
        assert each["surprises"] == []
        assert each["client"]["trace"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["expierd"], "did you mean"),
        (["no-common-cipher", "--tls", "1.3"], "no-common-cipher does not exist in TLS 1.3"),
    ],
)
def test_what_cannot_be_observed_is_a_usage_error(arguments: list[str], message: str) -> None:
    ran = run("observe", *arguments)

    assert ran.returncode == 2
    assert message in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["drawn", "JSON"])
def test_a_deviation_from_the_announced_result_is_reported_and_exits_1(options: list[str]) -> None:
    program = (
        "from dataclasses import replace\n"
        "from mtls_echo import __main__\n"
        "from mtls_echo.failures import registry\n"
        "one = registry.find('timeout')[0]\n"
        "expected = {'1.3': replace(one.expected['1.3'], refuser='client')}\n"
        "registry.FAILURE_CASES = (replace(one, expected=expected),)\n"
        f"__main__.main(['observe', *{options}])\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=TIMEOUT
    )

    assert ran.returncode == 1
    assert "says that None refused" in ran.stdout
    assert "mtls-echo: error: not everything happened as announced" in ran.stderr
    assert "timeout (TLS 1.3): the client says that None refused" in ran.stderr


def test_a_pipe_does_not_wait_for_a_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", _must_not_pause)

    ran = CliRunner().invoke(command, ["reset"])

    assert ran.exit_code == 0, ran.output
    assert ran.output.count("as announced") == 2


def _must_not_pause(_: float) -> None:
    raise AssertionError("it paused")


def test_a_terminal_gets_time_to_read_and_ctrl_c_ends_it_cleanly() -> None:
    """The first is drawn, then it stands still, which is when the interrupt comes."""
    shown, status = run_in_terminal("observe", "reset", until=b"as announced")

    assert shown.count("as announced") == 1
    assert "\x1b[" in shown
    assert "Traceback" not in shown
    assert status == 130


def test_fast_does_not_pause_on_a_terminal_either() -> None:
    shown, status = run_in_terminal("observe", "reset", "--fast")

    assert shown.count("as announced") == 2
    assert status == 0


def test_a_terminal_without_line_drawing_gets_ascii() -> None:
    ran = run("observe", "reset", PYTHONIOENCODING="ascii")

    assert ran.returncode == 0
    assert ran.stdout.isascii()


@pytest.mark.parametrize("wanted", ["trio", "cryptography", "rich", "ssl", "msgspec"])
def test_its_help_loads_nothing_that_only_playing_needs(wanted: str) -> None:
    program = (
        "import sys\n"
        "from mtls_echo.__main__ import main\n"
        "try:\n"
        "    main(['observe', '--help'])\n"
        "finally:\n"
        "    print(*sys.modules, file=sys.stderr)\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert ran.returncode == 0
    assert "examples:" in ran.stdout
    assert wanted not in ran.stderr.split()
