"""The commands `gallery` and `gallery judge`, as they are called."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import socket
import ssl
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import click
import pytest
import trio
from click.testing import CliRunner, Result

from mtls_echo.commands.gallery.command import gallery
from mtls_echo.commands.gallery.judge import complete_clients, complete_exhibits
from mtls_echo.gallery import judge as judging
from mtls_echo.gallery.clients import CLIENTS, own_client
from mtls_echo.gallery.collection import ALIASES, EXHIBITS
from mtls_echo.gallery.running import run_command
from mtls_echo_pki.directory.directory import Directory
from tests.cli.gallery import small_clients
from tests.support.command_line import COMMAND, environment, started
from tests.support.timing import TIMEOUT

FEW = ("--only", "expired", "--only", "no-san", "--only", "alert-internal-error")


def call(*arguments: str) -> Result:
    return CliRunner().invoke(gallery, arguments, prog_name="mtls-echo gallery")


def refused(*arguments: str) -> str:
    """What a command says that cannot be done."""
    result = call(*arguments)
    assert result.exit_code == 2, result.output
    return result.output


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands be small clients in threads, not processes."""
    monkeypatch.setattr(judging, "run_command", small_clients.run)


def judged(client: str, *arguments: str) -> Result:
    return call("judge", "--tls", "1.3", *FEW, *arguments, "--", client, "{url}", "{ca}")


# --- judge: what is printed ----------------------------------------------------------------------


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("client", "status", "said"),
    [
        ("correct", 0, "correct: refused 3 of 3 bad servers\n"),
        ("trusts_all", 1, "refused 1 of 3 bad servers\n\naccepted, and must not be:\n"
         "  expired (TLS 1.3)\n      The certificate ended yesterday [RFC 5280 §4.1.2.5]\n"),
        ("sends_first", 1, "; refused only after it had sent data\n"),
        ("never_connects", 5, '\n      It did not connect: "this is never_connects"\n'),
        ("only_12", 5, "not judged, since the good server does not work with it\n\n"
         "failed, and must work:\n  good (TLS 1.3)\n"
         '      Exit status 1: "this is only_12"\n'),
        ("knows_no_ca", 5, "; {ca} stands for a file of the CAs\n      that it has to trust\n"),
        ("hangs", 6, "hangs: worked with the good server, and no other run came to a verdict\n\n"
         "not tested:\n  expired (TLS 1.3), no-san (TLS 1.3), alert-internal-error\n"
         '      It came to no end: "this is hangs"\n'),
        ("correct_but_exits_0", 1, " side\"\n      [RFC 8446 §6]; it ended with exit status 0\n"),
    ],
)  # fmt: skip
def test_a_score_is_told_and_is_the_exit_status(client: str, status: int, said: str) -> None:
    result = judged(client)
    assert said in result.output
    assert result.exit_code == status
    assert all(len(line) <= 80 for line in result.output.splitlines())


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("asked", ["--only=good", "--only=tls1-2"])
def test_where_there_is_nothing_to_judge_by_that_is_said(asked: str) -> None:
    result = call("judge", "--tls", "1.3", asked, "--", "correct", "{url}", "{ca}")
    assert result.output == "correct: worked with the good server, and was judged by no other\n"
    assert result.exit_code == 6


@pytest.mark.usefixtures("small")
def test_all_shows_how_each_was_refused() -> None:
    assert "as it must be:\n" in (shown := judged("correct", "--all").output)
    assert "      Refused, certificate_expired\n" in shown


@pytest.mark.usefixtures("small")
def test_json_is_one_object_with_all_rows() -> None:
    found = json.loads(judged("trusts_all", "--json").output)
    assert (found["client"], found["exit_status"]) == ("trusts_all", 1)
    assert [row["verdict"] for row in found["good"]] == ["works"]
    assert {row["exhibit"]: (row["verdict"], row["wrong"]) for row in found["rows"]} == {
        "expired": ("accepted", True),
        "no-san": ("accepted", True),
        "alert-internal-error": ("refused", False),
    }


@pytest.mark.usefixtures("small")
def test_junit_has_a_case_for_each_row(tmp_path: Path) -> None:
    file = tmp_path / "report.xml"
    assert judged("ignores_expiry", "--junit", str(file)).exit_code == 1
    suite = ElementTree.fromstring(file.read_bytes())  # noqa: S314  our own
    assert [suite.get(key) for key in ("tests", "failures", "skipped")] == ["4", "1", "0"]
    failed = [case.get("name") for case in suite if case.find("failure") is not None]
    assert failed == ["expired (TLS 1.3)"]


@pytest.mark.usefixtures("small")
def test_junit_that_cannot_be_written_is_said() -> None:
    result = judged("correct", "--junit", "/nowhere/report.xml")
    assert (result.exit_code, "no such file" in result.output) == (2, True)


# --- judge: what is expected ---------------------------------------------------------------------

KNOWN = '[no-san]\nverdict = "accepted"\nreason = "until version 3"\n'


@pytest.mark.usefixtures("small")
def test_what_is_expected_is_no_error_and_what_changed_is(tmp_path: Path) -> None:
    file = tmp_path / "known.toml"
    file.write_text(KNOWN)
    met = judged("trusts_all", "--expect", str(file))
    assert (met.exit_code, "as expected:\n  no-san" in met.output) == (1, True)
    assert "Until version 3" in met.output
    file.write_text(KNOWN + KNOWN.replace("no-san", "expired"))
    assert judged("trusts_all", "--expect", str(file)).exit_code == 0
    stale = judged("ignores_expiry", "--expect", str(file))
    assert "not as expected any more: no-san, which was to be accepted" in stale.output
    assert stale.exit_code == 0


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("[", "known.toml: "),
        ("[nonsense]\nverdict = 'accepted'\nreason = ''\n", 'no exhibit "nonsense"'),
        ("[expired]\nverdict = 'good'\nreason = ''\n", "verdict"),
        ("[expired]\nverdict = 'accepted'\n", "reason"),
        ("[expired]\nverdict = 'accepted'\nreason = ''\nmore = 1\n", "more"),
        (None, "no such file"),
    ],
)
def test_expectations_that_make_no_sense_are_refused(
    tmp_path: Path, content: str | None, why: str
) -> None:
    file = tmp_path / "known.toml"
    if content is not None:
        file.write_text(content)
    assert why in refused("judge", "--client", "curl", "--expect", str(file))


# --- judge: what is run --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ((), "name a client or give a command"),
        (("--client", "curl", "--", "x", "{url}"), "not both"),
        (("--client", "crul"), "did you mean curl? see them all: "),
        (("--only", "expird", "--client", "curl"), "did you mean expired"),
        (("--", "x", "{ca}"), "neither {url} nor {port}"),
        (("--", "x", "{url}", "{cat}"), "no placeholder {cat}"),
        (("--", "./nothing", "{url}"), "./nothing cannot be run: no such file"),
        (("--", "/etc/passwd", "{url}"), "/etc/passwd cannot be run: permission denied"),
    ],
)
def test_what_cannot_be_judged_is_said(arguments: tuple[str, ...], why: str) -> None:
    assert why in refused("judge", *arguments)


def test_a_client_that_is_not_here_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert "--client curl: curl is not installed" in refused("judge", "--client", "curl")
    listed = call("judge", "--client", "list")
    assert "\njava        not here: java, javac\n" in listed.output
    assert listed.exit_code == 0


def test_names_of_clients_and_exhibits_are_completed() -> None:
    context, parameter = click.Context(gallery), click.Option(["--x"])
    assert [each.value for each in complete_clients(context, parameter, "pyth")] == ["python"]
    found = complete_exhibits(context, parameter, "expired-a")
    assert [each.value for each in found] == ["expired-authority", "expired-authority-anchor"]


def test_every_ready_made_client_takes_placeholders_that_there_are() -> None:
    for name, client in CLIENTS.items():
        for words in filter(None, (client.command, client.with_crl)):
            assert own_client(words)
        assert client.name == name
        assert client.needs
        assert client.by_address[0] in ("", *client.command)


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("./client {url}", "client"),
        ("/usr/bin/python3 tests/client.py --ca {ca} {url}", "python3 client.py"),
        ("sh -c x {url}", "sh"),
        ("{dir}/client {url}", "client"),
    ],
)
def test_a_command_is_called_by_what_is_run(command: str, name: str) -> None:
    assert own_client(tuple(command.split())).name == name


def small_script(tmp_path: Path, text: str) -> tuple[str, ...]:
    script = tmp_path / "client.py"
    script.write_text(text)
    return (sys.executable, "-IS", str(script))


async def test_a_command_gets_a_request_and_no_proxies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://proxy.test")
    says = "import os, sys; print(sys.stdin.read(), *sorted(os.environ)); sys.exit(3)"
    ran = await run_command(small_script(tmp_path, says), TIMEOUT)
    assert ran.status == 3
    assert ran.said.startswith("GET / HTTP/1.1\r\n")
    assert "PATH" in ran.said
    assert "https_proxy" not in ran.said


async def test_what_a_command_says_is_bounded(tmp_path: Path) -> None:
    says = "print('error: first'); print('x' * 10_000_000); print('last')"
    ran = await run_command(small_script(tmp_path, says), TIMEOUT)
    assert len(ran.said) == 64 * 1024
    assert (ran.status, ran.error) == (0, "last")


async def test_a_command_s_children_end_with_it(tmp_path: Path) -> None:
    # The child holds the pipe, on which nothing more comes.
    says = "import os, time\nif os.fork() == 0: time.sleep(1000)\nprint('error: I leave')"
    ran = await run_command(small_script(tmp_path, says), TIMEOUT)
    assert (ran.status, ran.error) == (0, "error: I leave")


@pytest.mark.real_time
async def test_a_command_that_comes_to_no_end_is_ended(tmp_path: Path) -> None:
    # Reading a FIFO ends when the last process is gone that may write to it.
    os.mkfifo(fifo := tmp_path / "fifo")
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    says = f"import time; file = open({str(fifo)!r}, 'w'); time.sleep(1000)"
    words = small_script(tmp_path, says)
    ran = await run_command(("sh", "-c", f"{shlex.join(words)}; true"), 1.0)
    assert ran.status is None
    os.set_blocking(reader, True)
    assert await trio.to_thread.run_sync(os.read, reader, 1) == b""
    os.close(reader)


# --- gallery -------------------------------------------------------------------------------------


def test_the_list_has_every_exhibit() -> None:
    shown = call("--list").output
    assert all(f"\n  {slug} " in shown for slug in EXHIBITS)
    found = [json.loads(line) for line in call("--list", "--json").output.splitlines()]
    assert [each["exhibit"] for each in found] == [*EXHIBITS]
    assert found[1]["host"] == "expired.gallery.localhost"


@pytest.mark.parametrize(
    ("listen", "address"),
    [("127.0.0.1:8443", "127.0.0.1"), ("[::]:0", "::1"), ("0.0.0.0:1", "127.0.0.1")],
)
def test_the_lines_for_etc_hosts_are_of_an_address_that_can_be_reached(
    listen: str, address: str
) -> None:
    lines = call("--hosts", "--listen", listen, "--domain", "Bad.TEST.").output.splitlines()
    assert lines[0] == f"{address} good.bad.test"
    assert lines[-1] == f"{address} bad.test"
    names = [each.slug for each in EXHIBITS.values() if not each.by_address]
    assert len(set(lines)) == len([*names, *ALIASES]) + 1


@pytest.mark.parametrize("domain", ["a b", "*", "127.0.0.1", "ü.test", "a..b", ""])
def test_a_domain_that_is_none_is_refused(domain: str) -> None:
    assert "--domain" in refused("--list", "--domain", domain)


def test_a_port_in_use_is_said() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert "the port is in use" in refused("--listen", f"127.0.0.1:{port}")
    assert "write HOST:PORT" in refused("--listen", "nonsense")


def test_files_that_cannot_be_written_are_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    wanted = tmp_path / "file" / "folder"
    assert "not a directory" in refused("--listen", "127.0.0.1:0", "--files", str(wanted))


def test_a_directory_with_an_intermediate_cannot_issue(tmp_path: Path) -> None:
    Directory.create(tmp_path / "pki", intermediate=True)
    said = refused("--listen", "127.0.0.1:0", "--pki", str(tmp_path / "pki"))
    assert "issues through an intermediate" in said
    said = refused("--listen", "127.0.0.1:0", "--pki", str(tmp_path / "nothing"))
    assert "--pki: " in said


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    with started("gallery", "--listen", "127.0.0.1:0", *arguments) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        port = line.partition("127.0.0.1:")[2].partition(";")[0]
        assert port, line + process.stderr.read()
        yield process, int(port)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_it_is_stopped_and_leaves_nothing(
    tmp_path: Path, end: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    (temporary := tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    directory = Directory.create(tmp_path / "pki")
    files = tmp_path / "files"
    with running("--pki", str(directory.path), "--files", str(files)) as (process, port):
        context = ssl.create_default_context(cafile=str(directory.path / "trust/servers/ca.crt"))
        context.load_cert_chain(files / "client.crt", files / "client.key")
        name = "client-required.gallery.localhost"
        with (
            socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) as tcp,
            context.wrap_socket(tcp, server_hostname=name) as tls,
        ):
            tls.sendall(b"hello\n")
            assert tls.recv(6) == b"hello\n"
        assert stat.S_IMODE((files / "client.key").stat().st_mode) == 0o600
        assert process.stderr is not None
        while not (line := process.stderr.readline()).startswith("mtls-echo: client-required"):
            assert line
        assert line.endswith("the handshake was completed, 6 bytes came\n")
        assert list(temporary.iterdir()) == []
        process.send_signal(end)
        assert process.wait(TIMEOUT) == 0
        assert "Traceback" not in process.stderr.read()


def test_a_quiet_gallery_says_where_it_is_and_nothing_of_visits() -> None:
    with running("--quiet") as (process, port):
        socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT).close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT) == 0
        assert process.stderr is not None
        assert process.stdout is not None
        told = process.stderr.read().splitlines()
        assert all(line.startswith("  ") for line in told), told
        assert process.stdout.read() == ""


def test_without_a_folder_it_leaves_none_behind(tmp_path: Path) -> None:
    environ = {**environment(), "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [*COMMAND, "gallery", "--listen", "127.0.0.1:0"],
        stderr=subprocess.PIPE, text=True, env=environ,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        process.stderr.readline()
        (folder,) = tmp_path.iterdir()
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        process.stderr.readline()
        process.terminate()
        assert process.wait(TIMEOUT) == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("end", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_judging_that_is_stopped_ends_its_client_and_leaves_nothing(
    tmp_path: Path, end: signal.Signals, status: int
) -> None:
    os.mkfifo(fifo := tmp_path / "fifo")
    (folder := tmp_path / "temporary").mkdir()
    # It would go on: what ends it is what is tested.
    says = "import sys, time; file = open(sys.argv[1], 'w'); print('x', file=file, flush=True)"
    client = (*small_script(tmp_path, f"{says}; time.sleep(1000)"), str(fifo))
    with subprocess.Popen(
        [*COMMAND, "gallery", "judge", "--", *client, "{url}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment(TMPDIR=str(folder)),
    ) as process:
        with fifo.open() as said:
            assert said.readline() == "x\n"
            process.send_signal(end)
            # Every process that may write to it has ended.
            said.read()
        assert process.wait(TIMEOUT) == status
    assert list(folder.iterdir()) == []
