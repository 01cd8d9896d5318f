"""`mtls-echo serve` as a process: what it serves, and what it says."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import ssl
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mtls_echo_pki.certificates.request import Request
from mtls_echo_pki.directory.directory import Directory
from tests.cli.commands.serve.clients import assert_echoes, client_of, versions
from tests.cli.commands.serve.clients import directory as directory
from tests.support.ports import server_port
from tests.support.servers import SERVE, Authorities, ServeProcess
from tests.support.timing import TIMEOUT


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
    assert lines[-2].endswith(" stopping")
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
    port = server_port()
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
