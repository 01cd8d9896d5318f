"""`mtls-echo connect` with servers that do not echo: --handshake, --http, and neither."""

from __future__ import annotations

import os
import pty
import struct
import subprocess
import termios
from fcntl import ioctl
from pathlib import Path

import pytest
from click.testing import CliRunner

from mtls_echo.commands.connect import connect
from tests.cli.commands.connect.world import report_of
from tests.cli.commands.connect.world import world as world
from tests.support.clients import World, answering, command, echo, run, saying, serving
from tests.support.ports import refusing_port
from tests.support.timing import TIMEOUT

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
PAGE = (
    b"<html><head><title>400 The SSL certificate error</title></head><body>"
    b"<h1>400 Bad Request</h1><center>The SSL certificate error</center></body></html>"
)
REFUSED = b"HTTP/1.1 400 Bad Request\r\nServer: nginx/1.22.1\r\nContent-Length: %d\r\n\r\n%s" % (
    len(PAGE),
    PAGE,
)


def test_a_handshake_is_accounted_for_on_standard_output(world: World) -> None:
    with serving(saying(b"220 mx.test ESMTP\r\n"), world.server_context()) as port:
        done = run(f"localhost:{port}", "--handshake", *world.files)

    verdict, *facts = done.stdout.decode().splitlines()
    assert (done.returncode, done.stderr) == (0, b"")
    assert verdict == (
        "the handshake is complete, and the server has said something: SMTP “220 mx.test ESMTP”"
    )
    labels = [fact.split(":")[0].strip() for fact in facts]
    assert labels == ["TLS", "server", "asked for", "we sent", "proved"]


def test_an_answer_is_accounted_for_on_standard_output(world: World) -> None:
    with serving(answering(OK), world.server_context()) as port:
        done = run(f"localhost:{port}", "--http", *world.files)
        path_left_out = run("--http", f"localhost:{port}", *world.files)
        reported = run(
            f"localhost:{port}", "--http", "/x", "--method", "HEAD", "--json", *world.files
        )

    assert (done.returncode, path_left_out.returncode) == (0, 0)
    assert done.stdout.startswith(b"the server answered HTTP/1.1 200 OK\n  TLS:")
    report = report_of(reported)
    assert (report["outcome"], report["answer"]["status"]) == ("completed", 200)


def test_a_refusal_in_http_names_cause_remedy_and_setting(world: World) -> None:
    with serving(answering(REFUSED), world.server_context()) as port:
        done = run(f"localhost:{port}", "--http", "/", *world.files)

    first, *more = done.stderr.decode().splitlines()
    assert (done.returncode, done.stdout) == (5, b"")
    assert first.startswith("mtls-echo: error: the server refused us: most likely ")
    assert more[0].strip() == (
        "received:    HTTP/1.1 400 Bad Request (nginx/1.22.1): “The SSL certificate error”"
    )
    assert any(line.strip().startswith("on nginx:") for line in more)
    assert not any("on Apache" in line for line in more)
    assert more[-1].startswith("mtls-echo: hint: ")


def test_of_an_unknown_server_the_commonest_settings_are_named(world: World) -> None:
    arguments = [*world.trusting, *world.presenting("untrusted")]
    with serving(echo, world.server_context()) as port:
        done = run(f"localhost:{port}", "--handshake", *arguments)

    assert done.returncode == 5
    for product in ("nginx", "Apache", "HAProxy"):
        assert f"on {product}:" in done.stderr.decode()


def test_a_message_that_does_not_come_back_is_explained(world: World) -> None:
    with serving(answering(REFUSED[:100]), world.server_context()) as port:
        done = run(f"localhost:{port}", "hello", *world.files)

    first, *_, hint = done.stderr.decode().splitlines()
    assert (done.returncode, done.stdout) == (8, b"")
    assert first == (
        "mtls-echo: error: mutual TLS is up, but the server does not echo: it answered HTTP/1.1"
        " 400 Bad Request (nginx/1.22.1)"
    )
    assert "--http PATH" in hint


@pytest.mark.parametrize("columns", [40, 80])
def test_no_account_is_longer_than_a_screen(world: World, columns: int) -> None:
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    with serving(answering(REFUSED), world.server_context()) as port:
        arguments = [f"localhost:{port}", "--http", "/", *world.files]
        done = subprocess.run(
            command(*arguments), stdout=theirs, stderr=theirs, timeout=TIMEOUT, check=False
        )
    os.close(theirs)
    printed = b""
    while chunk := _read(ours):
        printed += chunk
    os.close(ours)

    assert done.returncode == 5
    assert printed.count(b"\n") <= 24
    assert b"the server refused us" in b" ".join(printed.splitlines()[:2])
    assert b"hint" in printed


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65_536)
    except OSError:  # Linux, once the other end is closed
        return b""


def test_each_of_many_is_a_line_and_the_last_failure_decides(world: World) -> None:
    with serving(answering(OK), world.server_context()) as port:
        arguments = [f":{port}", "--http", "/", "--count", "2", "--repeat", "0", *world.files]
        done = run(*arguments)

    lines = done.stderr.decode().splitlines()
    assert (done.returncode, done.stdout) == (0, b"")
    assert [line.partition(" (")[0] for line in lines] == [
        "mtls-echo: 1: the server answered HTTP/1.1 200 OK",
        "mtls-echo: 2: the server answered HTTP/1.1 200 OK",
    ]


def test_the_chain_is_shown_behind_the_verdict(world: World) -> None:
    with serving(echo, world.server_context()) as port:
        accepted = run(f"localhost:{port}", "hello", "--show-chain", *world.files)
        refused = run(
            f"localhost:{port}", "--http", "/", "--show-chain", *world.files,
            "--server-name", "a.test",
        )  # fmt: skip

    assert (accepted.returncode, accepted.stdout, refused.returncode) == (0, b"hello\n", 4)
    for done in (accepted, refused):
        first, *_ = done.stderr.decode().splitlines()
        assert first.startswith("mtls-echo: ")
        assert "the server sent 1 certificate:\n  0  localhost" in done.stderr.decode()
    assert "(wrong-name)" in refused.stderr.decode()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["localhost", "--handshake", "--http", "/"], "exclude each other"),
        (["localhost", "hello", "--handshake"], "sends no MESSAGE"),
        (["localhost", "hello", "--http", "/"], "sends no MESSAGE"),
        (["localhost", "--wait", "2"], "without --handshake"),
        (["localhost", "--method", "HEAD"], "without --http"),
        (["localhost", "--header", "A: b"], "without --http"),
        (["localhost", "--http", "health"], "begins with /"),
        (["localhost", "--http", "/", "--header", "A"], "has no colon"),
        (["localhost", "--http", "/", "--header", "A b: c"], "name of a header field"),
        (["localhost", "--http", "/", "--method", "POST"], "--method"),
        (["localhost", "--wait", "-1", "--handshake"], "--wait"),
        (["localhost", "--show-chain", "--json"], "exclude each other"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_on_the_command_line_is_2(arguments: list[str], told: str) -> None:
    done = CliRunner().invoke(connect, arguments)

    assert (done.exit_code, done.stdout) == (2, "")
    assert told in done.stderr


@pytest.mark.parametrize("options", [["--handshake"], ["hello", "--no-cert"]])
def test_nothing_is_made_on_disk_for_another_host(tmp_path: Path, options: list[str]) -> None:
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path), "HOME": str(tmp_path)}
    environment.pop("MTLS_ECHO_PKI", None)
    done = subprocess.run(
        command("api.test:443", *options),
        capture_output=True,
        env=environment,
        timeout=TIMEOUT,
        check=False,
    )

    assert (done.returncode, done.stdout) == (2, b"")
    assert list(tmp_path.iterdir()) == []
    assert b"there are no trust anchors to verify api.test:443 by" in done.stderr
    assert b"--ca FILE, or --ca system" in done.stderr


def test_this_machine_is_met_with_test_certificates(tmp_path: Path) -> None:
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path), "HOME": str(tmp_path)}
    environment.pop("MTLS_ECHO_PKI", None)
    done = subprocess.run(
        command(f"127.0.0.2:{refusing_port()}", "hello"),
        capture_output=True,
        env=environment,
        timeout=TIMEOUT,
        check=False,
    )

    assert done.returncode == 3
    assert b"made test certificates in" in done.stderr
