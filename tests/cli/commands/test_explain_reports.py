"""`mtls-echo explain` of files with reports: those of one connection are joined."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mtls_echo.failures.registry import find
from tests.support.command_line import run, serving


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`server.log` of three connections, and their clients' reports: `good`, `bare`, `named`.

    `alone.json` is of a connection that reached no server.
    """
    folder = tmp_path_factory.mktemp("reports")
    with serving(pki=folder / "pki") as running:
        where = f"localhost:{running.port}"
        for name, options in {
            "good": [],
            "bare": ["--no-cert"],
            "named": ["--server-name", "other.test"],
        }.items():
            ran = run("connect", where, "hello", "--json", *options, pki=folder / "pki")
            (folder / f"{name}.json").write_text(ran.stdout)
        events = [running.wait_for("connection", number) for number in (1, 2, 3)]
    head = {"event": "listening", "time": "2026-01-01T00:00:00Z"}
    (folder / "server.log").write_text("".join(f"{json.dumps(e)}\n" for e in (head, *events)))
    ran = run("connect", "localhost:1", "hello", "--json", pki=folder / "pki")
    (folder / "alone.json").write_text(ran.stdout)
    return folder


def explained(*files: Path) -> list[dict[str, Any]]:
    ran = run("explain", "--json", *map(str, files))
    assert ran.returncode == 0, ran.stderr
    connections: list[dict[str, Any]] = json.loads(ran.stdout)["connections"]
    return connections


def test_the_reports_of_each_connection_are_joined_in_whatever_order_they_come(
    world: Path,
) -> None:
    names = ["good.json", "server.log", "named.json", "bare.json"]
    accounts = [explained(*(world / name for name in order)) for order in (names, names[::-1])]

    for connections in accounts:
        found = {
            tuple(each["account"]["causes"]): each["account"]["rejected_by"]
            for each in connections
        }
        assert found == {
            (): None,
            ("no-client-certificate",): "server",
            ("wrong-name",): "client",
        }


def test_a_connection_that_failed_is_told_with_both_views_and_both_remedies(world: Path) -> None:
    ran = run("explain", str(world / "bare.json"), str(world / "server.log"))
    told = " ".join(ran.stdout.split())

    assert ran.returncode == 0, ran.stderr
    assert "both ends report:" in told
    assert "server.log (line 3)" in told
    assert "both: the server refused the client: it presented no certificate" in told
    assert "client: the server refused us" in told
    assert "server: we refused the client" in told
    assert "fix: on the client: connect with a certificate" in told
    assert "only the server reports" in told  # of the client whose report was not given
    assert "1 connection on which nothing failed" in told


def test_a_report_without_a_partner_is_told_alone(world: Path) -> None:
    [one] = explained(world / "alone.json")
    told = run("explain", str(world / "alone.json")).stdout

    assert one["server"] is None
    assert one["account"] is None
    assert "only the client reports" in told
    assert "no-connection" in told


def test_the_joint_account_is_that_of_the_library(tmp_path: Path) -> None:
    played = find("tampered-forged-alert")[0].play("1.3")
    for side, report in zip(("client", "server"), played.reports, strict=True):
        assert report is not None
        (tmp_path / f"{side}.json").write_bytes(report.encode())

    [one] = explained(tmp_path / "server.json", tmp_path / "client.json")

    assert played.account is not None
    assert one["account"]["forged"]
    assert one["account"]["summary"] == played.account.summary


def test_a_report_in_another_object_or_over_several_lines_is_found(
    world: Path, tmp_path: Path
) -> None:
    report = json.loads((world / "bare.json").read_text())
    status = {"endpoints": [{"address": "a.test:1", "report": report}], "problems": []}
    (tmp_path / "status.json").write_text(json.dumps(status, indent=2))

    [one] = explained(tmp_path / "status.json", world / "bare.json")  # the same twice is one

    assert one["client"]["client_random"] == report["client_random"]


def test_what_is_not_json_in_a_log_is_left_out_and_counted(world: Path, tmp_path: Path) -> None:
    (tmp_path / "mixed.log").write_text("started\n" + (world / "bare.json").read_text())

    ran = run("explain", str(tmp_path / "mixed.log"))

    assert "no-client-certificate" in ran.stdout
    assert "mixed.log: 1 line is not JSON, and left out" in ran.stderr


@pytest.mark.parametrize(
    ("contents", "complaint"),
    [
        (None, "no such file or directory"),
        ('{"a": 1}', "there is no report of mtls-echo in it"),
        ("handshake failure", "there is no report of mtls-echo in it"),
        ("", "there is no report of mtls-echo in it"),
        ('{"side":"client","outcome":"x","causes":[],"summary":""}', "Invalid enum value 'x'"),
    ],
)
def test_a_file_that_cannot_be_used_is_named(
    world: Path, tmp_path: Path, contents: str | None, complaint: str
) -> None:
    if contents is not None:
        (tmp_path / "other.log").write_text(contents)

    ran = run("explain", str(world / "bare.json"), str(tmp_path / "other.log"))

    assert ran.returncode == 2
    assert ran.stdout == ""
    assert "other.log" in ran.stderr
    assert complaint in ran.stderr
    assert "Traceback" not in ran.stderr


def test_the_name_of_another_file_is_not_taken_for_a_text(tmp_path: Path) -> None:
    certificate = tmp_path / "tls.crt"
    certificate.write_text("-----BEGIN CERTIFICATE-----\n")

    ran = run("explain", str(certificate))

    assert ran.returncode == 2
    assert "is a file without reports in it" in ran.stderr
    assert f"mtls-echo pki show {certificate}" in ran.stderr


def test_a_file_of_another_kind_beside_one_with_reports_is_not_text(
    world: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes").write_text("hello")

    ran = run("explain", str(world / "bare.json"), str(tmp_path / "notes"))

    assert ran.returncode == 2
    assert "notes: there is no report" in ran.stderr


def test_the_side_of_a_report_need_not_be_told(world: Path) -> None:
    ran = run("explain", "--side", "client", str(world / "bare.json"))

    assert ran.returncode == 2
    assert "--side has no effect on reports" in ran.stderr


def test_a_text_too_long_for_a_file_name_is_a_text(world: Path) -> None:
    ran = run("explain", str(world / "good.json"), "tlsv1 alert unknown ca " * 20)

    assert (ran.returncode, "Traceback" in ran.stderr) == (0, False), ran.stderr


def test_what_a_file_has_in_it_cannot_steer_the_terminal(world: Path, tmp_path: Path) -> None:
    report = json.loads((world / "alone.json").read_text())
    report["summary"] = "\x1b[2Jgone"
    (tmp_path / "evil.json").write_text(json.dumps(report))

    assert "\x1b" not in run("explain", str(tmp_path / "evil.json")).stdout
