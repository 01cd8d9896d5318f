"""`connect --trace` and `serve --trace`: drawn for a person, listed for a program."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.command_line import COMMAND, Serving, environment, run, serving
from tests.support.timing import TIMEOUT


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("trace") / "pki"


@pytest.fixture(scope="module")
def server(pki: Path) -> Iterator[Serving]:
    with serving("--trace", pki=pki) as running:
        running.wait_for("listening")
        yield running


def connect(server: Serving, pki: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run("connect", f"localhost:{server.port}", "hello", *arguments, pki=pki)


@pytest.mark.parametrize("tls", ["1.2", "1.3"])
def test_a_client_draws_the_handshake_before_the_result(
    tls: str, server: Serving, pki: Path
) -> None:
    ran = connect(server, pki, "--tls", tls, "--trace")
    assert (ran.returncode, ran.stdout) == (0, "hello\n")
    drawing, _, greeting = ran.stderr.partition("mtls-echo: connected")
    assert greeting
    assert " ClientHello " in drawing
    assert "both send application data" in drawing
    assert max(map(len, drawing.splitlines())) <= 80


def test_a_refused_client_draws_how_far_it_came(server: Serving, pki: Path) -> None:
    ran = connect(server, pki, "--no-cert", "--trace")
    assert ran.returncode == 5
    drawing, _, error = ran.stderr.partition("mtls-echo: error")
    assert error
    assert "the server refuses: no-client-certificate" in drawing
    assert "certificate_required (116)" in drawing


def test_without_utf_8_the_drawing_is_ascii(server: Serving, pki: Path) -> None:
    ran = run(
        "connect", f"localhost:{server.port}", "hello", "--trace", pki=pki,
        PYTHONIOENCODING="ascii",
    )  # fmt: skip
    assert ran.returncode == 0
    assert ran.stderr.isascii()
    assert "-- ClientHello --" in ran.stderr


def test_json_lists_the_same_messages_on_both_sides(server: Serving, pki: Path) -> None:
    ran = connect(server, pki, "--json", "--trace", "--no-cert", "--tls", "1.3")
    ours = json.loads(ran.stdout)
    theirs = server.wait_for("connection", client_random=ours["client_random"])
    assert ran.stderr == ""
    for report in (ours, theirs):
        assert report["trace"][0]["name"] == "ClientHello"
        assert report["trace"][-1]["fields"]["description"] == "certificate_required"
        assert len(report["trace"][0]["fields"]["cipher_suites"]) > 2
    # A server that refuses a Certificate does not look at the Finished behind it.
    names = [entry["name"] for entry in ours["trace"]]
    assert names[-2:] == ["Finished", "Alert"]
    assert [entry["name"] for entry in theirs["trace"]] == [*names[:-2], "Alert"]
    assert {e["direction"] for e in ours["trace"]} == {"sent", "received"}


def test_without_trace_the_report_has_none(server: Serving, pki: Path) -> None:
    ran = connect(server, pki, "--json")
    assert json.loads(ran.stdout)["trace"] is None
    with serving(pki=pki) as plain:
        connect(plain, pki)
        assert plain.wait_for("connection")["trace"] is None


def test_no_connection_has_no_messages(pki: Path) -> None:
    ran = run("connect", "127.0.0.1:1", "hello", "--json", "--trace", pki=pki)
    assert ran.returncode == 3
    assert json.loads(ran.stdout)["trace"] == []


def test_a_server_draws_each_connection_below_its_event(pki: Path) -> None:
    serve = subprocess.Popen(
        [*COMMAND, "serve", "--listen", "127.0.0.1:0", "--trace"],
        stderr=subprocess.PIPE,
        text=True,
        env=environment(pki, PYTHONIOENCODING="utf-8"),
    )
    assert serve.stderr is not None
    try:
        line = serve.stderr.readline()
        while "listening on" not in line:
            assert line
            line = serve.stderr.readline()
        port = line.split("127.0.0.1:")[1].split(",")[0]
        assert run("connect", f"localhost:{port}", "hello", "--no-cert", pki=pki).returncode == 5
        serve.terminate()
        rest = serve.communicate(timeout=TIMEOUT)[0:2][1].splitlines()
    finally:
        serve.kill()
        serve.communicate()
    event = next(i for i, text in enumerate(rest) if "refused 127.0.0.1" in text)
    drawing = [text for text in rest[event + 1 :] if text.startswith("  ")]
    assert rest[event + 1 : event + 1 + len(drawing)] == drawing
    assert any("the server refuses: no-client-certificate" in text for text in drawing)
    assert max(map(len, drawing)) <= 80
