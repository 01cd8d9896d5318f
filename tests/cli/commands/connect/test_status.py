"""The exit status of `mtls-echo connect`, and the report that belongs to it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from mtls_echo_tls.denial import denial_line
from tests.cli.commands.connect.world import LINES, report_of, versions
from tests.cli.commands.connect.world import world as world
from tests.support.clients import (
    Behaviour,
    World,
    close_at_once,
    echo,
    echo_plainly,
    refuse_and_reset,
    reset_at_once,
    run,
    say_nothing,
    saying,
    serving,
    speaking_plainly,
    transforming,
    truncate,
)
from tests.support.ports import refusing_port


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
    port = refusing_port()
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
