"""`mtls-echo serve` as its users meet it: a process, its options, its events, its exit status."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import ssl
import stat
import subprocess
import sys
import threading
from collections.abc import Generator
from pathlib import Path

import pytest

from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.directory.directory import Directory
from mtls_echo_tls.denial import denial_in
from tests.support.servers import (
    SERVE,
    VERSIONS,
    Authorities,
    ServeProcess,
    read_to_end,
    refused_start,
    run_command,
)
from tests.support.timing import TIMEOUT

versions = pytest.mark.parametrize(
    "version", [version for _, version in VERSIONS], ids=[name for name, _ in VERSIONS]
)


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    return Directory.create(tmp_path / "pki")


def client_of(
    directory: Directory,
    name: str | None = "client",
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = context.maximum_version = version
    directory.trust("servers").load_into(context)
    if name is not None:
        directory.credential(name).load_into(context)
    return context


@contextlib.contextmanager
def never_reading(running: ServeProcess, context: ssl.SSLContext) -> Generator[None]:
    """A client that sends, and reads nothing of what comes back: its connection never rests."""
    with running.connect(context) as tls:

        def send() -> None:
            with contextlib.suppress(OSError):
                tls.sendall(b"x" * 100_000_000)  # more than the kernel's buffers hold

        sender = threading.Thread(target=send)
        sender.start()
        running.event("accepted")
        yield
        sender.join()  # the server is gone by now, or has cut us off


def assert_echoes(running: ServeProcess, context: ssl.SSLContext) -> None:
    with running.connect(context) as tls:
        tls.sendall(b"hello")
        assert tls.recv(5) == b"hello"
        tls.unwrap().close()


# --- running -------------------------------------------------------------------------------------


@versions
def test_it_echoes_and_stops_with_status_0(directory: Directory, version: ssl.TLSVersion) -> None:
    with ServeProcess(pki=directory.path) as running:
        assert running.event("listening")["pid"] == running.process.pid
        assert_echoes(running, client_of(directory, version=version))
        report = running.event("connection")
        assert report["outcome"] == "echoed"
        assert report["tls"]["version"] == ("TLSv1.3" if version > 771 else "TLSv1.2")
        assert running.stop() == 0
        assert running.event("stopped")["aborted"] == 0


def test_the_first_run_makes_the_certificates_and_says_where(tmp_path: Path) -> None:
    with ServeProcess(pki=tmp_path / "new") as running:
        assert running.event("created")["path"] == str(tmp_path / "new")
        assert_echoes(running, client_of(Directory(tmp_path / "new")))
    with ServeProcess(pki=tmp_path / "new") as running:
        assert "created" not in {event["event"] for event in running.events}


def test_without_options_it_serves_the_users_own_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MTLS_ECHO_PKI", str(tmp_path / "mine"))
    with ServeProcess() as running:
        assert running.event("created")["path"] == str(tmp_path / "mine")


def test_explicit_files_and_the_spellings_of_thanos_do_the_same(tmp_path: Path) -> None:
    pki = Authorities()
    files = pki.files(tmp_path)
    thanos = [f"--grpc-server-tls-{word[2:]}" if word.startswith("--") else word for word in files]
    for options in (files, [*thanos, "--grpc-server-tls-min-version", "1.3"]):
        with ServeProcess(*options) as running:
            assert_echoes(running, pki.client_context(pki.alice))


def test_another_credential_of_the_directory_can_be_served(directory: Directory) -> None:
    from mtls_echo_pki.certificates.request import Request

    other = directory.issue("other", Request.server("localhost", subject="other"))
    with (
        ServeProcess("--as", "other", pki=directory.path) as running,
        running.connect(client_of(directory)) as tls,
    ):
        assert tls.getpeercert(binary_form=True) == other.chain_der[0]


def test_it_listens_on_every_address_it_is_given(directory: Directory) -> None:
    with ServeProcess("--listen", "127.0.0.1:0", pki=directory.path) as running:
        first = running.port
        running.port = int(running.event("listening", 2)["port"])
        assert running.port != first
        assert_echoes(running, client_of(directory))


def test_an_anonymous_client_is_served_where_certificates_are_optional(
    directory: Directory,
) -> None:
    with ServeProcess("--client-auth", "optional", pki=directory.path) as running:
        assert running.event("listening")["client_auth"] == "optional"
        assert_echoes(running, client_of(directory, None))
        assert running.event("accepted")["identity"] is None


def test_its_text_log_tells_a_person_the_same(directory: Directory) -> None:
    running = ServeProcess("--log-format", "text", pki=directory.path)
    assert running.process.stderr is not None
    try:
        first = running.process.stderr.readline()
        found = re.fullmatch(
            r"\d\d:\d\d:\d\d listening on 127.0.0.1:(\d+), client certificates required\n", first
        )
        assert found, first
        running.port = int(found[1])
        assert_echoes(running, client_of(directory))
        with (
            pytest.raises(ssl.SSLError),
            running.connect(client_of(directory, None)) as tls,
        ):
            tls.recv(1)
        running.process.terminate()
        lines = running.process.stderr.read().splitlines()
    finally:
        running.__exit__(None, None, None)
    assert any(
        re.search(r'accepted 127.0.0.1:\d+: "client.test", TLSv1.3$', line) for line in lines
    )
    assert any(
        "finished 127.0.0.1:" in line and "5 bytes in, 5 bytes out" in line for line in lines
    )
    assert any("(sent alert certificate_required (116)); hint: " in line for line in lines)
    assert "stopping, 0 open connections" in lines[-2]
    assert lines[-1].endswith("stopped, 0 connections finished, 0 aborted")


def test_it_goes_on_when_its_log_is_not_read_any_more(directory: Directory) -> None:
    with ServeProcess(pki=directory.path) as running:
        assert running.process.stderr is not None
        running.process.stderr.close()
        assert_echoes(running, client_of(directory))
        assert_echoes(running, client_of(directory))
        running.process.terminate()
        assert running.process.wait() == 0


def test_the_key_log_is_private_filled_and_warned_about(
    directory: Directory, tmp_path: Path
) -> None:
    keylog = tmp_path / "keys.log"
    with ServeProcess("--keylog", str(keylog), pki=directory.path) as running:
        assert_echoes(running, client_of(directory))
        assert str(keylog) in running.event("warning")["message"]
    assert "CLIENT_TRAFFIC_SECRET_0" in keylog.read_text()
    assert stat.S_IMODE(keylog.stat().st_mode) == 0o600


def test_an_expired_certificate_is_served_with_a_warning(tmp_path: Path) -> None:
    import datetime

    from mtls_echo_pki.certificates.request import Request

    pki = Authorities()
    pki.server = pki.servers.issue(
        Request.server(
            "localhost",
            lifetime=datetime.timedelta(seconds=-60),
            backdate=datetime.timedelta(hours=1),
        )
    )
    with ServeProcess(*pki.files(tmp_path)) as running:
        assert "expired" in running.event("warning")["message"]
        with pytest.raises(ssl.SSLCertVerificationError):
            running.connect(pki.client_context(pki.alice))
        report = running.event("connection")
    assert report["alert"]["name"] == "certificate_expired"
    assert report["rejected_by"] == "client"


def test_it_serves_without_a_standard_error(directory: Directory) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, "--pki", str(directory.path), "--listen", f"[::1]:{port}"],
        preexec_fn=lambda: os.close(2),
    )
    watchdog = threading.Timer(TIMEOUT, process.kill)
    watchdog.start()
    try:
        tcp = None
        while tcp is None:
            assert process.poll() is None
            with contextlib.suppress(ConnectionRefusedError):
                tcp = socket.create_connection(("::1", port), timeout=TIMEOUT)
        with client_of(directory).wrap_socket(tcp, server_hostname="localhost") as tls:
            tls.sendall(b"hello")
            assert tls.recv(5) == b"hello"
        process.terminate()
        assert process.wait() == 0
    finally:
        process.kill()
        process.wait()
        watchdog.cancel()


# --- authorisation -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "welcome"),
    [
        (("--allow-cn", "alice"), True),
        (("--allow-cn", "bob"), False),
        (("--allow-dns", "*.a.test"), True),
        (("--allow-dns", "*.b.test"), False),
        (("--allow-uri", "spiffe://a.test/ns/*/sa/web"), True),
        (("--allow-uri", "spiffe://a.test/*"), False),
        (("--allow-email", "alice@a.test"), True),
        (("--allow-email", "bob@a.test"), False),
        (("--allow-fingerprint", "FINGERPRINT"), True),
        (("--allow-fingerprint", "sha256:" + "00" * 32), False),
        (("--allow-cn", "bob", "--allow-email", "alice@a.test"), True),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, tuple) else None,
)
def test_the_allow_options_decide_which_clients_are_served(
    directory: Directory, rule: tuple[str, ...], welcome: bool
) -> None:
    names = ("web.a.test", "alice@a.test", "spiffe://a.test/ns/prod/sa/web")
    alice = directory.issue("alice", Request.client(*names, subject="alice"))
    options = [alice.fingerprint if word == "FINGERPRINT" else word for word in rule]
    with (
        ServeProcess(*options, pki=directory.path) as running,
        running.connect(client_of(directory, "alice")) as tls,
    ):
        tls.settimeout(TIMEOUT)
        if welcome:
            tls.sendall(b"hello")
            assert tls.recv(5) == b"hello"
        else:
            assert denial_in(read_to_end(tls)) is not None
            assert running.event("connection")["outcome"] == "denied"


# --- refusals that arrive ------------------------------------------------------------------------


@versions
@pytest.mark.parametrize("who", ["unauthenticated", "untrusted"])
def test_the_alert_reaches_a_plain_client_with_5_mb_in_flight(
    directory: Directory, version: ssl.TLSVersion, who: str
) -> None:
    context = client_of(directory, None, version)
    if who == "untrusted":
        Authorities().untrusted.load_into(context)
    missing = "CERTIFICATE_REQUIRED" if version > 771 else "HANDSHAKE_FAILURE"
    with ServeProcess(pki=directory.path) as running:
        for _ in range(5):
            with pytest.raises(ssl.SSLError) as refusal:
                _talk_until_refused(running, context)
            assert str(refusal.value.reason).endswith(
                missing if who == "unauthenticated" else "UNKNOWN_CA"
            )


def _talk_until_refused(running: ServeProcess, context: ssl.SSLContext) -> None:
    with running.connect(context) as tls:  # TLS 1.2 clients come no further
        # All of it, although the server has refused us by now and will read none of it as data.
        tls.sendall(b"x" * 5_000_000)
        tls.recv(1)


def test_plaintext_curl_gets_an_http_answer_that_asks_for_tls(directory: Directory) -> None:
    with ServeProcess(pki=directory.path) as running:
        with running.tcp() as tcp:
            tcp.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            answer = read_to_end(tcp)
        assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert running.event("connection")["causes"] == ["plaintext-client"]
        assert_echoes(running, client_of(directory))


def test_a_mebibyte_of_garbage_is_one_event(directory: Directory) -> None:
    with ServeProcess(pki=directory.path) as running:
        with running.tcp() as tcp:
            tcp.sendall(os.urandom(1024) * 1024)
            tcp.shutdown(socket.SHUT_WR)
            read_to_end(tcp)
        assert_echoes(running, client_of(directory))
        running.stop()
    outcomes = [event["outcome"] for event in running.events if event["event"] == "connection"]
    assert len(outcomes) == 2


# --- limits --------------------------------------------------------------------------------------


def test_it_survives_having_no_descriptor_left(directory: Directory) -> None:
    with ServeProcess("--max-connections", "500", pki=directory.path, descriptors=40) as running:
        assert "descriptors" in running.event("warning")["message"]
        crowd = [running.tcp() for _ in range(60)]
        assert "too many open files" in running.event("accept-error")["message"]
        for tcp in crowd:
            tcp.close()
        assert_echoes(running, client_of(directory))
        assert running.stop() == 0


def test_the_timeouts_are_those_of_the_options(directory: Directory) -> None:
    limits = ("--handshake-timeout", "0.1", "--idle-timeout", "3600")
    with ServeProcess(*limits, pki=directory.path) as running:
        with running.tcp() as silent:
            assert read_to_end(silent) == b""
        assert running.event("connection")["causes"] == ["timeout"]
    limits = ("--handshake-timeout", "3600", "--idle-timeout", "0.1")
    with ServeProcess(*limits, pki=directory.path) as running:
        with running.connect(client_of(directory)) as idle:
            assert idle.recv(1) == b""
        assert running.event("connection")["ended"] == "idle"


# --- signals -------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_drains_the_connections(directory: Directory, number: int) -> None:
    with ServeProcess(pki=directory.path) as running:
        with running.connect(client_of(directory)) as tls:
            tls.sendall(b"hello")
            assert tls.recv(5) == b"hello"
            running.process.send_signal(number)
            assert running.event("stopping")["connections"] == 1
            tls.sendall(b"still")
            assert tls.recv(5) == b"still"
            assert tls.recv(1) == b""  # close_notify
        assert running.event("stopped") | {"drained": 1, "aborted": 0} == running.event("stopped")
        assert running.process.wait() == 0


def test_an_expired_grace_period_cuts_off_the_rest_with_status_1(directory: Directory) -> None:
    with (
        ServeProcess("--grace-period", "0.2", pki=directory.path) as running,
        never_reading(running, client_of(directory)),
    ):
        assert_echoes(running, client_of(directory))
        assert running.stop() == 1
        assert running.event("stopped")["aborted"] == 1


def test_a_second_signal_cuts_off_the_rest_with_status_1(directory: Directory) -> None:
    with (
        ServeProcess("--grace-period", "3600", pki=directory.path) as running,
        never_reading(running, client_of(directory)),
    ):
        assert_echoes(running, client_of(directory))
        running.process.send_signal(signal.SIGTERM)
        running.event("stopping")
        assert running.stop(signal.SIGTERM) == 1


def test_an_unauthenticated_connection_does_not_delay_a_stop(directory: Directory) -> None:
    limits = ("--handshake-timeout", "3600", "--grace-period", "3600")
    with ServeProcess(*limits, pki=directory.path) as running, running.tcp() as silent:
        assert_echoes(running, client_of(directory))
        assert running.stop() == 0
        assert running.event("stopped")["aborted"] == 0
        assert silent.recv(1) == b""


def test_signals_that_come_while_it_starts_are_kept_until_it_serves(directory: Directory) -> None:
    script = (
        "import os, signal\n"
        "import mtls_echo.commands.serve as command\n"
        "read = command._read\n"
        "due = [signal.SIGHUP, signal.SIGTERM]\n"
        "def signalled(options, **given):\n"  # the port is open by now
        "    while due:\n"  # once: SIGHUP has it read again
        "        os.kill(os.getpid(), due.pop(0))\n"
        "    return read(options, **given)\n"
        "command._read = signalled\n"
        "command.serve()"
    )
    options = ["--pki", str(directory.path), "--listen", "127.0.0.1:0"]
    done = subprocess.run(
        [sys.executable, "-c", script, *options],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1].endswith("stopped, 0 connections finished, 0 aborted")


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


def test_a_key_log_that_cannot_be_written_is_refused(directory: Directory, tmp_path: Path) -> None:
    options = ["--pki", str(directory.path), "--listen", "127.0.0.1:0"]
    message = refused_start(*options, "--keylog", str(tmp_path / "no" / "keys.log"))
    assert "--keylog" in message
    assert "no such file or directory" in message


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
