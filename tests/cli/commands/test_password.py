"""A key with a password: opened by a file, asked for on a terminal, never shown."""

from __future__ import annotations

import os
import pty
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
)

from tests.support.authorities import CLIENTS, SERVERS
from tests.support.command_line import COMMAND, Serving, environment, run, serving
from tests.support.timing import TIMEOUT
from tests.support.tls import ALICE, LOCALHOST

WORD = "ein Geheimnis"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    for name, contents in {
        "server.p12": LOCALHOST.pkcs12(WORD.encode()),
        "alice.p12": ALICE.pkcs12(WORD.encode()),
        "servers.pem": SERVERS.trust.pem,
        "clients.pem": CLIENTS.trust.pem,
        "word": f"{WORD}\n".encode(),
        "other": b"other",
    }.items():
        (folder / name).write_bytes(contents)
        (folder / name).chmod(0o600)
    return folder


@pytest.fixture(scope="module")
def server(files: Path) -> Iterator[Serving]:
    options = ["--cert", "server.p12", "--password-file", "word", "--client-ca", "clients.pem"]
    named = [str(files / word) if "." in word or word == "word" else word for word in options]
    with serving(*named) as running:
        yield running


def connecting(files: Path, server: Serving) -> list[str]:
    where = ["connect", f"localhost:{server.port}", "hello"]
    return [*where, "--ca", str(files / "servers.pem"), "--cert", str(files / "alice.p12")]


def at_a_terminal(arguments: list[str], typed: str | bytes) -> tuple[int, str, str]:
    """Run a command whose input and messages are a terminal's: status, output, what it shows."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        stdin=slave,
        stdout=subprocess.PIPE,
        stderr=slave,
        env=environment(),
        start_new_session=True,
    )
    os.close(slave)
    shown = b""
    while b"password of" not in shown or not shown.rstrip(b"\r\n").endswith(b": "):
        shown += os.read(master, 1024)
    os.write(master, (typed.encode() if isinstance(typed, str) else typed) + b"\n")
    output, _ = process.communicate(timeout=TIMEOUT)
    try:
        while piece := os.read(master, 1024):
            shown += piece
    except OSError:
        pass  # the other end is closed
    os.close(master)
    # A narrow terminal has lines wrapped.
    return process.returncode, output.decode(), " ".join(shown.decode().split())


def test_a_file_opens_both_ends(files: Path, server: Serving) -> None:
    ran = run(*connecting(files, server), "--password-file", str(files / "word"))

    assert (ran.returncode, ran.stdout) == (0, "hello\n"), ran.stderr


def test_on_a_terminal_it_is_asked_for_and_not_shown(files: Path, server: Serving) -> None:
    status, output, shown = at_a_terminal(connecting(files, server), WORD)

    assert (status, output) == (0, "hello\n"), shown
    assert f"password of {files / 'alice.p12'}:" in shown
    assert WORD not in shown


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("other", "the password does not open this PKCS#12 file"),
        ("", "with a password"),
        (b"s\xe9same", "what was typed is not text in the terminal's encoding"),
    ],
)
def test_a_wrong_answer_ends_the_command(
    files: Path, server: Serving, typed: str | bytes, message: str
) -> None:
    status, output, shown = at_a_terminal(connecting(files, server), typed)

    assert (status, output) == (2, "")
    assert message in shown
    assert "Traceback" not in shown


def test_without_a_terminal_the_error_names_the_option(files: Path, server: Serving) -> None:
    ran = run(*connecting(files, server))

    assert (ran.returncode, ran.stdout) == (2, "")
    assert "alice.p12: is a PKCS#12 file with a password\n" in ran.stderr
    assert "hint: give its password: --password-file FILE\n" in ran.stderr


def test_what_no_password_can_put_right_is_not_asked_about(files: Path, tmp_path: Path) -> None:
    p12, pem, cut = files / "alice.p12", tmp_path / "alice.pem", tmp_path / "cut.p12"
    pem.write_bytes(ALICE.certificate_pem)
    cut.write_bytes(p12.read_bytes()[:-20])
    encryption = BestAvailableEncryption(WORD.encode())
    key = tmp_path / "alice.key"
    key.write_bytes(ALICE.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    for own, reason in (
        (["--cert", cut], "is a PKCS#12 file that is cut off"),
        (["--cert", pem, "--key", p12], "is a PKCS#12 file, not PEM"),
        (["--cert", p12, "--key", key], "contradicts --cert"),
        (["--key", key], "--cert is missing"),
    ):
        master, slave = pty.openpty()
        where = ["connect", "localhost:9", "hello", "--ca", str(files / "servers.pem")]
        process = subprocess.run(
            [*COMMAND, *where, *map(str, own)],
            stdin=slave,
            stdout=subprocess.PIPE,
            stderr=slave,
            env=environment(),
            start_new_session=True,
            timeout=TIMEOUT,
        )
        shown = " ".join(os.read(master, 65536).decode().split())
        os.close(slave)
        os.close(master)
        assert process.returncode == 2
        assert "password of" not in shown
        assert reason in shown


def test_with_its_messages_in_a_pipe_it_does_not_ask(files: Path, server: Serving) -> None:
    master, slave = pty.openpty()
    ran = subprocess.run(
        [*COMMAND, *connecting(files, server)],
        stdin=slave,
        capture_output=True,
        env=environment(),
        timeout=TIMEOUT,
    )
    os.close(slave)
    os.close(master)

    assert ran.returncode == 2
    assert b"--password-file FILE" in ran.stderr


def test_a_server_asks_before_it_listens(files: Path) -> None:
    serve = ["serve", "--listen", "127.0.0.1:0", "--cert", str(files / "server.p12")]
    options = ["--client-ca", str(files / "clients.pem")]

    status, _, shown = at_a_terminal([*serve, *options], "other")

    assert status == 2
    assert "password of" in shown
    assert "listening" not in shown


def test_a_server_without_a_ca_for_its_clients_is_told_so(files: Path, tmp_path: Path) -> None:
    (tmp_path / "tls.crt").write_bytes(LOCALHOST.certificate_pem)
    (tmp_path / "tls.key").write_bytes(LOCALHOST.key_pem)
    own = ["--cert", str(files / "server.p12"), "--password-file", str(files / "word")]
    message = (
        "error: --client-auth required needs the CA of the clients' certificates: there is no"
    )

    for options, missing in (
        (own, "--client-ca"),
        (["--pki", str(tmp_path)], f"ca.crt in {tmp_path}"),
    ):
        ran = run("serve", "--listen", "127.0.0.1:0", *options)
        assert ran.returncode == 2
        assert f"{message} {missing}\n" in ran.stderr


def test_a_password_file_that_opens_nothing_is_called_by_its_option(
    files: Path, tmp_path: Path
) -> None:
    plain = tmp_path / "plain.pem"
    plain.write_bytes(LOCALHOST.certificate_pem + LOCALHOST.key_pem)
    plain.chmod(0o600)
    own = ["--cert", str(plain), "--password-file", str(files / "word")]

    with serving(*own, "--client-auth", "none") as running:
        warning = running.wait_for("warning")

    assert f"{plain} needs no password: --password-file has no effect" in str(warning)


def test_a_pipe_is_read_by_a_command_that_reads_its_files_once(
    files: Path, server: Serving
) -> None:
    def piped(*options: str) -> subprocess.CompletedProcess[str]:
        words = [*COMMAND, *connecting(files, server), *options]
        script = f"{shlex.join(words)} --password-file <(cat {files / 'word'})"
        return subprocess.run(
            ["bash", "-c", script],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=environment(),
            timeout=TIMEOUT,
        )

    once = piped()
    assert (once.returncode, once.stdout) == (0, "hello\n"), once.stderr
    again = piped("--count", "2")
    assert again.returncode == 2
    assert "not a regular file" in again.stderr
    assert "the password is read again at every reload" in again.stderr


@pytest.mark.parametrize("key", ["enc.key", "plain.key"])
def test_a_password_in_standard_input_is_not_a_message(
    key: str, files: Path, server: Serving, tmp_path: Path
) -> None:
    """From a pipe or a file alike; and it is said of a key that needs none."""
    locked = ALICE.key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(WORD.encode())
    )
    written = {"enc.key": locked, "plain.key": ALICE.key_pem, "in": f"{WORD}\nhello\n".encode()}
    for name, contents in {**written, "alice.pem": ALICE.certificate_pem}.items():
        (tmp_path / name).write_bytes(contents)
    named = {
        "--ca": files / "servers.pem",
        "--cert": tmp_path / "alice.pem",
        "--key": tmp_path / key,
    }
    options = [str(word) for option in named.items() for word in option]
    words = [*COMMAND, "connect", f"localhost:{server.port}", *options]
    with open(tmp_path / "in", "rb") as source:
        ran = subprocess.run(
            [*words, "--password-file", "/dev/stdin"],
            stdin=source,
            capture_output=True,
            text=True,
            env=environment(),
            timeout=TIMEOUT,
        )

    assert (ran.returncode, ran.stdout) == (0, "hello\n"), ran.stderr
    assert ("plain.key needs no password" in ran.stderr) is (key == "plain.key")


def test_an_empty_pipe_is_an_error(files: Path, server: Serving) -> None:
    script = f"{shlex.join([*COMMAND, *connecting(files, server)])} --password-file <(true)"
    ran = subprocess.run(
        ["bash", "-c", script], capture_output=True, text=True, env=environment(), timeout=TIMEOUT
    )

    assert ran.returncode == 2
    assert "there is no password in this pipe" in ran.stderr


def test_a_pipe_is_read_as_a_file_is(files: Path, server: Serving) -> None:
    def piped(contents: str) -> subprocess.CompletedProcess[str]:
        command = shlex.join([*COMMAND, *connecting(files, server)])
        return subprocess.run(
            ["bash", "-c", f"{command} --password-file <(printf '{contents}')"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=environment(),
            timeout=TIMEOUT,
        )

    ran = piped(rf"\xef\xbb\xbf{WORD}\r\n")
    assert (ran.returncode, ran.stdout) == (0, "hello\n"), ran.stderr
    for contents, reason in (
        (r"\xff\xfee\0\n\0", "is UTF-16 text"),
        (r"e\0i\0n\0\n\0", "its first line has a NUL byte in it"),
    ):
        ran = piped(contents)
        assert ran.returncode == 2
        assert reason in ran.stderr
        assert "hint: write the password to this pipe as UTF-8 text" in ran.stderr


def test_what_follows_the_password_on_standard_input_is_the_messages(
    files: Path, server: Serving
) -> None:
    arguments = [word for word in connecting(files, server) if word != "hello"]

    def fed(contents: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *arguments, "--password-file", "/dev/stdin"],
            input=contents,
            capture_output=True,
            text=True,
            env=environment(),
            timeout=TIMEOUT,
        )

    ran = fed(f"{WORD}\nhello\nhello again\n")
    assert (ran.returncode, ran.stdout) == (0, "hello\nhello again\n"), ran.stderr
    assert WORD not in ran.stderr
    ran = fed("x" * 70_000)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "the first line in standard input is too long for a password" in ran.stderr
