"""What `mtls-echo serve` refuses at its start, and its help."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mtls_echo.commands.serve import serve
from mtls_echo.console import CommandError
from mtls_echo_pki.certificates.credential import Credential
from mtls_echo_pki.directory.directory import Directory
from tests.cli.commands.serve.clients import directory as directory
from tests.support.servers import Authorities, refused_start, run_command

# --- starting with something wrong ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--client-auth", "none", "--allow-cn", "alice"], "--allow-cn can admit no client"),
        (["--client-auth", "none", "--client-ca", "ca"], "--client-ca has no effect"),
        (["--cert", "a", "--key", "b"], "--client-auth required needs --client-ca"),
        (["--cert", "a", "--key", "b", "--client-auth", "optional"], "optional needs --client-ca"),
        (["--cert", "a", "--client-ca", "ca"], "--key is missing"),
        (["--client-ca", "ca"], "--cert is missing"),
        (["--pki", "p", "--cert", "a", "--key", "b", "--client-ca", "c"], "exclude each other"),
        (["--as", "x", "--cert", "a", "--key", "b", "--client-ca", "c"], "--as names"),
        (["--min-version", "1.3", "--max-version", "1.2"], "--min-version 1.3 is above"),
        (["--listen", "8443"], "is not HOST:PORT"),
        (["--listen", "192.0.2.1:0"], "no interface of this machine"),
        (["--alpn", ""], "is not a protocol name"),
        (["--allow-dns", "*"], "--allow-dns: "),
        (["--allow-fingerprint", "zz"], "64 hexadecimal digits"),
        (["--handshake-timeout", "0"], "more than 0"),
        (["--idle-timeout", "nan"], "0 or more, and finite"),
        (["--grace-period", "soon"], "is not a number of seconds"),
        (["--max-connections", "0"], "x>=1"),
        (["--crl", "x"], "--cert is missing"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_contradicts_itself_is_refused_at_the_start(
    options: list[str], says: str, tmp_path: Path
) -> None:
    listen = [] if "--listen" in options else ["--listen", "127.0.0.1:0"]
    message = refused_start(*options, *listen, env={"MTLS_ECHO_PKI": str(tmp_path / "pki")})
    assert says in " ".join(message.split())


def test_a_port_in_use_is_named_with_a_hint(directory: Directory) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        message = refused_start("--pki", str(directory.path), "--listen", where)
    assert f"error: cannot listen on {where}: the port is in use" in message
    assert "hint: " in message


@pytest.mark.parametrize("which", ["cert", "key", "client-ca"])
@pytest.mark.parametrize("wrong", ["missing", "empty", "swapped"])
def test_a_file_that_cannot_be_used_is_named_with_the_reason(
    tmp_path: Path, which: str, wrong: str
) -> None:
    options = Authorities().files(tmp_path)
    path = Path(options[options.index(f"--{which}") + 1])
    if wrong == "missing":
        path.unlink()
    else:
        other = tmp_path / ("s.crt" if which == "key" else "s.key")
        path.write_bytes(b"" if wrong == "empty" else other.read_bytes())
    message = refused_start(*options, "--listen", "127.0.0.1:0")
    assert f"error: {path}: " in message


def test_a_directory_that_cannot_be_used_is_named_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        message = refused_start("--pki", str(path), "--listen", "127.0.0.1:0")
        assert f"error: {tmp_path / 'file'}" in message
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("dear")
    message = refused_start("--pki", str(tmp_path / "other"), "--listen", "127.0.0.1:0")
    assert "is not a PKI directory" in message


@pytest.mark.parametrize(
    ("kind", "told", "reason"),
    [
        (["rsa-pss", "-pkeyopt", "rsa_keygen_bits:2048"], "RSA-PSS", "NO_CERTIFICATE_ASSIGNED"),
        (["rsa:1024"], "too weak", "EE_KEY_TOO_SMALL"),
    ],
    ids=["rsa-pss", "rsa:1024"],
)
def test_a_key_that_openssl_does_not_take_is_blamed_for_what_it_is(
    tmp_path: Path, kind: list[str], told: str, reason: str
) -> None:
    files = ["--cert", str(tmp_path / "s.crt"), "--key", str(tmp_path / "s.key")]
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", *kind, "-nodes", "-subj", "/CN=localhost"),
            *("-out", files[1], "-keyout", files[3]),
        ],
        check=True,
        capture_output=True,
    )
    message = refused_start(*files, "--client-auth", "none", "--listen", "127.0.0.1:0")
    assert reason in message
    assert told in message
    assert ("too weak" in message) == (told == "too weak")


def test_a_key_log_is_tried_before_all_else_and_not_left_behind(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    files = ["--cert", str(missing), "--key", str(missing), "--client-auth", "none"]
    for keylog, problem in (
        (missing / "keys.log", "--keylog {}: no such file or directory"),
        (tmp_path, "--keylog {}: is a directory"),
        (tmp_path / "keys.log", f"{missing}: does not exist"),
    ):
        with pytest.raises(CommandError) as refused:
            serve.main(
                [*files, "--listen", "127.0.0.1:0", "--keylog", str(keylog)],
                standalone_mode=False,
            )
        assert str(refused.value) == problem.format(keylog)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("number", "hint"), [(errno.EMFILE, "open files"), (errno.ENOSPC, "temporary files")]
)
@pytest.mark.parametrize("keylog", [False, True])
def test_a_lack_of_room_for_the_key_is_not_the_key_logs(
    directory: Directory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    hint: str,
    keylog: bool,
) -> None:
    def lacking(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Credential, "load_into", lacking)
    options = ["--keylog", str(tmp_path / "keys.log")] if keylog else []
    listen = ["--listen", "127.0.0.1:0"]
    with pytest.raises(CommandError) as refused:
        serve.main(["--pki", str(directory.path), *listen, *options], standalone_mode=False)
    assert str(refused.value) == f"{directory.path}: {os.strerror(number).lower()}"
    assert hint in (refused.value.hint or "")


# --- help ----------------------------------------------------------------------------------------


def test_help_shows_sessions_signals_and_the_exit_status() -> None:
    done = run_command("--help")
    assert done.returncode == 0
    for word in ("examples:", "exit status:", "SIGTERM", "SIGHUP", "--grpc-server-tls-cert"):
        assert word in done.stdout


def test_help_imports_nothing_that_takes_time() -> None:
    script = (
        "import sys\n"
        "from mtls_echo.commands.serve import serve\n"
        "try: serve(['--help'])\n"
        "except SystemExit: pass\n"
        "slow = {'trio', 'ssl', 'cryptography', 'rich', 'msgspec'} & set(sys.modules)\n"
        "sys.exit(' '.join(sorted(slow)) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
